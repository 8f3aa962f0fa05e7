//! What a VM is forked from: a template, or the image of the memory of a guest that ran.

use std::path::PathBuf;

use pyro_proto::limits::PROTOCOL_VERSION;
use pyro_proto::shim::{Machine, Readiness, Transport};
use pyro_store::{Directories, LayerId};
use pyro_vmm::{Template, TemplateError, TemplateKey};

use super::{place, vmm_shape};
use crate::failure::{chain, remedies};
use crate::{Code, Failure};

/// What a VM is forked from, whether it is there or not.
#[derive(Clone, Debug)]
pub(crate) struct Parent {
    pub(crate) kind: Kind,
    pub(crate) directory: PathBuf,
    /// What it must have been made for.
    pub(crate) key: TemplateKey,
    /// How its guest is reached.
    pub(crate) transport: Transport,
}

/// What a parent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It can be made again at any time.
    Template(Readiness),
    /// The memory that belongs to a layer of a workspace's disk. There is no other like it: it is never made
    /// again, and never removed because it cannot be used.
    Memory,
}

impl Parent {
    pub(crate) fn exists(&self) -> bool {
        self.directory.is_dir()
    }

    /// Which one lies there now.
    pub(crate) fn identity(&self) -> Option<place::Identity> {
        place::identity(&self.directory)
    }

    /// The image of the memory that belongs to a layer. Its key has what this host and the supervisor that saved it
    /// both know: the machine, and the protocol that its agent speaks. The layer is not in it: a merger gives it
    /// another id, under which the image then lies.
    pub(crate) fn memory(
        directories: &Directories,
        machine: &Machine,
        transport: Transport,
        layer: &LayerId,
    ) -> Result<Parent, Failure> {
        let shape = vmm_shape(&Machine { transport, ..machine.clone() })?;
        let vmm = format!("qemu {}", machine.vmm_version);
        Ok(Parent {
            kind: Kind::Memory,
            directory: directories.memory(layer),
            key: TemplateKey::of_memory(shape, &vmm, PROTOCOL_VERSION),
            transport,
        })
    }

    /// Refuses an image of memory that is damaged, or was saved by another QEMU or for another machine. Nothing
    /// is changed by it.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let unusable = |error: TemplateError| {
            let why = match &error {
                TemplateError::Absent { .. } => "there is nothing",
                TemplateError::Stale { reason, .. } => reason,
                _ => &chain(&error),
            };
            let directory = self.directory.display();
            Failure::new(Code::MemoryUnusable, "the memory that was kept cannot be used")
                .because(format!(
                    "{directory}: {why}; a memory is of use to the QEMU, the processor and the pyro alone that kept it"
                ))
                .fix(remedies::MEMORY_UNUSABLE)
        };
        Template::open(&self.directory, &self.key).map(drop).map_err(unusable)
    }
}
