//! How guests can run here: by which accelerator, and over which transport they are reached. A device proves nothing:
//! a guest that has really answered does, and what came of it is remembered for this kernel and this QEMU.

use std::collections::BTreeSet;
use std::path::Path;

use pyro_image::GuestKit;
use pyro_proto::agent::{ARGUMENT_SERIAL, ARGUMENT_VSOCK};
use pyro_proto::shim::{Accelerator, Purpose, Transport};
use pyro_vmm::{Qemu, VHOST_DEVICE, VmmError, try_vsock};
use pyro_vsock::{Address, Cid, HOST_CID, open_to_guests, try_socket};
use rustix::fs::{Access, access};
use serde::{Deserialize, Serialize};

use crate::failure::chain;
use crate::supervisor::Supervisor;
use crate::{AcceleratorChoice, Code, Failure, Pyro, TransportChoice};

/// The device through which guests use the processor's virtualization.
const KVM_DEVICE: &str = "/dev/kvm";

/// What came of trials is kept under this prefix.
const TRIALS: &str = "trial/";

/// Why there is no KVM in a guest of pyro's.
pub(crate) const NO_NESTING: &str = "this is a computer inside a pyro VM, where nested virtualization is switched off: it has been a way out of VMs";

/// What to do about it.
pub(crate) const OUTSIDE: &str = "run pyro on the machine that the VM runs on";

/// One way to run guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) accelerator: Accelerator,
    pub(crate) transport: Transport,
}

const EMULATED_OVER_VSOCK: Way = Way { accelerator: Accelerator::Tcg, transport: Transport::Vsock };

/// The way that guests run in, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// This one: a guest has run in it, or there is no other.
    Known(Way),
    /// This one, if a guest runs in it.
    Untried(Way),
}

/// What came of a trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) usable: bool,
    pub(crate) reason: String,
}

/// What the device's file says, which is not whether a guest runs on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KvmDevice {
    pub(crate) exists: bool,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
}

/// Whether the host's end of vsock can be had, which is not whether a guest is reached over it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum VsockHost {
    /// It was had, just now.
    Ready,
    /// Its device may be opened, and has not been; no rule is against its sockets.
    Permitted,
    /// There is no such device.
    Missing,
    /// There is its file, and no driver behind it.
    Unloaded,
    /// This user may not open it.
    Forbidden,
    /// Ids or sockets are refused.
    Refused(String),
}

impl KvmDevice {
    pub(crate) fn look() -> KvmDevice {
        let path = Path::new(KVM_DEVICE);
        KvmDevice {
            exists: path.exists(),
            readable: access(path, Access::READ_OK).is_ok(),
            writable: access(path, Access::WRITE_OK).is_ok(),
        }
    }

    pub(crate) fn is_permitted(self) -> bool {
        self.exists && self.readable && self.writable
    }
}

impl VsockHost {
    /// What the device's file says, and rules against sockets. Every command asks: to open the device would cost each some
    /// 20 ms, for which the kernel waits as it closes it again (`synchronize_rcu`, drivers/vhost/vsock.c).
    pub(crate) fn glance() -> VsockHost {
        let path = Path::new(VHOST_DEVICE);
        match access(path, Access::READ_OK | Access::WRITE_OK) {
            Ok(()) => match try_socket() {
                Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                    VsockHost::Refused(format!("AF_VSOCK sockets are forbidden: {error}"))
                }
                // Or there are none until the device is opened, which loads their module.
                Ok(()) | Err(_) => VsockHost::Permitted,
            },
            Err(_) if path.exists() => VsockHost::Forbidden,
            Err(_) => VsockHost::Missing,
        }
    }

    /// Does all that a VM's start needs of it, and undoes it.
    pub(crate) fn look() -> VsockHost {
        let glanced = VsockHost::glance();
        if glanced != VsockHost::Permitted {
            return glanced;
        }
        match try_vsock() {
            Ok(()) => VsockHost::Ready,
            Err(VmmError::Open { source, .. }) if source.kind() == std::io::ErrorKind::PermissionDenied => {
                VsockHost::Forbidden
            }
            Err(VmmError::Open { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                VsockHost::Missing
            }
            Err(VmmError::Open { source, .. }) if has_no_driver(&source) => VsockHost::Unloaded,
            Err(error) => VsockHost::Refused(chain(&error)),
        }
    }

    /// What there is to it where sockets are refused: their module may not be loaded, or rules forbid them.
    fn confirmed(self) -> VsockHost {
        match self {
            VsockHost::Permitted if try_socket().is_err() => VsockHost::look(),
            told => told,
        }
    }

    fn may_be_tried(&self) -> bool {
        matches!(self, VsockHost::Ready | VsockHost::Permitted)
    }

    /// Why it cannot be had.
    pub(crate) fn reason(&self) -> String {
        match self {
            VsockHost::Ready | VsockHost::Permitted => format!("{VHOST_DEVICE} can be used"),
            VsockHost::Missing => format!("there is no {VHOST_DEVICE}"),
            VsockHost::Unloaded => format!("the module of {VHOST_DEVICE} is not loaded"),
            VsockHost::Forbidden => format!("{VHOST_DEVICE} is not readable and writable for this user"),
            VsockHost::Refused(why) => format!("{VHOST_DEVICE} is of no use: {why}"),
        }
    }

    /// What to do about it.
    pub(crate) fn remedy(&self) -> &'static str {
        match self {
            VsockHost::Ready | VsockHost::Permitted => "`pyro doctor --fix` tries vsock anew",
            VsockHost::Missing | VsockHost::Unloaded => "load its module: `sudo modprobe vhost_vsock`",
            VsockHost::Forbidden => {
                "add the user to its group (`sudo usermod -aG kvm $USER`, then log in again), or where that is root: `sudo chgrp kvm /dev/vhost-vsock && sudo chmod 660 /dev/vhost-vsock`"
            }
            VsockHost::Refused(_) => {
                "allow AF_VSOCK sockets where a container's rules forbid them, or set PYRO_TRANSPORT=serial"
            }
        }
    }
}

/// A device's file without a driver says so when it is opened.
fn has_no_driver(error: &std::io::Error) -> bool {
    let errno = |errno: rustix::io::Errno| error.raw_os_error() == Some(errno.raw_os_error());
    errno(rustix::io::Errno::NODEV) || errno(rustix::io::Errno::NXIO)
}

/// Whether this machine is itself a guest of pyro's: its kernel was told how to reach its host.
pub(crate) fn is_inside_pyro() -> bool {
    let line = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    line.split_whitespace().any(|word| [ARGUMENT_SERIAL, ARGUMENT_VSOCK].contains(&word))
}

/// Ports at which programs of this host wait for whatever guest comes; not those where supervisors wait for theirs.
pub(crate) fn strangers_ports() -> std::io::Result<BTreeSet<u32>> {
    open_to_guests().map(|listeners| strangers_among(&listeners))
}

/// A supervisor listens at both ports of its guest's id, as the host; nobody else is likely to.
fn strangers_among(listeners: &[Address]) -> BTreeSet<u32> {
    let is_awaited = |cid: Cid| {
        [cid.control_port(), cid.bulk_port()]
            .iter()
            .all(|&port| listeners.contains(&Address { cid: HOST_CID, port }))
    };
    let is_supervisors = |at: &Address| {
        let of = Cid::new(at.port).or_else(|| at.port.checked_sub(1).and_then(Cid::new));
        at.cid == HOST_CID && of.is_some_and(is_awaited)
    };
    listeners.iter().filter(|at| !is_supervisors(at)).map(|at| at.port).collect()
}

/// A guest that was to come over vsock did not come to be: if the host's end cannot be had, that is why.
pub(crate) fn explain_vsock(failure: Failure, vsock: &VsockHost) -> Failure {
    match vsock {
        _ if failure.code != Code::VmmFailed => failure,
        usable if usable.may_be_tried() => failure,
        // Its remedy names the other transport.
        VsockHost::Refused(_) => vsock_missing(vsock, None),
        _ => vsock_missing(vsock, Some("set PYRO_TRANSPORT=serial")),
    }
}

impl Pyro {
    /// How guests run, by what was asked for and what is known.
    pub(crate) fn next_way(&self, qemu: &Qemu, vsock: &VsockHost) -> Result<Next, Failure> {
        let choice = (self.config.accelerator, self.config.transport);
        next(&candidates(choice, KvmDevice::look(), vsock)?, |way| self.verdict(qemu, way))
    }

    /// The same after those were tried that had to be.
    pub(crate) async fn proven_way(&self, qemu: &Qemu, kit: &GuestKit) -> Result<Way, Failure> {
        let mut vsock = VsockHost::glance();
        loop {
            match self.next_way(qemu, &vsock)? {
                // A guest was reached so once; without sockets none will be now.
                Next::Known(way @ Way { transport: Transport::Vsock, .. }) => {
                    match vsock.clone().confirmed() {
                        same if same == vsock => return Ok(way),
                        other => vsock = other,
                    }
                }
                Next::Known(way) => return Ok(way),
                // Without the host's end no guest needs to be tried; nor is that remembered, for it may change.
                Next::Untried(Way { transport: Transport::Vsock, .. }) if vsock == VsockHost::Permitted => {
                    vsock = VsockHost::look();
                }
                Next::Untried(way) => {
                    let verdict = self.try_way(qemu, kit, way).await?;
                    self.store.set_fact(&trial_key(qemu, way), &verdict)?;
                }
            }
        }
    }

    /// What is known of one way with this kernel and this QEMU.
    pub(crate) fn verdict(&self, qemu: &Qemu, way: Way) -> Result<Option<Verdict>, Failure> {
        Ok(self.store.fact(&trial_key(qemu, way))?)
    }

    /// What is known of KVM: however its guest was reached, it has run. One that was not reached over serial ports says most.
    pub(crate) fn kvm_verdict(&self, qemu: &Qemu) -> Result<Option<Verdict>, Failure> {
        let way = |transport| Way { accelerator: Accelerator::Kvm, transport };
        let over_vsock = self.verdict(qemu, way(Transport::Vsock))?;
        if over_vsock.as_ref().is_some_and(|verdict| verdict.usable) {
            return Ok(over_vsock);
        }
        Ok(self.verdict(qemu, way(Transport::Serial))?.or(over_vsock))
    }

    /// Why KVM is passed over for emulation: the way in which its guest did not run.
    pub(crate) fn kvm_failure(&self, qemu: &Qemu) -> Result<Option<(Transport, Verdict)>, Failure> {
        for transport in [Transport::Serial, Transport::Vsock] {
            let verdict = self.verdict(qemu, Way { accelerator: Accelerator::Kvm, transport })?;
            if let Some(verdict) = verdict.filter(|verdict| !verdict.usable) {
                return Ok(Some((transport, verdict)));
            }
        }
        Ok(None)
    }

    /// Whether guests may be, and can be, run in this way.
    pub(crate) fn check_way(&self, way: Way) -> Result<(), String> {
        match (way.transport, self.config.transport) {
            (Transport::Serial, TransportChoice::Vsock) | (Transport::Vsock, TransportChoice::Serial) => {
                Err(format!("PYRO_TRANSPORT is {}", self.config.transport.as_str()))
            }
            (Transport::Vsock, TransportChoice::Auto) if way == EMULATED_OVER_VSOCK => {
                Err("emulated guests get vsock with PYRO_TRANSPORT=vsock alone".to_owned())
            }
            (Transport::Serial, _) => Ok(()),
            (Transport::Vsock, _) => match VsockHost::glance().confirmed() {
                vsock if vsock.may_be_tried() => Ok(()),
                unusable => Err(unusable.reason()),
            },
        }
    }

    /// Runs a guest until its agent answers, in bounded time.
    async fn try_way(&self, qemu: &Qemu, kit: &GuestKit, way: Way) -> Result<Verdict, Failure> {
        match self.probe(qemu, kit, way, false).await {
            Ok(timings) => {
                let total: u64 = timings.iter().map(|(_, us)| us).sum();
                Ok(Verdict { usable: true, reason: format!("a guest ran in {} ms", total / 1000) })
            }
            Err(failure) if is_verdict(failure.code) => {
                Ok(Verdict { usable: false, reason: failure.message })
            }
            // A full disk, say, is no verdict: it is told, and not remembered.
            Err(failure) => Err(failure),
        }
    }

    /// Boots a guest without disks until its agent answers; gives what each step took. One that is not `proven` to
    /// run so gets less time.
    pub(crate) async fn probe(
        &self,
        qemu: &Qemu,
        kit: &GuestKit,
        way: Way,
        proven: bool,
    ) -> Result<Vec<(String, u64)>, Failure> {
        let start = self.bare_start(qemu, kit, way, Purpose::Probe { proven })?;
        let (mut supervisor, started) = Supervisor::start(&self.config.program, start, |_| {}).await?;
        supervisor.ended().await;
        Ok(started.timings)
    }
}

/// All ways that were asked for and have their devices, the best first. Emulation over serial ports needs none. Emulated
/// guests get vsock for the asking alone: the confinement of QEMU is all that holds them, and what they say over vsock is
/// read by the host's kernel instead.
fn candidates(
    (accelerator, transport): (AcceleratorChoice, TransportChoice),
    kvm: KvmDevice,
    vsock: &VsockHost,
) -> Result<Vec<Way>, Failure> {
    let accelerators: &[Accelerator] = match (accelerator, kvm.is_permitted()) {
        (AcceleratorChoice::Auto, true) => &[Accelerator::Kvm, Accelerator::Tcg],
        (AcceleratorChoice::Kvm, true) => &[Accelerator::Kvm],
        (AcceleratorChoice::Kvm, false) => return Err(kvm_missing(kvm)),
        (AcceleratorChoice::Tcg, _) | (AcceleratorChoice::Auto, false) => &[Accelerator::Tcg],
    };
    let transports: &[Transport] = match transport {
        TransportChoice::Serial => &[Transport::Serial],
        TransportChoice::Vsock if vsock.may_be_tried() => &[Transport::Vsock],
        TransportChoice::Vsock => return Err(vsock_missing(vsock, Some("leave PYRO_TRANSPORT unset"))),
        TransportChoice::Auto if vsock.may_be_tried() => &[Transport::Vsock, Transport::Serial],
        TransportChoice::Auto => &[Transport::Serial],
    };
    let ways = accelerators
        .iter()
        .flat_map(|&accelerator| transports.iter().map(move |&transport| Way { accelerator, transport }));
    let is_wanted = |way: &Way| *way != EMULATED_OVER_VSOCK || transport == TransportChoice::Vsock;
    Ok(ways.filter(is_wanted).collect())
}

/// The first candidate that is not known to be of no use. The last one is not tried: there is no other to fall back to,
/// and what is wrong with it shows when it is used.
fn next(
    candidates: &[Way],
    verdict: impl Fn(Way) -> Result<Option<Verdict>, Failure>,
) -> Result<Next, Failure> {
    let Some((&last, others)) = candidates.split_last() else {
        return Err(Failure::new(Code::System, "there is no way to run guests"));
    };
    for &way in others {
        match verdict(way)? {
            Some(verdict) if verdict.usable => return Ok(Next::Known(way)),
            Some(_) => {}
            None => return Ok(Next::Untried(way)),
        }
    }
    Ok(Next::Known(last))
}

fn trial_key(qemu: &Qemu, way: Way) -> String {
    let kernel = rustix::system::uname();
    format!(
        "{TRIALS}{}/{}/{}/{}/{}/{}",
        way.accelerator.as_str(),
        way.transport.as_str(),
        kernel.release().to_string_lossy(),
        kernel.version().to_string_lossy(),
        qemu.path().display(),
        qemu.version()
    )
}

/// Whether a failed trial says something about the way.
fn is_verdict(code: Code) -> bool {
    matches!(
        code,
        Code::VmmFailed
            | Code::VmmDied
            | Code::GuestSilent
            | Code::GuestPanicked
            | Code::GuestEnded
            | Code::GuestFaulty
    )
}

fn kvm_missing(device: KvmDevice) -> Failure {
    let failure = Failure::new(Code::AcceleratorUnusable, "KVM cannot be used");
    if device.exists {
        failure
            .because(format!("{KVM_DEVICE} is not readable and writable for this user"))
            .fix(format!("{KVM_FORBIDDEN}, or use --accelerator tcg"))
    } else if is_inside_pyro() {
        failure.because(NO_NESTING).fix(format!("{OUTSIDE}, or use --accelerator tcg"))
    } else {
        failure
            .because(format!("{KVM_DEVICE} does not exist"))
            .fix("enable virtualization in the firmware and load the kvm module, or use --accelerator tcg")
    }
}

/// What to do about a device that is there for others.
pub(crate) const KVM_FORBIDDEN: &str = "add the user to its group (`sudo usermod -aG kvm $USER`, then log in again), or where that is root: `sudo chgrp kvm /dev/kvm && sudo chmod 660 /dev/kvm`";

fn vsock_missing(vsock: &VsockHost, or: Option<&str>) -> Failure {
    let or = or.map(|or| format!(", or {or}")).unwrap_or_default();
    Failure::new(Code::TransportUnusable, "guests cannot be reached over vsock")
        .because(vsock.reason())
        .fix(format!("{}{or}", vsock.remedy()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use AcceleratorChoice::{Auto, Kvm, Tcg};

    const PERMITTED: KvmDevice = KvmDevice { exists: true, readable: true, writable: true };
    const FORBIDDEN: KvmDevice = KvmDevice { exists: true, readable: false, writable: false };

    fn listed(choice: (AcceleratorChoice, TransportChoice), kvm: KvmDevice, vsock: VsockHost) -> String {
        match candidates(choice, kvm, &vsock) {
            Ok(ways) => ways.iter().map(|way| said(*way)).collect::<Vec<_>>().join(" "),
            Err(failure) => format!("{:?}", failure.code),
        }
    }

    fn said(way: Way) -> String {
        format!("{}+{}", way.accelerator.as_str(), way.transport.as_str())
    }

    /// What can be used is used, the best first; what was asked for is given or refused, never replaced.
    #[test]
    fn candidates_follow_choice_and_devices() {
        use TransportChoice::{Auto as Any, Serial, Vsock};
        use VsockHost::{Missing, Permitted, Ready};
        let all = "kvm+vsock kvm+serial tcg+serial";
        for (choice, kvm, vsock, expected) in [
            ((Auto, Any), PERMITTED, Ready, all),
            ((Auto, Any), PERMITTED, Permitted, all),
            ((Auto, Any), PERMITTED, Missing, "kvm+serial tcg+serial"),
            ((Auto, Any), FORBIDDEN, Ready, "tcg+serial"),
            ((Auto, Any), FORBIDDEN, VsockHost::Forbidden, "tcg+serial"),
            ((Kvm, Any), PERMITTED, Ready, "kvm+vsock kvm+serial"),
            ((Kvm, Any), FORBIDDEN, Ready, "AcceleratorUnusable"),
            ((Kvm, Vsock), PERMITTED, Ready, "kvm+vsock"),
            ((Auto, Vsock), PERMITTED, Ready, "kvm+vsock tcg+vsock"),
            ((Auto, Vsock), PERMITTED, Missing, "TransportUnusable"),
            ((Tcg, Vsock), PERMITTED, VsockHost::Refused("no".to_owned()), "TransportUnusable"),
            ((Tcg, Any), PERMITTED, Ready, "tcg+serial"),
            ((Tcg, Vsock), PERMITTED, Ready, "tcg+vsock"),
            ((Tcg, Serial), PERMITTED, Ready, "tcg+serial"),
            ((Auto, Serial), PERMITTED, Ready, "kvm+serial tcg+serial"),
        ] {
            assert_eq!(listed(choice, kvm, vsock.clone()), expected, "{choice:?} {kvm:?} {vsock:?}");
        }
    }

    /// A start that failed is told as a lack of vsock where that is one; every remedy names the other transport once.
    #[test]
    fn a_lack_of_vsock_explains_a_start() {
        use VsockHost::{Forbidden, Missing, Permitted, Ready, Refused, Unloaded};
        let failed = |code| Failure::new(code, "QEMU did not start");
        for vsock in [Missing, Unloaded, Forbidden, Refused("no".to_owned())] {
            let told = explain_vsock(failed(Code::VmmFailed), &vsock);
            assert_eq!(told.code, Code::TransportUnusable, "{vsock:?}");
            let remedy = told.remediation.unwrap();
            assert_eq!(remedy.matches("PYRO_TRANSPORT=serial").count(), 1, "{remedy}");
            assert_eq!(explain_vsock(failed(Code::GuestPanicked), &vsock).code, Code::GuestPanicked);
        }
        for vsock in [Ready, Permitted] {
            assert_eq!(explain_vsock(failed(Code::VmmFailed), &vsock).code, Code::VmmFailed);
        }
    }

    /// Whoever listens for guests is told, whatever the port, but for supervisors that wait for theirs.
    #[test]
    fn strangers_are_told_from_supervisors() {
        let at = |cid, port| Address { cid, port };
        let any = u32::MAX;
        let told = |listeners: &[Address]| strangers_among(listeners).into_iter().collect::<Vec<_>>();
        assert_eq!(told(&[at(HOST_CID, 0x2_0000), at(HOST_CID, 0x2_0001)]), [0_u32; 0]);
        assert_eq!(told(&[at(HOST_CID, 0x2_0000), at(any, 0x2_0001)]), [0x2_0000, 0x2_0001]);
        assert_eq!(told(&[at(HOST_CID, 0x2_0001), at(HOST_CID, 0x2_0002)]), [0x2_0001, 0x2_0002]);
        let strange = [at(any, 0), at(any, 22), at(HOST_CID, 22), at(any, 100_000), at(any, any)];
        assert_eq!(told(&strange), [0, 22, 100_000, any]);
    }

    /// A way is used once a guest has run in it, passed over once none did, and tried before that; the last needs no
    /// trial.
    #[test]
    fn ways_are_tried_in_turn() {
        let ways = candidates((Auto, TransportChoice::Auto), PERMITTED, &VsockHost::Ready).unwrap();
        let of = |known: &[(&str, bool)]| {
            let told = next(&ways, |way| {
                let verdict = known.iter().find(|(name, _)| *name == said(way));
                Ok(verdict.map(|(_, usable)| Verdict { usable: *usable, reason: String::new() }))
            });
            match told.unwrap() {
                Next::Known(way) => said(way),
                Next::Untried(way) => format!("{}?", said(way)),
            }
        };
        assert_eq!(of(&[]), "kvm+vsock?");
        assert_eq!(of(&[("kvm+vsock", true)]), "kvm+vsock");
        assert_eq!(of(&[("kvm+vsock", false)]), "kvm+serial?");
        assert_eq!(of(&[("kvm+vsock", false), ("kvm+serial", true)]), "kvm+serial");
        assert_eq!(of(&[("kvm+vsock", false), ("kvm+serial", false)]), "tcg+serial");
    }

    /// Each refusal says what is wrong and what mends it.
    #[test]
    fn refusals_explain_themselves() {
        let told = |failure: Failure| {
            format!("{} {} {}", failure.message, failure.cause.unwrap(), failure.remediation.unwrap())
        };
        let kvm = told(kvm_missing(FORBIDDEN));
        assert!(kvm.contains("/dev/kvm is not readable") && kvm.contains("usermod -aG kvm"), "{kvm}");
        let kvm = told(kvm_missing(KvmDevice { exists: false, readable: false, writable: false }));
        assert!(kvm.contains("/dev/kvm does not exist") && kvm.contains("--accelerator tcg"), "{kvm}");
        for (vsock, reason, remedy) in [
            (VsockHost::Missing, "there is no /dev/vhost-vsock", "modprobe vhost_vsock"),
            (VsockHost::Forbidden, "not readable and writable for this user", "usermod -aG kvm"),
            (VsockHost::Refused("not permitted".to_owned()), "not permitted", "PYRO_TRANSPORT=serial"),
        ] {
            let told = told(vsock_missing(&vsock, Some("else")));
            assert!(told.contains(reason) && told.contains(remedy), "{told}");
        }
    }
}
