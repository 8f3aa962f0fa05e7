//! What this machine can do, tried rather than guessed, and what to do about what it cannot.

use std::fs;
use std::path::{Path, PathBuf};

use pyro_jail::Support;
use pyro_proto::shim::{Accelerator, Transport};
use pyro_vmm::Qemu;
use rustix::fs::{Access, access, statvfs};
use serde::{Deserialize, Serialize};

use crate::ways::{
    KVM_FORBIDDEN, KvmDevice, NO_NESTING, Next, OUTSIDE, Verdict, VsockHost, Way, is_inside_pyro,
    strangers_ports,
};
use crate::{AcceleratorChoice, Config, Failure, LaunchRequest, Pyro, Shape, TransportChoice};

/// Less free space than this is reported: an environment and a template need about that.
const DISK_FREE_BYTES_MIN: u64 = 2 * 1024 * 1024 * 1024;

/// Whether something works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    /// It was tried just now, or with this kernel and this QEMU before.
    Yes,
    /// It does not.
    No,
    /// It could not be tried yet.
    Untested,
}

/// Everything that doctor found.
#[derive(Clone, Debug, Serialize)]
pub struct DoctorReport {
    /// Operating system and processor.
    pub platform: String,
    /// `PASS` or `FAIL`.
    pub runtime: &'static str,
    /// KVM.
    pub kvm: Kvm,
    /// Where environments are.
    pub environment_cache: PathBuf,
    /// What VMs can do.
    pub capabilities: Capabilities,
    /// What the host has for networks.
    pub networking: Networking,
    /// How guests run.
    pub accelerator: AcceleratorReport,
    /// How they are reached.
    pub transport: TransportReport,
    /// QEMU, if there is one that can be used.
    pub vmm: Option<VmmReport>,
    /// Space for environments and VMs.
    pub disk: Disk,
    /// What `--fix` mended.
    pub fixed: Vec<String>,
    /// What is wrong or missing, the worst first.
    pub issues: Vec<Issue>,
}

/// The KVM device and whether it runs a guest.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Kvm {
    /// The device is there.
    pub exists: bool,
    /// It can be read.
    pub readable: bool,
    /// It can be written.
    pub writable: bool,
    /// A guest has really run on it.
    pub usable: Check,
}

/// What VMs can do here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// They boot.
    pub vm_boot: Check,
    /// They run commands.
    pub guest_exec: Check,
    /// They have a network.
    pub guest_network: Check,
}

/// What the host has for networks.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Networking {
    /// The TUN device can be used.
    pub tun: bool,
    /// The host forwards IPv4.
    pub ip_forward: bool,
}

/// How guests run, and why so.
#[derive(Clone, Debug, Serialize)]
pub struct AcceleratorReport {
    /// `kvm`, `tcg` or `unknown`.
    pub name: &'static str,
    /// Why.
    pub reason: String,
}

/// How guests are reached, and why so.
#[derive(Clone, Debug, Serialize)]
pub struct TransportReport {
    /// `vsock`, `serial` or `unknown`.
    pub name: &'static str,
    /// Why.
    pub reason: String,
}

/// The VMM.
#[derive(Clone, Debug, Serialize)]
pub struct VmmReport {
    /// Its version.
    pub version: String,
    /// Its binary.
    pub path: PathBuf,
}

/// A file system.
#[derive(Clone, Debug, Serialize)]
pub struct Disk {
    /// Where.
    pub path: PathBuf,
    /// What this user may still write.
    pub free_bytes: u64,
}

/// Something wrong or missing.
#[derive(Clone, Debug, Serialize)]
pub struct Issue {
    /// What.
    pub what: String,
    /// What to do.
    pub fix: String,
    /// Whether VMs cannot run at all for it.
    pub fatal: bool,
}

impl DoctorReport {
    /// Whether VMs can run here.
    pub fn passes(&self) -> bool {
        self.runtime == "PASS"
    }
}

/// Examines this machine with `environment`, mending first what can be mended where `fix` asks for it.
pub async fn examine(config: Config, environment: &str, fix: bool) -> Result<DoctorReport, Failure> {
    let mut examination = Examination::new(&config);
    examination.nesting();
    match Pyro::open(config) {
        Ok(pyro) => {
            if fix {
                examination.mend(&pyro)?;
            }
            examination.programs(&pyro);
            examination.virtual_machine(&pyro, environment).await?;
        }
        Err(failure) => examination.fatal(&failure),
    }
    examination.confinement();
    Ok(examination.finish())
}

/// A report in the making.
struct Examination {
    report: DoctorReport,
    qemu: Option<Qemu>,
}

impl Examination {
    fn new(config: &Config) -> Examination {
        let device = KvmDevice::look();
        let cache = config.directories.cache.clone();
        let report = DoctorReport {
            platform: pyro_image::PLATFORM.to_owned(),
            runtime: "PASS",
            kvm: Kvm {
                exists: device.exists,
                readable: device.readable,
                writable: device.writable,
                usable: if device.is_permitted() { Check::Untested } else { Check::No },
            },
            environment_cache: pyro_image::Cache::new(&cache).environments_root(),
            capabilities: Capabilities {
                vm_boot: Check::Untested,
                guest_exec: Check::Untested,
                guest_network: Check::No,
            },
            networking: Networking { tun: usable_tun(), ip_forward: forwards_ipv4() },
            accelerator: AcceleratorReport { name: "unknown", reason: "not tried yet".to_owned() },
            transport: TransportReport { name: "unknown", reason: "not tried yet".to_owned() },
            vmm: None,
            disk: Disk { free_bytes: free_bytes(&cache), path: cache },
            fixed: Vec::new(),
            issues: Vec::new(),
        };
        Examination { report, qemu: None }
    }

    /// A guest of pyro's has no KVM, whatever is installed in it.
    fn nesting(&mut self) {
        if !self.report.kvm.exists && is_inside_pyro() {
            self.issue(NO_NESTING.to_owned(), OUTSIDE.to_owned());
        }
    }

    /// Leftovers were removed when the state was opened; verdicts and caches that may be out of date go now.
    fn mend(&mut self, pyro: &Pyro) -> Result<(), Failure> {
        pyro.store.forget_facts("")?;
        self.report
            .fixed
            .push("forgot what was known of KVM, vsock and QEMU: they are tried anew".to_owned());
        match pyro.prune() {
            Ok(freed) => self.report.fixed.push(format!(
                "removed unused environments, kernels and templates: {} MiB",
                freed.freed_bytes >> 20
            )),
            Err(failure) => self.fatal(&failure),
        }
        Ok(())
    }

    fn programs(&mut self, pyro: &Pyro) {
        match pyro.qemu() {
            Ok(qemu) => {
                self.report.vmm =
                    Some(VmmReport { version: qemu.version().to_string(), path: qemu.path().to_owned() });
                self.qemu = Some(qemu);
            }
            Err(failure) => self.fatal(&failure),
        }
        for tool in pyro.tools().missing_for_pull(rustix::process::geteuid().is_root()) {
            let packages = tool.packages();
            self.issue(
                format!("{} is not installed: environments cannot be pulled", tool.program()),
                format!("install the package {}", packages.apt),
            );
        }
        if self.report.disk.free_bytes < DISK_FREE_BYTES_MIN {
            self.issue(
                format!(
                    "only {} MiB are free in {}",
                    self.report.disk.free_bytes >> 20,
                    self.report.disk.path.display()
                ),
                "free some space, or point PYRO_CACHE_DIR and PYRO_STATE_DIR at a larger disk".to_owned(),
            );
        }
    }

    /// Runs a VM of the environment; without one nothing can be tried and the last result counts.
    async fn virtual_machine(&mut self, pyro: &Pyro, environment: &str) -> Result<(), Failure> {
        let Some(qemu) = self.qemu.clone() else { return Ok(()) };
        let key = format!("vm/{}/{}", rustix::system::uname().release().to_string_lossy(), qemu.version());
        if pyro.is_installed(environment)? {
            let outcome = try_exec(pyro, environment).await;
            let works = if outcome.is_ok() { Check::Yes } else { Check::No };
            let capabilities = Capabilities { vm_boot: works, guest_exec: works, guest_network: Check::No };
            self.report.capabilities = capabilities;
            pyro.store.set_fact(&key, &capabilities)?;
            if let Err(failure) = outcome {
                self.fatal(&failure);
            }
        } else {
            if let Some(known) = pyro.store.fact(&key)? {
                self.report.capabilities = known;
            }
            self.issue(
                format!("{environment} is not installed: no VM could be tried"),
                format!("run `pyro env pull {environment}`"),
            );
        }
        self.ways(pyro, &qemu)?;
        self.issue(
            "this release gives guests no network: guest_network=no".to_owned(),
            "run commands that need none".to_owned(),
        );
        Ok(())
    }

    /// How guests run and are reached, and why so.
    fn ways(&mut self, pyro: &Pyro, qemu: &Qemu) -> Result<(), Failure> {
        let kvm = pyro.kvm_verdict(qemu)?;
        if let Some(verdict) = &kvm {
            self.report.kvm.usable = if verdict.usable { Check::Yes } else { Check::No };
        }
        let vsock = VsockHost::look();
        match pyro.next_way(qemu, &vsock) {
            Ok(Next::Known(way)) => {
                self.accelerator(pyro, way.accelerator, kvm.as_ref(), pyro.kvm_failure(qemu)?.as_ref());
                let over_vsock =
                    pyro.verdict(qemu, Way { transport: Transport::Vsock, accelerator: way.accelerator })?;
                self.transport(pyro, way, &vsock, over_vsock.as_ref());
            }
            Ok(Next::Untried(_)) => {
                let reason = || "tried when the first VM starts".to_owned();
                self.report.accelerator.reason = reason();
                self.report.transport.reason = reason();
            }
            Err(failure) => {
                let report = &mut self.report;
                for reason in [&mut report.accelerator.reason, &mut report.transport.reason] {
                    reason.clone_from(&failure.message);
                }
                self.fatal(&failure);
            }
        }
        Ok(())
    }

    fn accelerator(
        &mut self,
        pyro: &Pyro,
        accelerator: Accelerator,
        verdict: Option<&Verdict>,
        failed: Option<&(Transport, Verdict)>,
    ) {
        let has_run = verdict.is_some_and(|verdict| verdict.usable)
            || (verdict.is_none() && self.report.capabilities.vm_boot == Check::Yes);
        let reason = match accelerator {
            Accelerator::Kvm if has_run => {
                self.report.kvm.usable = Check::Yes;
                "a guest has run on it".to_owned()
            }
            // With no other way open to it, it is used whatever came of a trial.
            Accelerator::Kvm => "asked for".to_owned(),
            Accelerator::Tcg => self.why_emulated(pyro.config.accelerator, failed),
        };
        self.report.accelerator = AcceleratorReport { name: accelerator.as_str(), reason };
        if accelerator == Accelerator::Tcg {
            self.issue(
                "guests are emulated (TCG): the confinement of QEMU is the only boundary around them, and they compute several times slower than under KVM".to_owned(),
                self.kvm_remedy(pyro.config.accelerator, verdict),
            );
        }
    }

    fn why_emulated(&self, choice: AcceleratorChoice, failed: Option<&(Transport, Verdict)>) -> String {
        let kvm = self.report.kvm;
        match (choice, failed) {
            (AcceleratorChoice::Tcg, _) => "asked for".to_owned(),
            _ if !kvm.exists && is_inside_pyro() => NO_NESTING.to_owned(),
            _ if !kvm.exists => "there is no /dev/kvm".to_owned(),
            _ if !(kvm.readable && kvm.writable) => {
                "/dev/kvm is not readable and writable for this user".to_owned()
            }
            (_, Some((transport, verdict))) if kvm.usable == Check::Yes => {
                format!(
                    "KVM did not run a guest that is reached over {}: {}",
                    transport.as_str(),
                    verdict.reason
                )
            }
            (_, Some((_, verdict))) => format!("KVM does not run a guest here: {}", verdict.reason),
            _ => "KVM was not tried".to_owned(),
        }
    }

    fn kvm_remedy(&self, choice: AcceleratorChoice, verdict: Option<&Verdict>) -> String {
        let kvm = self.report.kvm;
        if !kvm.exists && is_inside_pyro() {
            OUTSIDE.to_owned()
        } else if !kvm.exists {
            "use a machine with KVM for more speed and a hardware boundary".to_owned()
        } else if !(kvm.readable && kvm.writable) {
            KVM_FORBIDDEN.to_owned()
        } else if choice == AcceleratorChoice::Tcg && verdict.is_none_or(|verdict| verdict.usable) {
            "leave out --accelerator tcg".to_owned()
        } else if kvm.usable == Check::Yes {
            "`pyro doctor --fix` tries KVM anew".to_owned()
        } else {
            "enable (nested) virtualization for this machine, then `pyro doctor --fix` tries KVM anew"
                .to_owned()
        }
    }

    fn transport(&mut self, pyro: &Pyro, way: Way, vsock: &VsockHost, over_vsock: Option<&Verdict>) {
        let was_reached = over_vsock.is_some_and(|verdict| verdict.usable)
            || (over_vsock.is_none() && self.report.capabilities.vm_boot == Check::Yes);
        let reason = match (way.transport, pyro.config.transport, way.accelerator) {
            (Transport::Vsock, _, _) if was_reached => "a guest was reached over it".to_owned(),
            (Transport::Vsock, _, _) | (_, TransportChoice::Serial, _) => "asked for".to_owned(),
            (Transport::Serial, _, Accelerator::Tcg) => {
                "emulated guests get no device of the host's kernel".to_owned()
            }
            (Transport::Serial, _, Accelerator::Kvm) => {
                let reason = match (vsock, over_vsock) {
                    (VsockHost::Ready, Some(verdict)) => {
                        format!("no guest was reached over vsock: {}", verdict.reason)
                    }
                    (vsock, _) => vsock.reason(),
                };
                self.issue(
                    format!("guests are reached over serial ports, not over vsock: {reason}"),
                    vsock.remedy().to_owned(),
                );
                reason
            }
        };
        self.report.transport = TransportReport { name: way.transport.as_str(), reason };
        if way.transport == Transport::Vsock {
            self.vsock_listeners();
        }
    }

    /// The kernel has no rule of which listener a guest may come to.
    fn vsock_listeners(&mut self) {
        let ports = match strangers_ports() {
            Ok(ports) if ports.is_empty() => return,
            Ok(ports) => ports.iter().map(u32::to_string).collect::<Vec<_>>().join(", "),
            Err(error) => {
                let told = "the kernel does not tell which programs of this host listen on vsock, where guests can reach them";
                return self.issue(
                    format!("{told}: {error}"),
                    "load its module (`sudo modprobe vsock_diag`), or set PYRO_TRANSPORT=serial, which gives guests no vsock".to_owned(),
                );
            }
        };
        self.issue(
            format!("programs of this host listen on vsock, and guests can reach them: port {ports}"),
            "end them, or set PYRO_TRANSPORT=serial, which gives guests no vsock (`ss --vsock --listening --processes` tells who they are)".to_owned(),
        );
    }

    fn confinement(&mut self) {
        for missing in Support::probe().missing() {
            self.issue(
                format!("QEMU runs without {}: {}", missing.layer.name(), missing.reason),
                missing.remedy.to_owned(),
            );
        }
        if !rustix::process::geteuid().is_root() {
            return;
        }
        if crate::identity::run_as_anybody().is_none() {
            self.issue(
                "QEMU runs as root: this user namespace has no other user".to_owned(),
                "map more users into the container, or run pyro as an ordinary user".to_owned(),
            );
        }
    }

    fn fatal(&mut self, failure: &Failure) {
        let what = match &failure.cause {
            Some(cause) => format!("{}: {cause}", failure.message),
            None => failure.message.clone(),
        };
        let fix = failure.remediation.clone().unwrap_or_else(|| "run the command again".to_owned());
        self.report.issues.push(Issue { what, fix, fatal: true });
    }

    fn issue(&mut self, what: String, fix: String) {
        self.report.issues.push(Issue { what, fix, fatal: false });
    }

    fn finish(mut self) -> DoctorReport {
        self.report.issues.sort_by_key(|issue| !issue.fatal);
        if self.report.issues.iter().any(|issue| issue.fatal) {
            self.report.runtime = "FAIL";
        }
        self.report
    }
}

async fn try_exec(pyro: &Pyro, environment: &str) -> Result<(), Failure> {
    let request =
        LaunchRequest { environment: environment.to_owned(), shape: Shape::DEFAULT, ttl_seconds: Some(120) };
    // A parked VM would prove that one could be started some minutes ago.
    let mut vm = pyro.with_pool(0)?.launch(request, |_| {}).await?;
    let ran = crate::bench::exec_true(&mut vm).await.map(|_| ());
    let stopped = vm.stop().await;
    ran.and(stopped)
}

fn usable_tun() -> bool {
    access("/dev/net/tun", Access::READ_OK | Access::WRITE_OK).is_ok()
}

fn forwards_ipv4() -> bool {
    fs::read_to_string("/proc/sys/net/ipv4/ip_forward").is_ok_and(|value| value.trim() == "1")
}

/// Space of the nearest directory that exists.
fn free_bytes(path: &Path) -> u64 {
    let existing = path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"));
    statvfs(existing).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize)).unwrap_or(0)
}
