//! Opens everything a machine needs, and starts QEMU on it, confined.
//!
//! QEMU gets descriptors, never paths: files are opened here, with the caller's rights, in the narrowest mode
//! that does.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use pyro_jail::{Access, Answer, Grant, Jail, Support};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use crate::arguments::{DiskFds, Ram, Start, WiredChannels, WiredDisk, Wiring, arguments, fd_path};
use crate::confinement::{Confinement, spec};
use crate::error::VmmError;
use crate::kernel_line::kernel_line;
use crate::live_disk::LiveDisk;
use crate::machine::{Accelerator, Disk, Image, Machine, Transport};
use crate::memory_file::{kernel_stub, memory_copy};
use crate::qemu::Qemu;
use crate::rendezvous::Rendezvous;
use crate::template::{Draft, DraftId, Template};
use crate::tsc;
use crate::vm::{Approach, GuestChannels, Way};

/// Opened for writing to try the kernel's file locks.
const NULL_DEVICE: &str = "/dev/null";

/// Device node of KVM.
const KVM_DEVICE: &str = "/dev/kvm";

/// What a machine is started from.
pub(crate) enum Source<'a> {
    /// Its kernel, with memory in the process or in a draft.
    Kernel(Option<&'a Draft>),
    /// A template.
    Template(&'a Template),
}

/// A QEMU that has just been executed.
pub(crate) struct Launched {
    pub(crate) child: Child,
    pub(crate) qmp: UnixStream,
    pub(crate) console: UnixStream,
    pub(crate) approach: Approach,
    /// The number under which QEMU has the file its device state comes from.
    pub(crate) state: Option<RawFd>,
    /// The draft whose file is the guest's memory.
    pub(crate) memory: Option<DraftId>,
    /// The file the guest's memory is a private mapping of.
    pub(crate) base: Option<File>,
    /// The disks that can change.
    pub(crate) disks: Vec<LiveDisk>,
    pub(crate) began: Instant,
}

/// Starts QEMU.
pub(crate) fn launch(
    qemu: &Qemu,
    confinement: &Confinement,
    support: &Support,
    machine: &Machine,
    source: &Source<'_>,
) -> Result<Launched, VmmError> {
    let began = Instant::now();
    machine.check()?;
    let mut outfit = Outfit::default();
    outfit.grant_device(NULL_DEVICE)?;
    let (ram, base, state) = outfit.memory(source, qemu, confinement, support)?;
    let (kernel, start) = outfit.start(machine, source)?;
    if machine.shape.accelerator() == Accelerator::Kvm {
        outfit.kvm(support)?;
    }
    let numbered = machine.disks.iter().enumerate();
    let disks = numbered.map(|(index, disk)| outfit.disk(index, disk)).collect::<Result<_, _>>()?;
    let (qmp, qmp_fd) = outfit.channel()?;
    let (console, console_fd) = outfit.channel()?;
    let (approach, channels) = outfit.channels(machine.shape.transport())?;
    let wiring = Wiring {
        shape: machine.shape,
        ram,
        kernel,
        start,
        disks,
        qmp: qmp_fd,
        console: console_fd,
        channels,
    };
    let spec = spec(qemu, machine.shape, confinement, outfit.inherit, outfit.grants, outfit.answers);
    let jail = Jail::prepare(spec, support)?;
    let child = spawn(qemu.path(), &arguments(&wiring), jail)?;
    let memory = match source {
        Source::Kernel(Some(draft)) => Some(draft.id()),
        Source::Kernel(None) | Source::Template(_) => None,
    };
    Ok(Launched { child, qmp, console, approach, state, memory, base, disks: outfit.live, began })
}

fn spawn(path: &Path, arguments: &[String], jail: Jail) -> Result<Child, VmmError> {
    let mut command = std::process::Command::new(path);
    command.args(arguments).env_clear().current_dir("/");
    // One heap instead of one per thread: they would be some MiB of every VM.
    command.env("MALLOC_ARENA_MAX", "1");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let attendant = jail.apply(&mut command);
    let mut command = Command::from(command);
    command.kill_on_drop(true);
    let child = command.spawn().map_err(|source| VmmError::Spawn { path: path.to_owned(), source })?;
    drop(command);
    attendant.attend()?;
    Ok(child)
}

/// The descriptors QEMU inherits and the files it may open, collected.
#[derive(Default)]
struct Outfit {
    inherit: Vec<OwnedFd>,
    grants: Vec<Grant>,
    answers: Vec<Answer>,
    live: Vec<LiveDisk>,
}

impl Outfit {
    fn give(&mut self, fd: impl Into<OwnedFd>) -> RawFd {
        let fd = fd.into();
        let number = fd.as_raw_fd();
        self.inherit.push(fd);
        number
    }

    /// Gives a file that QEMU opens once more by its number.
    fn give_openable(&mut self, file: File, access: Access) -> Result<RawFd, VmmError> {
        let copy = file.try_clone().map_err(VmmError::Channels)?.into();
        self.grants.push(Grant { file: copy, access });
        Ok(self.give(file))
    }

    /// Guest memory, the file it is a private mapping of, and the number of the device state.
    fn memory(
        &mut self,
        source: &Source<'_>,
        qemu: &Qemu,
        confinement: &Confinement,
        support: &Support,
    ) -> Result<(Ram, Option<File>, Option<RawFd>), VmmError> {
        match source {
            Source::Kernel(None) => Ok((Ram::Anonymous, None, None)),
            Source::Kernel(Some(draft)) => {
                draft.lend_ram(confinement.run_as.as_ref().map(|ids| (ids.uid, ids.gid)))?;
                let ram = draft.ram().try_clone().map_err(VmmError::Channels)?;
                Ok((Ram::Shared(self.give_openable(ram, Access::ReadWrite)?), None, None))
            }
            Source::Template(template) => {
                let (ram, base) = self.template_memory(template.ram()?, qemu, support)?;
                Ok((ram, Some(base), Some(self.give(template.state()?))))
            }
        }
    }

    /// An older QEMU opens the file for writing even though it maps it privately. The jail answers that open
    /// with our read-only descriptor; where it cannot, QEMU gets a copy, which costs the time of copying.
    fn template_memory(
        &mut self,
        ram: File,
        qemu: &Qemu,
        support: &Support,
    ) -> Result<(Ram, File), VmmError> {
        let copied = !qemu.opens_memory_read_only() && !support.answered_opens;
        let ram = if copied { memory_copy(&ram).map_err(VmmError::Channels)? } else { ram };
        let base = ram.try_clone().map_err(VmmError::Channels)?;
        if copied {
            return Ok((Ram::PrivateWritable(self.give(ram)), base));
        }
        let file = ram.try_clone().map_err(VmmError::Channels)?.into();
        let fd = self.give_openable(ram, Access::Read)?;
        if qemu.opens_memory_read_only() {
            return Ok((Ram::Private(fd), base));
        }
        self.answers.push(Answer { path: PathBuf::from(fd_path(fd)), file });
        Ok((Ram::PrivateWritable(fd), base))
    }

    fn start(&mut self, machine: &Machine, source: &Source<'_>) -> Result<(RawFd, Start), VmmError> {
        if let Source::Template(_) = source {
            // A memory file is on no mount, so that no rule can name it, and none needs to.
            let kernel = kernel_stub().map_err(VmmError::Channels)?;
            return Ok((self.give(kernel), Start::Incoming));
        }
        let kernel = self.give_openable(open(&machine.kernel, Access::Read)?, Access::Read)?;
        let initrd = self.give_openable(open(&machine.initrd, Access::Read)?, Access::Read)?;
        let tsc_khz = match machine.shape.accelerator() {
            Accelerator::Tcg => tsc::measure_khz(),
            Accelerator::Kvm => None,
        };
        Ok((kernel, Start::Boot { initrd, kernel_line: kernel_line(machine, tsc_khz)? }))
    }

    /// KVM's device is opened here where opens can be answered, so that QEMU's own user id needs no right to
    /// it; elsewhere QEMU opens it itself.
    fn kvm(&mut self, support: &Support) -> Result<(), VmmError> {
        let file = self.grant_device(KVM_DEVICE)?.into();
        if support.answered_opens {
            self.answers.push(Answer { path: PathBuf::from(KVM_DEVICE), file });
        }
        Ok(())
    }

    fn grant_device(&mut self, path: &str) -> Result<File, VmmError> {
        let device = open(Path::new(path), Access::ReadWrite)?;
        let file = device.try_clone().map_err(VmmError::Channels)?.into();
        self.grants.push(Grant { file, access: Access::ReadWrite });
        Ok(device)
    }

    fn disk(&mut self, index: usize, disk: &Disk) -> Result<WiredDisk, VmmError> {
        let fds = match &disk.image {
            Image::ReadOnly(path) => DiskFds::ReadOnly(self.give(open(path, Access::Read)?)),
            Image::Writable(path) => {
                let fd = self.give(open(path, Access::ReadWrite)?);
                self.live.push(LiveDisk::plain(disk, index, fd));
                DiskFds::Writable(fd)
            }
            Image::Overlay { overlay, layers, backing } => {
                let backing = self.give(open(backing, Access::Read)?);
                let layers = layers.iter().map(|path| Ok(self.give(open(path, Access::Read)?)));
                let layers = layers.collect::<Result<Vec<_>, VmmError>>()?;
                let reader = open(overlay, Access::Read)?;
                let overlay = self.give(open(overlay, Access::ReadWrite)?);
                self.live.push(LiveDisk::layered(disk, index, layers.len(), overlay, reader));
                DiskFds::Overlay { overlay, layers, backing }
            }
        };
        Ok(WiredDisk { serial: disk.serial.clone(), fds, flush: disk.flush })
    }

    fn channels(&mut self, transport: Transport) -> Result<(Approach, WiredChannels), VmmError> {
        match transport {
            Transport::Vsock => {
                let (rendezvous, device) = Rendezvous::prepare()?;
                let cid = rendezvous.cid().get();
                let device = self.give(device);
                Ok((Approach(Way::Awaited(rendezvous)), WiredChannels::Vsock { device, cid }))
            }
            Transport::Serial => {
                let (control, control_fd) = self.channel()?;
                let (bulk, bulk_fd) = self.channel()?;
                let approach = Approach(Way::Open(GuestChannels { control, bulk }));
                Ok((approach, WiredChannels::Serial { control: control_fd, bulk: bulk_fd }))
            }
        }
    }

    fn channel(&mut self) -> Result<(UnixStream, RawFd), VmmError> {
        let (ours, theirs) = StdUnixStream::pair().map_err(VmmError::Channels)?;
        ours.set_nonblocking(true).map_err(VmmError::Channels)?;
        let ours = UnixStream::from_std(ours).map_err(VmmError::Channels)?;
        Ok((ours, self.give(theirs)))
    }
}

/// Opens a file in the narrowest mode that does.
pub(crate) fn open(path: &Path, access: Access) -> Result<File, VmmError> {
    OpenOptions::new()
        .read(true)
        .write(access == Access::ReadWrite)
        .open(path)
        .map_err(|source| VmmError::Open { path: path.to_owned(), source })
}
