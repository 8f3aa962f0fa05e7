//! QEMU's argument list: a pure function of the machine and of descriptor numbers.
//!
//! No argument names a file of the host except through a descriptor, none opens a network, a listening socket
//! or a display. The audit in the tests keeps it so for whole classes of arguments.

use std::os::fd::RawFd;

use serde::Serialize;

use crate::limits::TRANSLATION_CACHE_MIB;
use crate::machine::{Accelerator, Flush, Serial, Shape};

/// The processor under each accelerator: everything the host has, except nested virtualization, which has
/// been a way out of KVM more than once.
const CPU_TCG: &str = "max,vmx=off,svm=off";
const CPU_KVM: &str = "host,vmx=off,svm=off";

/// What no guest device may lead to: old system calls, more privileges, new processes, other scheduling.
const SANDBOX: &str = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";

/// Where guest memory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ram {
    /// Nowhere but in the process.
    Anonymous,
    /// In a file that becomes a template.
    Shared(RawFd),
    /// In a template's file, copied on write, by a QEMU that opens it read-only itself.
    Private(RawFd),
    /// In a template's file, copied on write, by a QEMU whose open for writing is answered by the jail.
    PrivateAnswered(RawFd),
}

/// The descriptors of one disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DiskFds {
    ReadOnly(RawFd),
    Writable(RawFd),
    Overlay { overlay: RawFd, backing: RawFd },
}

/// One disk, opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WiredDisk {
    pub(crate) serial: Serial,
    pub(crate) fds: DiskFds,
    pub(crate) flush: Flush,
}

/// How execution begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Start {
    /// At the kernel's entry.
    Boot { initrd: RawFd, kernel_line: String },
    /// From a template's device state, once QMP says so.
    Incoming,
}

/// A machine with every file and channel replaced by an open descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wiring {
    pub(crate) shape: Shape,
    pub(crate) ram: Ram,
    pub(crate) kernel: RawFd,
    pub(crate) start: Start,
    pub(crate) disks: Vec<WiredDisk>,
    pub(crate) qmp: RawFd,
    pub(crate) console: RawFd,
    pub(crate) control: RawFd,
    pub(crate) bulk: RawFd,
}

/// The path under which QEMU opens an inherited descriptor.
pub(crate) fn fd_path(fd: RawFd) -> String {
    format!("/proc/self/fd/{fd}")
}

/// Builds the list.
pub(crate) fn arguments(wiring: &Wiring) -> Vec<String> {
    let mut list = Arguments::default();
    list.confinement();
    list.machine(wiring);
    list.memory(wiring);
    list.start(wiring);
    list.channels(wiring);
    for (index, disk) in wiring.disks.iter().enumerate() {
        list.disk(index, disk);
    }
    list.0
}

/// The part of the list that decides what the guest sees, for a template's key: descriptors and what differs
/// between boot and fork left out.
pub(crate) fn guest_visible(shape: Shape) -> Vec<String> {
    vec![machine_options(shape.accelerator()), processor(shape.accelerator()).to_owned(), smp(shape)]
}

#[derive(Default)]
struct Arguments(Vec<String>);

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct FileNode<'a> {
    driver: &'a str,
    node_name: String,
    filename: String,
    read_only: bool,
    aio: &'a str,
    discard: &'a str,
    cache: Cache,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct FormatNode<'a> {
    driver: &'a str,
    node_name: String,
    file: String,
    read_only: bool,
    discard: &'a str,
    cache: Cache,
    #[serde(skip_serializing_if = "Option::is_none")]
    backing: Option<String>,
}

#[derive(Serialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
struct Cache {
    direct: bool,
    no_flush: bool,
}

/// Whether a node is written.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    ReadOnly,
    ReadWrite,
}

impl Arguments {
    fn add(&mut self, option: &str, value: impl Into<String>) {
        self.0.push(option.to_owned());
        self.0.push(value.into());
    }

    fn confinement(&mut self) {
        for flag in ["-nodefaults", "-no-user-config", "-no-reboot"] {
            self.0.push(flag.to_owned());
        }
        self.add("-display", "none");
        self.add("-msg", "timestamp=off");
        self.add("-sandbox", SANDBOX);
    }

    fn machine(&mut self, wiring: &Wiring) {
        let accelerator = wiring.shape.accelerator();
        self.add("-machine", machine_options(accelerator));
        self.add(
            "-accel",
            match accelerator {
                Accelerator::Kvm => "kvm".to_owned(),
                Accelerator::Tcg => format!("tcg,thread=multi,tb-size={TRANSLATION_CACHE_MIB}"),
            },
        );
        self.add("-cpu", processor(accelerator));
        self.add("-smp", smp(wiring.shape));
        self.add("-global", "virtio-mmio.force-legacy=false");
    }

    fn memory(&mut self, wiring: &Wiring) {
        let mib = wiring.shape.memory_mib();
        let backend = match wiring.ram {
            Ram::Anonymous => "memory-backend-ram,id=ram,share=off".to_owned(),
            Ram::Shared(fd) => format!("memory-backend-file,id=ram,mem-path={},share=on", fd_path(fd)),
            Ram::PrivateAnswered(fd) => {
                format!("memory-backend-file,id=ram,mem-path={},share=off", fd_path(fd))
            }
            Ram::Private(fd) => {
                format!("memory-backend-file,id=ram,mem-path={},share=off,readonly=on,rom=off", fd_path(fd))
            }
        };
        self.add("-m", format!("{mib}M"));
        self.add("-object", format!("{backend},size={mib}M,dump=off,merge=off"));
    }

    fn start(&mut self, wiring: &Wiring) {
        self.add("-kernel", fd_path(wiring.kernel));
        match &wiring.start {
            Start::Boot { initrd, kernel_line } => {
                self.add("-initrd", fd_path(*initrd));
                self.add("-append", kernel_line.as_str());
            }
            Start::Incoming => self.add("-incoming", "defer"),
        }
    }

    fn channels(&mut self, wiring: &Wiring) {
        let channels = [
            ("qmp", wiring.qmp),
            ("console", wiring.console),
            ("control", wiring.control),
            ("bulk", wiring.bulk),
        ];
        for (id, fd) in channels {
            self.add("-chardev", format!("socket,id={id},fd={fd}"));
        }
        self.add("-mon", "chardev=qmp,mode=control");
        self.add("-serial", "chardev:console");
        self.add("-device", "virtio-serial-device,id=ports,max_ports=3");
        for (number, name) in [(1, "control"), (2, "bulk")] {
            self.add(
                "-device",
                format!("virtserialport,bus=ports.0,nr={number},chardev={name},name=pyro.{name}"),
            );
        }
    }

    fn disk(&mut self, index: usize, disk: &WiredDisk) {
        let node = format!("disk{index}");
        match disk.fds {
            DiskFds::ReadOnly(fd) => {
                self.raw(&node, fd, Mode::ReadOnly, Flush::Honored);
            }
            DiskFds::Writable(fd) => {
                self.raw(&node, fd, Mode::ReadWrite, disk.flush);
            }
            DiskFds::Overlay { overlay, backing } => {
                let base = format!("{node}-backing");
                self.raw(&base, backing, Mode::ReadOnly, Flush::Honored);
                let file = self.file(&node, overlay, Mode::ReadWrite, disk.flush);
                self.format("qcow2", &node, file, Mode::ReadWrite, disk.flush, Some(base));
            }
        }
        let serial = disk.serial.as_str();
        self.add("-device", format!("virtio-blk-device,drive={node},serial={serial}"));
    }

    fn raw(&mut self, node: &str, fd: RawFd, mode: Mode, flush: Flush) {
        let file = self.file(node, fd, mode, flush);
        self.format("raw", node, file, mode, flush, None);
    }

    /// A protocol node over a descriptor set that holds the one descriptor; its name is returned.
    fn file(&mut self, node: &str, fd: RawFd, mode: Mode, flush: Flush) -> String {
        let node_name = format!("{node}-file");
        self.add("-add-fd", format!("fd={fd},set={fd}"));
        self.blockdev(&FileNode {
            driver: "file",
            node_name: node_name.clone(),
            filename: format!("/dev/fdset/{fd}"),
            read_only: mode == Mode::ReadOnly,
            aio: "threads",
            discard: discard(mode),
            cache: cache(flush),
        });
        node_name
    }

    fn format(
        &mut self,
        driver: &str,
        node: &str,
        file: String,
        mode: Mode,
        flush: Flush,
        backing: Option<String>,
    ) {
        self.blockdev(&FormatNode {
            driver,
            node_name: node.to_owned(),
            file,
            read_only: mode == Mode::ReadOnly,
            discard: discard(mode),
            cache: cache(flush),
            backing,
        });
    }

    fn blockdev(&mut self, node: &impl Serialize) {
        // A struct of text and flags always serializes.
        self.add("-blockdev", serde_json::to_string(node).unwrap_or_default());
    }
}

/// `acpi` because virtio-mmio devices are found through it, `rtc` because the kernel else waits a second for
/// the clock, timer and interrupt controller of old because no kernel boots under TCG without them.
fn machine_options(accelerator: Accelerator) -> String {
    let legacy = match accelerator {
        Accelerator::Kvm => "",
        Accelerator::Tcg => ",pit=on,pic=on",
    };
    format!("microvm,memory-backend=ram,acpi=on,rtc=on,isa-serial=on,pcie=off,usb=off{legacy}")
}

fn processor(accelerator: Accelerator) -> &'static str {
    match accelerator {
        Accelerator::Kvm => CPU_KVM,
        Accelerator::Tcg => CPU_TCG,
    }
}

fn smp(shape: Shape) -> String {
    let count = shape.vcpu_count();
    format!("cpus={count},maxcpus={count},sockets=1,cores={count},threads=1")
}

fn discard(mode: Mode) -> &'static str {
    match mode {
        Mode::ReadOnly => "ignore",
        Mode::ReadWrite => "unmap",
    }
}

fn cache(flush: Flush) -> Cache {
    Cache { direct: false, no_flush: flush == Flush::Ignored }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wiring(accelerator: Accelerator, ram: Ram, start: Start) -> Wiring {
        let disk =
            |serial: &str, fds| WiredDisk { serial: serial.parse().unwrap(), fds, flush: Flush::Honored };
        Wiring {
            shape: Shape::new(accelerator, 2, 1024).unwrap(),
            ram,
            kernel: 10,
            start,
            disks: vec![
                disk("base", DiskFds::ReadOnly(20)),
                disk("scratch", DiskFds::Overlay { overlay: 21, backing: 22 }),
                disk("work", DiskFds::Writable(23)),
            ],
            qmp: 30,
            console: 31,
            control: 32,
            bulk: 33,
        }
    }

    fn boot() -> Start {
        Start::Boot { initrd: 11, kernel_line: "console=ttyS0 quiet".to_owned() }
    }

    fn every_list() -> Vec<Vec<String>> {
        let rams = [Ram::Anonymous, Ram::Shared(12), Ram::Private(12), Ram::PrivateAnswered(12)];
        [Accelerator::Kvm, Accelerator::Tcg]
            .into_iter()
            .flat_map(|accelerator| rams.map(|ram| (accelerator, ram)))
            .flat_map(|(accelerator, ram)| {
                [boot(), Start::Incoming].map(|start| arguments(&wiring(accelerator, ram, start)))
            })
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
        // Promise: a base image and a blank are never written.
        let list = arguments(&wiring(Accelerator::Tcg, Ram::Anonymous, boot()));
        for fd in [20, 22] {
            let file = list.iter().find(|a| a.contains(&format!("/dev/fdset/{fd}\""))).unwrap();
            assert!(file.contains("\"read-only\":true"), "{file}");
            assert!(file.contains("\"discard\":\"ignore\""), "{file}");
        }
    }

    #[test]
    fn boot_and_fork_make_the_same_machine() {
        // Promise: a fork's device state fits, because only memory, kernel and start differ.
        let strip = |ram, start| {
            let list = arguments(&wiring(Accelerator::Tcg, ram, start));
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
        assert_eq!(strip(Ram::Shared(12), boot()), strip(Ram::Private(12), Start::Incoming));
    }
}
