//! QEMU's argument list: a pure function of the machine and of descriptor numbers.
//!
//! No argument names a file of the host except through a descriptor, none opens a network, a listening socket
//! or a display. The audit keeps it so for whole classes of arguments.

#[cfg(test)]
mod audit;
mod disk;
pub(crate) mod nodes;
mod wiring;

use std::os::fd::RawFd;

pub(crate) use wiring::{DiskFds, Ram, Start, WiredChannels, WiredDisk, Wiring};

use crate::limits::TRANSLATION_CACHE_MIB;
use crate::machine::{Accelerator, Shape, Transport};

/// The processor under each accelerator: everything there is, except nested virtualization, which has been
/// a way out of KVM more than once.
const CPU_KVM: &str = "host,vmx=off,svm=off";

/// The same under emulation, without `erms` and `fsrm`: QEMU emulates `rep movsb` byte by byte, and a guest that is told they are fast
/// copies with them. Measured on QEMU 7.2: pipes in the guest 2 to 5 times faster, starting `true` a quarter.
const CPU_TCG: &str = "max,erms=off,fsrm=off,vmx=off,svm=off";

/// The device of guests that are reached over vsock.
const VSOCK_DEVICE: &str = "vhost-vsock-device";

/// The device of guests that are reached over virtio-serial, and its ports.
const SERIAL_DEVICE: &str = "virtio-serial-device,id=ports,max_ports=3";

/// What no guest device may lead to: old system calls, more privileges, new processes, other scheduling.
const SANDBOX: &str = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";

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
    let channels = match shape.transport() {
        Transport::Vsock => VSOCK_DEVICE,
        Transport::Serial => SERIAL_DEVICE,
    };
    vec![
        machine_options(shape.accelerator()),
        processor(shape.accelerator()).to_owned(),
        smp(shape),
        channels.to_owned(),
    ]
}

#[derive(Default)]
struct Arguments(Vec<String>);

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
        // Saved device states have no such section: one without memory is written by a command that makes none.
        self.add("-global", "migration.send-configuration=off");
    }

    fn memory(&mut self, wiring: &Wiring) {
        let mib = wiring.shape.memory_mib();
        let backend = match wiring.ram {
            Ram::Anonymous => "memory-backend-ram,id=ram,share=off".to_owned(),
            Ram::Shared(fd) => format!("memory-backend-file,id=ram,mem-path={},share=on", fd_path(fd)),
            Ram::PrivateWritable(fd) => {
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
        self.socket("qmp", wiring.qmp);
        self.add("-mon", "chardev=qmp,mode=control");
        self.socket("console", wiring.console);
        self.add("-serial", "chardev:console");
        match wiring.channels {
            WiredChannels::Vsock { device, cid } => {
                self.add("-device", format!("{VSOCK_DEVICE},guest-cid={cid},vhostfd={device}"));
            }
            WiredChannels::Serial { control, bulk } => {
                self.add("-device", SERIAL_DEVICE);
                for (number, name, fd) in [(1, "control", control), (2, "bulk", bulk)] {
                    self.socket(name, fd);
                    self.add(
                        "-device",
                        format!("virtserialport,bus=ports.0,nr={number},chardev={name},name=pyro.{name}"),
                    );
                }
            }
        }
    }

    fn socket(&mut self, id: &str, fd: RawFd) {
        self.add("-chardev", format!("socket,id={id},fd={fd}"));
    }
}

/// `acpi` because virtio-mmio devices are found through it, `rtc` because the kernel else waits a second for
/// the clock, timer and interrupt controller of old because no kernel boots under TCG without them. A saved
/// device state ends without a description of itself, which QEMU would else miss.
fn machine_options(accelerator: Accelerator) -> String {
    let legacy = match accelerator {
        Accelerator::Kvm => "",
        Accelerator::Tcg => ",pit=on,pic=on",
    };
    format!(
        "microvm,memory-backend=ram,acpi=on,rtc=on,isa-serial=on,pcie=off,usb=off,suppress-vmdesc=on{legacy}"
    )
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
