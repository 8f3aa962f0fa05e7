//! What no argument list may contain, for whole classes of arguments.

use super::wiring::{DiskFds, Ram, Start, WiredChannels, WiredDisk, Wiring};
use super::{SANDBOX, arguments};
use crate::machine::{Accelerator, Flush, Shape, Transport};

/// For what is alike on every one.
const USUAL: (Accelerator, Transport) = (Accelerator::Tcg, Transport::Serial);

fn channels(transport: Transport) -> WiredChannels {
    match transport {
        Transport::Vsock => WiredChannels::Vsock { device: 32, cid: 70_000 },
        Transport::Serial => WiredChannels::Serial { control: 32, bulk: 33 },
    }
}

fn wiring((accelerator, transport): (Accelerator, Transport), ram: Ram, start: Start) -> Wiring {
    let disk = |serial: &str, fds| WiredDisk { serial: serial.parse().unwrap(), fds, flush: Flush::Honored };
    Wiring {
        shape: Shape::new(accelerator, transport, 2, 1024).unwrap(),
        ram,
        kernel: 10,
        start,
        disks: vec![
            disk("base", DiskFds::ReadOnly(20)),
            disk("scratch", DiskFds::Overlay { overlay: 21, layers: vec![24, 25], backing: 22 }),
            disk("work", DiskFds::Writable(23)),
        ],
        qmp: 30,
        console: 31,
        channels: channels(transport),
    }
}

fn boot() -> Start {
    Start::Boot { initrd: 11, kernel_line: "console=ttyS0 quiet".to_owned() }
}

fn every_way() -> impl Iterator<Item = (Accelerator, Transport)> {
    [Accelerator::Kvm, Accelerator::Tcg].into_iter().flat_map(|accelerator| {
        [Transport::Vsock, Transport::Serial].map(|transport| (accelerator, transport))
    })
}

fn every_list() -> Vec<Vec<String>> {
    let rams = [Ram::Anonymous, Ram::Shared(12), Ram::Private(12), Ram::PrivateWritable(12)];
    every_way()
        .flat_map(|way| rams.map(|ram| (way, ram)))
        .flat_map(|(way, ram)| [boot(), Start::Incoming].map(|start| arguments(&wiring(way, ram, start))))
        .collect()
}

#[test]
fn no_list_opens_a_way_out() {
    // Promise: no network, display, listening socket, guest-chosen file or device with a history.
    let options = [
        "-netdev",
        "-nic",
        "-net",
        "-vnc",
        "-spice",
        "-fsdev",
        "-virtfs",
        "-drive",
        "-hda",
        "-cdrom",
        "-pidfile",
        "-daemonize",
        "-gdb",
        "-s",
        "-monitor",
        "-qmp",
        "-readconfig",
        "-plugin",
        "-chroot",
        "-runas",
        "-run-with",
        "-usb",
        "-loadvm",
        "-trace",
        "-D",
        "-d",
    ];
    let words = [
        "server",
        "telnet",
        "tcp:",
        "udp:",
        "unix:",
        "exec:",
        "user,",
        "slirp",
        "host=",
        "port=",
        "usb-",
        "virtio-net",
        "vhost",
        "vfio",
        "9p",
        "hostmem",
        "path=/",
        "backing_file",
        "=/home",
        "=/root",
        "=/var",
        "=/tmp",
        "=/etc",
    ];
    for list in every_list() {
        for argument in &list {
            assert!(!options.contains(&argument.as_str()), "{argument}");
            let argument = argument.replace("mem-path=/proc/self/fd/", "mem-fd=");
            // The one device of the host's kernel, claimed beforehand; checked below.
            let argument = argument.replace("vhost-vsock-device,guest-cid=70000,vhostfd=32", "vsock");
            for word in words {
                assert!(!argument.contains(word), "{argument} has {word}");
            }
        }
    }
}

#[test]
fn every_file_is_a_descriptor() {
    // Promise: QEMU opens nothing by a path of the host.
    for list in every_list() {
        for argument in list.iter().filter(|a| a.contains('/')) {
            let fd = argument.contains("/proc/self/fd/") || argument.contains("/dev/fdset/");
            assert!(fd, "{argument}");
        }
    }
}

#[test]
fn every_list_confines_and_hides_nested_virtualization() {
    // Promise: all four sandbox denials, no defaults, no vmx, no svm, with either accelerator.
    for list in every_list() {
        let value = |option: &str| {
            let at = list.iter().position(|a| a == option).unwrap_or_else(|| panic!("no {option}"));
            list[at + 1].clone()
        };
        assert_eq!(value("-sandbox"), SANDBOX);
        assert_eq!(SANDBOX.matches("=deny").count(), 4);
        assert!(value("-cpu").ends_with("vmx=off,svm=off"));
        assert!(list.contains(&"-nodefaults".to_owned()) && list.contains(&"-no-user-config".to_owned()));
    }
}

#[test]
fn read_only_disks_are_read_only_on_every_level() {
    // Promise: a base image, a blank and a layer under another are never written.
    let list = arguments(&wiring(USUAL, Ram::Anonymous, boot()));
    for fd in [20, 22, 24, 25] {
        let file = list.iter().find(|a| a.contains(&format!("/dev/fdset/{fd}\""))).unwrap();
        assert!(file.contains("\"read-only\":true"), "{file}");
        assert!(file.contains("\"discard\":\"ignore\""), "{file}");
    }
    let written = |argument: &&String| argument.contains("\"read-only\":false");
    assert_eq!(list.iter().filter(written).count(), 4, "two nodes of the overlay, two of the writable disk");
}

#[test]
fn every_layer_stands_on_the_one_below() {
    // Promise: the guest sees the newest layer first, and the blank last.
    let list = arguments(&wiring(USUAL, Ram::Anonymous, boot()));
    let node = |name: &str| {
        let start = format!("\"node-name\":\"{name}\"");
        list.iter().find(|a| a.contains(&start)).unwrap_or_else(|| panic!("no {name}"))
    };
    for (above, below) in [(2, "disk1-layer1"), (1, "disk1-layer0"), (0, "disk1-backing")] {
        let layer = node(&format!("disk1-layer{above}"));
        assert!(layer.contains(&format!("\"backing\":\"{below}\"")), "{layer}");
    }
    assert!(list.iter().any(|a| a.starts_with("virtio-blk-device,drive=disk1-layer2,")));
}

#[test]
fn boot_and_fork_make_the_same_machine() {
    // Promise: a fork's device state fits, because only memory, kernel and start differ.
    let strip = |way, ram, start| {
        let list = arguments(&wiring(way, ram, start));
        let skip = ["-object", "-kernel", "-initrd", "-append", "-incoming"];
        let mut kept = Vec::new();
        let mut words = list.into_iter().peekable();
        while let Some(word) = words.next() {
            if skip.contains(&word.as_str()) {
                words.next();
            } else {
                kept.push(word);
            }
        }
        kept
    };
    for way in every_way() {
        assert_eq!(strip(way, Ram::Shared(12), boot()), strip(way, Ram::Private(12), Start::Incoming));
    }
}

#[test]
fn a_guest_has_one_way_to_its_host() {
    // Promise: no vhost device where the ports are, no ports where the device is, and never two of either.
    for way in every_way() {
        let list = arguments(&wiring(way, Ram::Anonymous, boot()));
        let count = |word: &str| list.iter().filter(|argument| argument.contains(word)).count();
        let expected = if way.1 == Transport::Vsock { (1, 0, 0) } else { (0, 1, 2) };
        assert_eq!((count("vhost"), count("virtio-serial"), count("virtserialport")), expected);
    }
}
