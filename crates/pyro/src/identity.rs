//! Who a VM is: its id, and the user of the host that its VMM runs as.

use std::fs;

use pyro_proto::shim::RunAs;
use pyro_store::VmId;

use crate::{Code, Failure};

/// First of 2^24 user ids, far from any that a host gives out, so that two VMs practically never share one.
const UID_FIRST: u32 = 0x6F00_0000;

/// The conventional user without rights, for hosts whose own ids are few.
const UID_NOBODY: u32 = 65_534;

/// A user of the VM's own when this process may choose, which root may.
pub(crate) fn run_as(id: &VmId) -> Option<RunAs> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let own = UID_FIRST + u32::from_str_radix(id.as_str().get(..6)?, 16).ok()?;
    [own, UID_NOBODY].into_iter().find(|uid| is_mapped(&map, *uid)).map(|uid| RunAs { uid, gid: uid })
}

/// Whether root can let a VMM run as somebody else at all.
pub(crate) fn run_as_anybody() -> Option<u32> {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    [UID_FIRST, UID_NOBODY].into_iter().find(|uid| is_mapped(&map, *uid))
}

/// A new VM's id.
pub(crate) fn new_id() -> Result<VmId, Failure> {
    VmId::random().map_err(|error| Failure::new(Code::System, "no random numbers can be had").because(error))
}

/// Whether a user id exists in this user namespace (user_namespaces(7)): inside a container many do not.
fn is_mapped(uid_map: &str, uid: u32) -> bool {
    uid_map.lines().any(|line| {
        let mut fields = line.split_ascii_whitespace().map(str::parse::<u64>);
        let (Some(Ok(first)), Some(Ok(_)), Some(Ok(count))) = (fields.next(), fields.next(), fields.next())
        else {
            return false;
        };
        (first..first.saturating_add(count)).contains(&u64::from(uid))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only ids that the namespace knows are chosen.
    #[test]
    fn containers_have_fewer_users() {
        let host = "         0          0 4294967295\n";
        let container = "         0     100000      65536\n";
        assert!(is_mapped(host, UID_FIRST) && is_mapped(host, UID_NOBODY));
        assert!(!is_mapped(container, UID_FIRST) && is_mapped(container, UID_NOBODY));
        assert!(!is_mapped("", 0) && !is_mapped("garbage", 0));
    }
}
