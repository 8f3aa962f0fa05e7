//! Sizes of a VM, parsed against what this host has.

use pyro_vmm::limits::{MEMORY_MIB, VCPU_COUNT};

use crate::limits::SECONDS_MAX;
use crate::{Code, Failure};

/// How big a VM is and how long it may live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub(crate) vcpu_count: u8,
    pub(crate) memory_mib: u32,
}

impl Shape {
    /// One processor and 1 GiB: what `run` and `workspace create` use by default.
    pub const DEFAULT: Shape = Shape { vcpu_count: 1, memory_mib: 1024 };

    /// Reads sizes as a person gave them.
    pub fn parse(vcpu_count: u64, memory_mib: u64) -> Result<Shape, Failure> {
        let vcpus = u8::try_from(vcpu_count).ok().filter(|count| VCPU_COUNT.contains(count));
        let vcpu_count = vcpus.ok_or_else(|| {
            Failure::new(Code::InvalidArgument, format!("--vcpu-count {vcpu_count} is out of range"))
                .fix(format!("choose {} to {}", VCPU_COUNT.start(), VCPU_COUNT.end()))
        })?;
        let (least, most) = (*MEMORY_MIB.start(), host_memory_mib().min(*MEMORY_MIB.end()));
        let memory = u32::try_from(memory_mib).ok().filter(|mib| (least..=most).contains(mib));
        let memory_mib = memory.ok_or_else(|| {
            Failure::new(Code::InvalidArgument, format!("--mem-mib {memory_mib} is out of range"))
                .fix(format!("choose {least} to {most}, which is what this host can give"))
        })?;
        Ok(Shape { vcpu_count, memory_mib })
    }

    /// Virtual processors.
    pub fn vcpu_count(&self) -> u8 {
        self.vcpu_count
    }

    /// Memory in MiB.
    pub fn memory_mib(&self) -> u32 {
        self.memory_mib
    }
}

/// Reads a number of seconds that a flag gave.
pub fn parse_seconds(flag: &str, seconds: u64) -> Result<u64, Failure> {
    if (1..=SECONDS_MAX).contains(&seconds) {
        return Ok(seconds);
    }
    Err(Failure::new(Code::InvalidArgument, format!("{flag} {seconds} is out of range"))
        .fix(format!("choose 1 to {SECONDS_MAX} seconds")))
}

fn host_memory_mib() -> u32 {
    let info = rustix::system::sysinfo();
    let bytes = (info.totalram as u64).saturating_mul(u64::from(info.mem_unit));
    u32::try_from(bytes / (1024 * 1024)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Zero and absurd sizes are refused with the range that is not.
    #[test]
    fn absurd_sizes_are_refused() {
        assert!(Shape::parse(1, 1024).is_ok());
        for (vcpus, memory) in [(0, 1024), (33, 1024), (u64::MAX, 1024), (1, 0), (1, 127), (1, u64::MAX)] {
            let failure = Shape::parse(vcpus, memory).unwrap_err();
            assert_eq!(failure.code, Code::InvalidArgument);
            assert!(failure.remediation.unwrap().contains("choose"));
        }
        assert!(parse_seconds("--ttl-seconds", 600).is_ok());
        assert!(parse_seconds("--ttl-seconds", 0).is_err());
        assert!(parse_seconds("--ttl-seconds", SECONDS_MAX + 1).is_err());
    }
}
