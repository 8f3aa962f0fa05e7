//! Disks of a running machine, as far as they can change: what is on top, and how flushes are taken.

use std::fs::File;
use std::os::fd::RawFd;

use crate::arguments::nodes::{layer_name, plain_name};
use crate::machine::{Disk, Flush, Serial};

/// A disk that is written.
#[derive(Debug)]
pub(crate) struct LiveDisk {
    pub(crate) serial: Serial,
    pub(crate) flush: Flush,
    pub(crate) top: Top,
    layers: Option<Layers>,
}

/// The node the guest writes to.
#[derive(Debug)]
pub(crate) struct Top {
    /// Its name.
    pub(crate) node: String,
    /// The descriptor set its file is opened from.
    pub(crate) set: u64,
    /// Its file, open for reading only; where there are layers.
    pub(crate) reader: Option<File>,
}

/// Where a disk of layers stands.
#[derive(Debug)]
struct Layers {
    disk: usize,
    below: usize,
    next: usize,
}

impl LiveDisk {
    /// A disk that is one raw file.
    pub(crate) fn plain(disk: &Disk, index: usize, fd: RawFd) -> Self {
        let top = Top { node: plain_name(index), set: set(fd), reader: None };
        Self { serial: disk.serial.clone(), flush: disk.flush, top, layers: None }
    }

    /// A disk that is an overlay, with as many layers `below` it.
    pub(crate) fn layered(disk: &Disk, index: usize, below: usize, overlay: RawFd, reader: File) -> Self {
        let top = Top { node: layer_name(index, below), set: set(overlay), reader: Some(reader) };
        let layers = Some(Layers { disk: index, below, next: below + 1 });
        Self { serial: disk.serial.clone(), flush: disk.flush, top, layers }
    }

    /// How many layers are under the overlay; `None` where there is no overlay.
    pub(crate) fn layers_below(&self) -> Option<usize> {
        self.layers.as_ref().map(|layers| layers.below)
    }

    /// The name of the next overlay, a new one each time: a node that could not be removed is not in the way.
    pub(crate) fn next_name(&mut self) -> Option<String> {
        let layers = self.layers.as_mut()?;
        let name = layer_name(layers.disk, layers.next);
        layers.next += 1;
        Some(name)
    }

    /// Puts a new top on the disk; gives the former one.
    pub(crate) fn put_on(&mut self, top: Top) -> Top {
        if let Some(layers) = &mut self.layers {
            layers.below += 1;
        }
        std::mem::replace(&mut self.top, top)
    }
}

/// The set in which a descriptor is that QEMU has from its start.
fn set(fd: RawFd) -> u64 {
    u64::from(fd.unsigned_abs())
}
