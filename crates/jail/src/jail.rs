//! From a spec to a command that confines itself.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{Gid, Resource, Rlimit, Uid};

use crate::attendant::Attendant;
use crate::child::{Filter, IdMaps, Ids, Plan};
use crate::error::JailError;
use crate::filter;
use crate::limits::ANSWERED_PATH_BYTES_MAX;
use crate::ruleset;
use crate::spec::{Answer, Limits, RunAs, Spec};
use crate::support::Support;
use crate::sys::{self, Listening};

/// A prepared confinement, for one child.
pub struct Jail {
    plan: Plan,
    attendant: Attendant,
}

impl Jail {
    /// Prepares the confinement `spec` describes, with the layers `support` grants.
    ///
    /// # Errors
    /// When a named file cannot be opened, or the kernel refuses a ruleset it should accept.
    pub fn prepare(spec: Spec, support: &Support) -> Result<Self, JailError> {
        let ruleset = if support.landlock_abi > 0 { ruleset::build(&spec)? } else { None };
        let (filter, attendant) = prepare_filter(spec.answers, support)?;
        let plan = Plan {
            parent: rustix::process::getpid(),
            maps: id_maps(spec.run_as.as_ref()),
            ids: spec.run_as.map(ids),
            namespaces: support.namespaces,
            rlimits: rlimits(&spec.limits),
            ruleset,
            filter,
            inherit: spec.inherit,
        };
        Ok(Self { plan, attendant })
    }

    /// Makes `command`'s child confine itself before it executes the program.
    ///
    /// The child is killed when the *thread* that spawns it ends: spawn from one that lives as long as the
    /// child shall. The inherited descriptors stay open in the parent until `command` is dropped.
    pub fn apply(self, command: &mut Command) -> Attendant {
        let plan = self.plan;
        sys::before_exec(command, move || plan.confine());
        self.attendant
    }
}

fn prepare_filter(answers: Vec<Answer>, support: &Support) -> Result<(Filter, Attendant), JailError> {
    if answers.is_empty() || !support.answered_opens {
        let filter = Filter { program: filter::program(Listening::No), listener_to: None };
        return Ok((filter, Attendant { answers: Vec::new(), listener_from: None }));
    }
    let answers = answers.into_iter().map(parse_answer).collect::<Result<Vec<_>, _>>()?;
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(|e| JailError::Descriptor(e.into()))?;
    let filter = Filter { program: filter::program(Listening::Yes), listener_to: Some(theirs) };
    Ok((filter, Attendant { answers, listener_from: Some(ours) }))
}

fn parse_answer(answer: Answer) -> Result<(CString, OwnedFd), JailError> {
    let name = answered_name(&answer.path).ok_or(JailError::AnsweredPath { path: answer.path })?;
    Ok((name, answer.file))
}

fn answered_name(path: &Path) -> Option<CString> {
    let bytes = path.as_os_str().as_bytes();
    let fits = !bytes.is_empty() && bytes.len() < ANSWERED_PATH_BYTES_MAX;
    CString::new(bytes).ok().filter(|_| fits)
}

fn ids(run_as: RunAs) -> Ids {
    Ids {
        uid: Uid::from_raw(run_as.uid),
        gid: Gid::from_raw(run_as.gid),
        groups: run_as.groups.into_iter().map(Gid::from_raw).collect(),
    }
}

fn id_maps(run_as: Option<&RunAs>) -> IdMaps {
    let own = || (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let (uid, gid) = run_as.map_or_else(own, |r| (r.uid, r.gid));
    IdMaps { uid: format!("{uid} {uid} 1\n"), gid: format!("{gid} {gid} 1\n") }
}

/// No limit is raised above what the parent itself may have.
fn rlimits(limits: &Limits) -> Vec<(Resource, Rlimit)> {
    let wanted = [
        (Resource::Core, Some(0)),
        (Resource::Memlock, Some(0)),
        (Resource::Nofile, Some(limits.open_files_max)),
        (Resource::Fsize, Some(limits.file_bytes_max)),
        (Resource::As, limits.address_space_bytes_max),
        (Resource::Nproc, limits.task_count_max),
    ];
    let present = wanted.into_iter().filter_map(|(resource, value)| value.map(|value| (resource, value)));
    present.map(|(resource, value)| (resource, at_most(resource, value))).collect()
}

fn at_most(resource: Resource, value: u64) -> Rlimit {
    let own = rustix::process::getrlimit(resource).maximum;
    let value = own.map_or(value, |own| own.min(value));
    Rlimit { current: Some(value), maximum: Some(value) }
}
