//! The kernel's command line.

use crate::limits::COMMAND_LINE_BYTES_MAX;
use crate::machine::{Accelerator, Machine, MachineError};

/// `CONFIG_HZ` of Debian's kernels; a wrong value only makes the guest's short delays longer or shorter.
const KERNEL_TICKS_PER_SECOND: u64 = 250;

/// Words every guest gets. `panic=-1` restarts at once, which `-no-reboot` turns into an end of the VM;
/// 8250 probing is limited to the one port there is; the i8042 words avoid waits for hardware that is not
/// there. Huge pages only where a program asks, and pages not zeroed twice: both make a fork write to, and so
/// own, memory of its template for nothing (26 MiB of a VM that has run one command, against 4 without). Grace
/// periods are expedited: with few processors that interrupts hardly anybody, and freezing a file system, which
/// waits for three of them, takes 2 ms instead of 36.
pub(crate) const ALWAYS: &[&str] = &[
    "console=ttyS0",
    "quiet",
    "panic=-1",
    "reboot=t",
    "8250.nr_uarts=1",
    "i8042.noaux",
    "i8042.nokbd",
    "i8042.nopnp",
    "i8042.dumbkbd",
    "random.trust_cpu=on",
    "transparent_hugepage=madvise",
    "init_on_alloc=0",
    "rcupdate.rcu_expedited=1",
];

/// Builds the line. `tsc_khz` is the host's, and is needed under TCG, where the guest's TSC is the host's:
/// calibration against the emulated timer fails at random and hangs the boot.
pub(crate) fn kernel_line(machine: &Machine, tsc_khz: Option<u64>) -> Result<String, MachineError> {
    machine.check()?;
    let mut words: Vec<String> = ALWAYS.iter().map(|&word| word.to_owned()).collect();
    if let (Accelerator::Tcg, Some(khz)) = (machine.shape.accelerator(), tsc_khz) {
        words.extend(["no_timer_check".to_owned(), "tsc=reliable".to_owned()]);
        words.push(format!("tsc_early_khz={khz}"));
        words.push(format!("lpj={}", khz.saturating_mul(1000) / KERNEL_TICKS_PER_SECOND));
    }
    words.extend(machine.kernel_arguments.iter().cloned());
    let line = words.join(" ");
    if line.len() > COMMAND_LINE_BYTES_MAX {
        return Err(MachineError::KernelArgument { argument: line });
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Shape, Transport};

    fn machine(accelerator: Accelerator, argument: &str) -> Machine {
        Machine {
            shape: Shape::new(accelerator, Transport::Serial, 1, 128).unwrap(),
            kernel: "kernel".into(),
            initrd: "initrd".into(),
            kernel_arguments: vec![argument.to_owned()],
            disks: Vec::new(),
        }
    }

    #[test]
    fn only_a_translated_guest_is_told_the_clock() {
        // Promise: under TCG the boot never waits for a calibration that may hang; KVM's clock needs no help.
        let tcg = kernel_line(&machine(Accelerator::Tcg, "x=1"), Some(3_000_000)).unwrap();
        assert!(tcg.ends_with("no_timer_check tsc=reliable tsc_early_khz=3000000 lpj=12000000 x=1"), "{tcg}");
        let kvm = kernel_line(&machine(Accelerator::Kvm, "x=1"), Some(3_000_000)).unwrap();
        assert!(!kvm.contains("tsc"), "{kvm}");
    }

    #[test]
    fn an_argument_is_one_word() {
        // Promise: a caller's text cannot become another kernel argument, nor cut the line short.
        for bad in ["", "a b", "a\nb", "ä", "x".repeat(3000).as_str()] {
            assert!(kernel_line(&machine(Accelerator::Tcg, bad), None).is_err(), "{bad:?}");
        }
    }
}
