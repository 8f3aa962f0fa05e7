//! The disks of a VM, made or found, and checked before QEMU sees them.

use std::path::{Path, PathBuf};

use pyro_proto::agent::{DISK_BASE, DISK_SCRATCH};
use pyro_proto::shim::{Failure, FailureCode};
use pyro_vmm::{Disk, Flush, Image, ScratchError, Serial, Template};

use crate::failure::{failure, system};
use crate::workspace::Opened;

/// A disk that does not outlive its VM with anything acknowledged on it: what is kept is synced by its owner.
pub(crate) fn disk(serial: &str, image: Image) -> Result<Disk, Failure> {
    let serial = serial.parse().map_err(|error| system("the machine cannot be built", &error))?;
    Ok(Disk { serial, image, flush: Flush::Ignored })
}

/// The read-only root image.
pub(crate) fn base(path: &Path) -> Result<Disk, Failure> {
    disk(DISK_BASE, Image::ReadOnly(path.to_owned()))
}

/// The serial of the disk that takes everything a VM writes.
pub(crate) fn scratch_serial() -> Result<Serial, Failure> {
    DISK_SCRATCH.parse().map_err(|error| system("the machine cannot be built", &error))
}

/// A disk of the VM's own over the blank, and over the disk of its template where that has one.
pub(crate) fn disposable(
    overlay: PathBuf,
    blank: &Path,
    template: Option<&Template>,
) -> Result<Disk, Failure> {
    crate::room::check(overlay.parent().unwrap_or(&overlay))?;
    pyro_vmm::create_disposable_overlay(&overlay, bytes(blank)?)
        .map_err(|error| system("the VM's disk could not be made", &error))?;
    let layers = template.and_then(Template::disk).map(|disk| disk.path.to_owned());
    let layers = layers.into_iter().collect();
    disk(DISK_SCRATCH, Image::Overlay { overlay, layers, backing: blank.to_owned() })
}

/// The disk of a workspace: everything on it that the guest was told is stored, is.
pub(crate) fn of_workspace(workspace: &Opened) -> Result<Disk, Failure> {
    let blank_bytes = bytes(&workspace.blank)?;
    for layer in &workspace.layers {
        pyro_vmm::check_layer(layer, blank_bytes).map_err(|error| damaged(layer, &error))?;
    }
    if workspace.coming.makes_head() {
        make_head(workspace, blank_bytes)?;
    } else {
        pyro_vmm::check_layer(&workspace.head, blank_bytes)
            .map_err(|error| damaged(&workspace.head, &error))?;
    }
    let image = Image::Overlay {
        overlay: workspace.head.clone(),
        layers: workspace.layers.clone(),
        backing: workspace.blank.clone(),
    };
    Ok(Disk { flush: Flush::Honored, ..disk(DISK_SCRATCH, image)? })
}

/// An empty layer on top of a disk, on the disk of the host when this returns.
pub(crate) fn new_layer(path: &Path, blank: &Path) -> Result<(), Failure> {
    crate::room::check(path.parent().unwrap_or(path))?;
    pyro_vmm::create_overlay(path, bytes(blank)?)
        .map_err(|error| system("a layer of the workspace's disk could not be made", &error))
}

/// What a try that came to nothing has left in the place is nobody's: an empty layer takes it, at once and whole.
fn make_head(workspace: &Opened, blank_bytes: u64) -> Result<(), Failure> {
    let head = &workspace.head;
    crate::room::check(head.parent().unwrap_or(head))?;
    let mut beside = head.clone().into_os_string();
    beside.push(format!(".{}.part", std::process::id()));
    let beside = PathBuf::from(beside);
    pyro_vmm::create_overlay(&beside, blank_bytes)
        .map_err(|error| system("the workspace's disk could not be made", &error))?;
    let placed = std::fs::rename(&beside, head)
        .and_then(|()| std::fs::File::open(head.parent().unwrap_or(head))?.sync_all());
    placed.map_err(|error| {
        // What cannot be removed now is collected as what it is: nobody's.
        let _ = std::fs::remove_file(&beside);
        system("the workspace's disk could not be made", &error)
    })
}

fn bytes(blank: &Path) -> Result<u64, Failure> {
    let metadata =
        std::fs::metadata(blank).map_err(|error| system("the blank disk cannot be used", &error))?;
    Ok(metadata.len())
}

fn damaged(layer: &Path, error: &ScratchError) -> Failure {
    let told =
        system(&format!("the layer {} of the workspace's disk cannot be used", layer.display()), error);
    failure(FailureCode::LayerDamaged, told.message)
}
