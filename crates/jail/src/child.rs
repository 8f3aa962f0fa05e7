//! What the child does between fork and exec: only system calls on what the parent prepared.
//!
//! The order matters. Namespaces and the bounding set need privileges, so they come before the ids change;
//! the parent-death signal is cleared by the change of ids, so it comes after; Landlock and seccomp come
//! last, because the steps before would no longer be allowed.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use libc::sock_filter;
use rustix::fs::{Mode, OFlags};
use rustix::io::FdFlags;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use rustix::process::{DumpableBehavior, Gid, Pid, Resource, Rlimit, Signal, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets, UnshareFlags};

use crate::limits::CAPABILITY_NUMBER_MAX;
use crate::support::{NAMESPACES, Namespaces};
use crate::sys::{self, Listening};

/// The first descriptor after the standard three.
pub(crate) const FIRST_OTHER_FD: u32 = 3;

/// Ids to change to.
pub(crate) struct Ids {
    pub(crate) uid: Uid,
    pub(crate) gid: Gid,
    pub(crate) groups: Vec<Gid>,
}

/// Lines of the user namespace's maps.
pub(crate) struct IdMaps {
    pub(crate) uid: String,
    pub(crate) gid: String,
}

/// The seccomp filter, and where its listener goes when it has one.
pub(crate) struct Filter {
    pub(crate) program: Vec<sock_filter>,
    pub(crate) listener_to: Option<OwnedFd>,
}

/// Everything the child needs, allocated by the parent.
pub(crate) struct Plan {
    pub(crate) parent: Pid,
    pub(crate) ids: Option<Ids>,
    pub(crate) namespaces: Namespaces,
    pub(crate) maps: IdMaps,
    pub(crate) rlimits: Vec<(Resource, Rlimit)>,
    pub(crate) ruleset: Option<OwnedFd>,
    pub(crate) filter: Filter,
    pub(crate) inherit: Vec<OwnedFd>,
}

impl Plan {
    /// Confines the calling process.
    pub(crate) fn confine(&self) -> io::Result<()> {
        rustix::process::setsid()?;
        sys::unblock_signals();
        self.pass_descriptors()?;
        if self.namespaces == Namespaces::Direct {
            sys::unshare(NAMESPACES)?;
        }
        drop_bounding_set()?;
        self.limit()?;
        self.change_ids()?;
        if self.namespaces == Namespaces::ThroughUser {
            self.enter_user_namespace()?;
        }
        drop_capabilities()?;
        rustix::thread::set_no_new_privs(true)?;
        self.die_with_parent()?;
        if let Some(ruleset) = &self.ruleset {
            sys::landlock_restrict(ruleset.as_fd())?;
        }
        self.load_filter()
    }

    fn pass_descriptors(&self) -> io::Result<()> {
        sys::close_on_exec_from(FIRST_OTHER_FD)?;
        for fd in &self.inherit {
            rustix::io::fcntl_setfd(fd, FdFlags::empty())?;
        }
        Ok(())
    }

    fn limit(&self) -> io::Result<()> {
        sys::ignore_file_size_signal();
        for (resource, limit) in &self.rlimits {
            rustix::process::setrlimit(*resource, *limit)?;
        }
        Ok(())
    }

    fn change_ids(&self) -> io::Result<()> {
        let Some(ids) = &self.ids else { return Ok(()) };
        rustix::thread::set_thread_groups(&ids.groups)?;
        rustix::thread::set_thread_res_gid(ids.gid, ids.gid, ids.gid)?;
        rustix::thread::set_thread_res_uid(ids.uid, ids.uid, ids.uid)?;
        Ok(())
    }

    /// After a change of ids /proc/self belongs to root until the process is dumpable again.
    fn enter_user_namespace(&self) -> io::Result<()> {
        sys::unshare(NAMESPACES.union(UnshareFlags::NEWUSER))?;
        rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)?;
        write_whole(c"/proc/self/setgroups", b"deny")?;
        write_whole(c"/proc/self/uid_map", self.maps.uid.as_bytes())?;
        write_whole(c"/proc/self/gid_map", self.maps.gid.as_bytes())
    }

    /// The signal is sent when the parent's thread ends; a parent that ended before is noticed here.
    fn die_with_parent(&self) -> io::Result<()> {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        if rustix::process::getppid() == Some(self.parent) {
            Ok(())
        } else {
            Err(io::Error::from_raw_os_error(libc::ESRCH))
        }
    }

    fn load_filter(&self) -> io::Result<()> {
        let Filter { program, listener_to } = &self.filter;
        let listening = if listener_to.is_some() { Listening::Yes } else { Listening::No };
        let listener = sys::load_filter(program, listening)?;
        match (listener, listener_to) {
            (Some(listener), Some(to)) => send_descriptor(to.as_fd(), listener.as_fd()),
            _ => Ok(()),
        }
    }
}

/// Without `CAP_SETPCAP` there is nothing to drop: no-new-privileges keeps the set from ever being used.
fn drop_bounding_set() -> io::Result<()> {
    for number in 0..=CAPABILITY_NUMBER_MAX {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::PERM) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn drop_capabilities() -> io::Result<()> {
    let none = CapabilitySet::empty();
    rustix::thread::clear_ambient_capability_set()?;
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    rustix::thread::set_capabilities(None, sets)?;
    Ok(())
}

fn write_whole(path: &std::ffi::CStr, bytes: &[u8]) -> io::Result<()> {
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    match rustix::io::write(&file, bytes)? {
        written if written == bytes.len() => Ok(()),
        _ => Err(io::Error::from_raw_os_error(libc::EIO)),
    }
}

fn send_descriptor(socket: BorrowedFd<'_>, fd: BorrowedFd<'_>) -> io::Result<()> {
    let fds = [fd];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::Error::from_raw_os_error(libc::ENOBUFS));
    }
    rustix::net::sendmsg(socket, &[io::IoSlice::new(&[0])], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}
