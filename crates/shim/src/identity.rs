//! What makes one guest unlike all others: random numbers, names, the time.

use std::time::{SystemTime, UNIX_EPOCH};

use pyro_proto::agent::{Prepare, WorkspaceDisk};
use pyro_proto::shim::Failure;

use crate::failure::system;
use crate::workspace::Opened;

/// Who the guest of a template is until a fork of it becomes somebody: as long as a VM's id, so that the files that
/// say it keep their lengths.
const NOBODY: &str = "pyro-waiting";

/// Somebody else, to be for a moment.
const ANYBODY: &str = "pyro-somehow";

/// For a VM without a workspace.
pub(crate) fn of_vm(vm_id: &str) -> Result<Prepare, Failure> {
    prepare(vm_id, hex(&random::<16>()?), WorkspaceDisk::Plain)
}

/// For the VM of a workspace: the same at every start.
pub(crate) fn of_workspace(workspace: &Opened) -> Result<Prepare, Failure> {
    let mut prepare = prepare(&workspace.hostname, workspace.machine_id(), workspace.coming.disk())?;
    if workspace.coming.is_copy() {
        prepare.boot_id = Some(uuid(random()?));
    }
    Ok(prepare)
}

/// For the guest of a template, which stands on a disk of its own.
pub(crate) fn of_template() -> Result<Prepare, Failure> {
    prepare(NOBODY, "0".repeat(32), WorkspaceDisk::Empty)
}

/// The same under another name, in the way that VMs without a workspace get theirs: a guest that has done so before does
/// it sooner.
pub(crate) fn of_rehearsal() -> Result<[Prepare; 2], Failure> {
    let [other, own] = [(ANYBODY, "1"), (NOBODY, "0")]
        .map(|(name, digit)| prepare(name, digit.repeat(32), WorkspaceDisk::Plain));
    Ok([other?, own?])
}

/// Random bytes of the kernel's.
pub(crate) fn random<const BYTES: usize>() -> Result<[u8; BYTES], Failure> {
    let mut bytes = [0; BYTES];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| system("no random numbers can be had", &std::io::Error::from(errno)))?;
    Ok(bytes)
}

/// Nanoseconds since 1970.
pub(crate) fn realtime_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

fn prepare(hostname: &str, machine_id: String, workspace: WorkspaceDisk) -> Result<Prepare, Failure> {
    Ok(Prepare {
        entropy: random()?,
        realtime_ns: realtime_ns(),
        hostname: hostname.to_owned(),
        machine_id,
        workspace,
        boot_id: None,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A random UUID (RFC 9562, version 4), as the kernel makes its boot id.
fn uuid(mut bytes: [u8; 16]) -> String {
    let [_, _, _, _, _, _, version, _, variant, ..] = &mut bytes;
    *version = (*version & 0x0f) | 0x40;
    *variant = (*variant & 0x3f) | 0x80;
    let digits = hex(&bytes);
    let mut text = String::with_capacity(36);
    for (at, digit) in digits.chars().enumerate() {
        if matches!(at, 8 | 12 | 16 | 20) {
            text.push('-');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A boot id has the form that software expects of one.
    #[test]
    fn boot_ids_are_uuids() {
        assert_eq!(uuid([0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(uuid([0; 16]), "00000000-0000-4000-8000-000000000000");
    }
}
