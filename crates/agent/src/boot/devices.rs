//! Disks and ports, found by the names that the host gave them; the kernel numbers them in any order.

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

use pyro_proto::Lane;
use pyro_proto::agent::{ARGUMENT_VSOCK, PORT_BULK, PORT_CONTROL};
use pyro_vsock::{Cid, OwnCid};

use super::BootError;
use crate::limits::{DEVICES_RECHECK_MS, DEVICES_SECONDS_MAX};
use crate::port::{Port, SerialPort, VsockPort};

const PORTS: &str = "/sys/class/virtio-ports";
const DISKS: &str = "/sys/block";

/// Waits for the way to the host that the machine was given: gives the control and the bulk port.
pub(crate) fn ports() -> Result<(Port, Port), BootError> {
    let deadline = Instant::now() + DEVICES_SECONDS_MAX;
    let line = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    if line.split_whitespace().any(|word| word == ARGUMENT_VSOCK) {
        let own = Rc::new(own_cid(deadline).map_err(BootError::Vsock)?);
        let port = |lane| Port::Vsock(VsockPort::new(lane, Rc::clone(&own)));
        return Ok((port(Lane::Control), port(Lane::Bulk)));
    }
    let port = |name| port(name, deadline).map(Port::Serial);
    Ok((port(PORT_CONTROL)?, port(PORT_BULK)?))
}

/// Waits until the machine has a context id.
fn own_cid(deadline: Instant) -> io::Result<OwnCid> {
    let try_it = || {
        let own = OwnCid::open()?;
        Cid::new(own.get()?).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(own)
    };
    loop {
        match try_it() {
            Err(_) if Instant::now() < deadline => std::thread::sleep(DEVICES_RECHECK_MS),
            tried => return tried,
        }
    }
}

/// The block device with this serial, if it is there; the kernel finds all disks before any port is open.
pub(crate) fn find_disk(serial: &str) -> Option<PathBuf> {
    named(Path::new(DISKS), "serial", serial).map(|name| Path::new("/dev").join(name))
}

fn port(name: &'static str, deadline: Instant) -> Result<SerialPort, BootError> {
    loop {
        let found =
            named(Path::new(PORTS), "name", name).map(|port| SerialPort::open(&Path::new("/dev").join(port)));
        match found {
            Some(Ok(port)) => return Ok(port),
            Some(Err(errno)) if Instant::now() >= deadline => return Err(BootError::Port { name, errno }),
            None if Instant::now() >= deadline => return Err(BootError::PortMissing(name)),
            _ => std::thread::sleep(DEVICES_RECHECK_MS),
        }
    }
}

/// The entry of a class directory whose attribute holds `value`.
fn named(class: &Path, attribute: &str, value: &str) -> Option<PathBuf> {
    let entries = std::fs::read_dir(class).ok()?;
    entries
        .filter_map(Result::ok)
        .find(|entry| {
            std::fs::read_to_string(entry.path().join(attribute)).is_ok_and(|text| text.trim_end() == value)
        })
        .map(|entry| PathBuf::from(entry.file_name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A device is found by what the host called it, whatever the kernel did.
    #[test]
    fn devices_are_found_by_their_attribute() {
        let class = tempfile::tempdir().unwrap();
        for (name, serial) in [("vda", Some("scratch\n")), ("vdb", Some("base")), ("loop0", None)] {
            std::fs::create_dir(class.path().join(name)).unwrap();
            if let Some(serial) = serial {
                std::fs::write(class.path().join(name).join("serial"), serial).unwrap();
            }
        }
        assert_eq!(named(class.path(), "serial", "scratch"), Some(PathBuf::from("vda")));
        assert_eq!(named(class.path(), "serial", "base"), Some(PathBuf::from("vdb")));
        assert_eq!(named(class.path(), "serial", "archive"), None);
    }
}
