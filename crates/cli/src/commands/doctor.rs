//! `pyro doctor`

use pyro::doctor::{Check, DoctorReport};
use pyro::{Config, Failure};

use crate::arguments::Doctor;
use crate::exit::Status;
use crate::untrusted::printable;
use crate::{report, terminal};

pub(crate) async fn run(config: Config, arguments: &Doctor) -> Result<Status, Failure> {
    let examined = pyro::doctor::examine(config, &arguments.environment, arguments.fix).await?;
    let written = if arguments.json { report::json(&examined) } else { terminal::result(&text(&examined)) };
    let written = report::written(written);
    Ok(if written == Status::SUCCESS && !examined.passes() { Status::FAIL } else { written })
}

fn text(report: &DoctorReport) -> String {
    let yes_no = |value: bool| if value { "yes" } else { "no" };
    let kvm = &report.kvm;
    let capabilities = &report.capabilities;
    let mut lines = vec![
        format!("Platform: {}", report.platform),
        format!("Runtime: {}", if report.passes() { "PASS" } else { "FAIL" }),
        format!(
            "KVM: exists={} readable={} writable={} usable={}",
            yes_no(kvm.exists),
            yes_no(kvm.readable),
            yes_no(kvm.writable),
            word(kvm.usable)
        ),
        format!("Environment cache: {}", report.environment_cache.display()),
        format!(
            "Capabilities: vm_boot={} guest_exec={} guest_network={}",
            word(capabilities.vm_boot),
            word(capabilities.guest_exec),
            word(capabilities.guest_network)
        ),
        format!(
            "Networking: tun={} ip_forward={}",
            yes_no(report.networking.tun),
            yes_no(report.networking.ip_forward)
        ),
        format!("Accelerator: {} ({})", report.accelerator.name, report.accelerator.reason),
        format!("Transport: {} ({})", report.transport.name, report.transport.reason),
        match &report.vmm {
            Some(vmm) => format!("VMM: qemu {} ({})", vmm.version, vmm.path.display()),
            None => "VMM: none".to_owned(),
        },
        format!(
            "Disk: {:.1} GiB free in {}",
            report.disk.free_bytes as f64 / f64::from(1 << 30),
            report.disk.path.display()
        ),
    ];
    lines.extend(report.fixed.iter().map(|done| format!("- fixed {done}")));
    lines.extend(report.issues.iter().map(|issue| format!("- issue {} fix: {}", issue.what, issue.fix)));
    printable(lines.join("\n").as_bytes())
}

fn word(check: Check) -> &'static str {
    match check {
        Check::Yes => "yes",
        Check::No => "no",
        Check::Untested => "untested",
    }
}
