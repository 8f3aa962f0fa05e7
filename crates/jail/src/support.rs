//! Which layers of confinement this machine grants, tried rather than guessed.

use rustix::thread::{CapabilitySet, UnshareFlags};

use crate::sys;

/// How new namespaces are had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Namespaces {
    /// The caller may make them itself.
    Direct,
    /// Inside a new user namespace.
    ThroughUser,
    /// Not at all.
    Refused {
        /// The kernel's errno.
        errno: i32,
    },
}

/// One layer of the jail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Layer {
    /// An unprivileged user id.
    UserId,
    /// Network, IPC and host name namespaces.
    Namespaces,
    /// Landlock on files.
    FileRules,
    /// Landlock on TCP.
    TcpRules,
    /// Landlock on signals and abstract sockets.
    SignalRules,
    /// Opens answered by the parent, so that an old VMM gets its template read-only.
    AnsweredOpens,
}

impl Layer {
    /// The layer's name as `doctor` prints it.
    pub fn name(self) -> &'static str {
        match self {
            Layer::UserId => "user-id",
            Layer::Namespaces => "namespaces",
            Layer::FileRules => "file-rules",
            Layer::TcpRules => "tcp-rules",
            Layer::SignalRules => "signal-rules",
            Layer::AnsweredOpens => "answered-opens",
        }
    }
}

/// A layer that cannot be had here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Which.
    pub layer: Layer,
    /// Why, as one clause.
    pub reason: String,
    /// What would bring it, as one imperative clause.
    pub remedy: &'static str,
}

/// What the running kernel grants this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Support {
    /// How namespaces are had.
    pub namespaces: Namespaces,
    /// Landlock's ABI, 0 without it.
    pub landlock_abi: u32,
    /// Whether opens can be answered by the parent.
    pub answered_opens: bool,
}

// Truncating, a right since ABI 3, is no layer that can be missing: the filter refuses it by path and by open,
// and by descriptor it takes one open for writing.

/// The first Landlock ABI with TCP rules, and with signal and abstract socket rules
/// (Documentation/userspace-api/landlock.rst).
const LANDLOCK_TCP_ABI: u32 = 4;
const LANDLOCK_SCOPE_ABI: u32 = 6;

/// `SECCOMP_ADDFD_FLAG_SEND` came with Linux 5.14.
const ANSWER_KERNEL: (u32, u32) = (5, 14);

/// The namespaces of a jail.
pub(crate) const NAMESPACES: UnshareFlags =
    UnshareFlags::NEWNET.union(UnshareFlags::NEWIPC).union(UnshareFlags::NEWUTS);

impl Support {
    /// Asks the kernel, by trial where only a trial tells: a forked child that leaves at once. Takes about a
    /// millisecond.
    pub fn probe() -> Self {
        Self {
            namespaces: probe_namespaces(),
            landlock_abi: sys::landlock_abi(),
            answered_opens: sys::has_seccomp_notify()
                && kernel_version() >= ANSWER_KERNEL
                && may_read_children(),
        }
    }

    /// What cannot be had here.
    pub fn missing(&self) -> Vec<Missing> {
        let landlock = self.missing_landlock();
        self.missing_namespaces().into_iter().chain(landlock).chain(self.missing_answers()).collect()
    }

    fn missing_namespaces(&self) -> Option<Missing> {
        let Namespaces::Refused { errno } = self.namespaces else { return None };
        let reason = match errno {
            // What the kernel says when their number is limited (user_namespaces(7)).
            libc::ENOSPC | libc::EUSERS => "no more user namespaces are allowed".to_owned(),
            errno => {
                let error = std::io::Error::from_raw_os_error(errno);
                format!("the kernel refuses unprivileged user namespaces: {error}")
            }
        };
        Some(Missing {
            layer: Layer::Namespaces,
            reason,
            remedy: "allow them (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, \
                     kernel.apparmor_restrict_unprivileged_userns)",
        })
    }

    fn missing_landlock(&self) -> Vec<Missing> {
        let abi = self.landlock_abi;
        let lacking = |layer, what, remedy| Missing {
            layer,
            reason: format!("Landlock ABI {abi} has no {what} rules"),
            remedy,
        };
        if abi == 0 {
            return vec![Missing {
                layer: Layer::FileRules,
                reason: "the kernel has no Landlock, or it is not among its active security modules"
                    .to_owned(),
                remedy: "boot with landlock in lsm=, on Linux 5.13 or newer",
            }];
        }
        let tcp = (abi < LANDLOCK_TCP_ABI).then(|| lacking(Layer::TcpRules, "TCP", "run Linux 6.7 or newer"));
        let signals = (abi < LANDLOCK_SCOPE_ABI)
            .then(|| lacking(Layer::SignalRules, "signal", "run Linux 6.12 or newer"));
        tcp.into_iter().chain(signals).collect()
    }

    fn missing_answers(&self) -> Option<Missing> {
        (!self.answered_opens).then(|| Missing {
            layer: Layer::AnsweredOpens,
            reason: "opens cannot be answered: the kernel is too old, or forbids to read a child's memory"
                .to_owned(),
            remedy: "run Linux 5.14 or newer with kernel.yama.ptrace_scope below 2, or QEMU 8.2 or newer, \
                     which does not need it",
        })
    }
}

fn probe_namespaces() -> Namespaces {
    if sys::try_unshare(NAMESPACES).is_ok() {
        return Namespaces::Direct;
    }
    match sys::try_unshare(NAMESPACES.union(UnshareFlags::NEWUSER)) {
        Ok(()) => Namespaces::ThroughUser,
        Err(error) => Namespaces::Refused { errno: error.raw_os_error().unwrap_or(libc::EPERM) },
    }
}

/// Whether the path of a child's open can be read from its memory: Yama may leave that to administrators (2),
/// or to nobody (3) (Documentation/admin-guide/LSM/Yama.rst).
fn may_read_children() -> bool {
    let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    match scope.trim().parse::<u32>() {
        Ok(2) => rustix::thread::capabilities(None)
            .is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_PTRACE)),
        Ok(scope) => scope < 2,
        Err(_) => true,
    }
}

/// Major and minor number of the running kernel; zeros when it does not say.
fn kernel_version() -> (u32, u32) {
    let uname = rustix::system::uname();
    parse_kernel_version(&uname.release().to_string_lossy())
}

fn parse_kernel_version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poor() -> Support {
        Support {
            namespaces: Namespaces::Refused { errno: libc::EPERM },
            landlock_abi: 0,
            answered_opens: false,
        }
    }

    #[test]
    fn everything_missing_is_named_with_a_remedy() {
        // Promise: no layer is dropped silently.
        let layers: Vec<_> = poor().missing().into_iter().map(|m| m.layer).collect();
        assert_eq!(layers, [Layer::Namespaces, Layer::FileRules, Layer::AnsweredOpens]);
        assert!(poor().missing().iter().all(|m| !m.reason.is_empty() && !m.remedy.is_empty()));
    }

    #[test]
    fn an_older_landlock_is_reported_by_what_it_lacks() {
        // Promise: doctor tells a partial layer from a whole one.
        let layers = |abi| {
            let missing = Support { landlock_abi: abi, ..poor() }.missing_landlock();
            missing.into_iter().map(|m| m.layer).collect::<Vec<_>>()
        };
        for abi in 1..=3 {
            assert_eq!(layers(abi), [Layer::TcpRules, Layer::SignalRules]);
        }
        assert_eq!(layers(5), [Layer::SignalRules]);
        assert_eq!(layers(6), []);
    }

    #[test]
    fn kernel_releases_parse() {
        // Promise: any release string gives a version, never a panic.
        assert_eq!(parse_kernel_version("6.1.0-56-cloud-amd64"), (6, 1));
        assert_eq!(parse_kernel_version("5.14.0"), (5, 14));
        assert_eq!(parse_kernel_version(""), (0, 0));
        assert_eq!(parse_kernel_version("x"), (0, 0));
    }
}
