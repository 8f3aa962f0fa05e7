//! Whole pulls on a stand without a network: what they install, how they fail, what they leave.

mod stand;

use std::fs;
use std::time::{Duration, Instant};

use super::*;
use crate::archive::ArchiveError;
use crate::child::ToolError;
use crate::digest::Digest;
use crate::installed::InstalledError;
use crate::kernel::KernelError;
use crate::kernel::stand::vmlinux_of;
use crate::progress::Silent;
use crate::root_image::RootImageError;
use crate::rootfs::RootfsError;
use crate::tools::Tool;
use crate::{Agent, RemoveError, ensure_guest, prune, remove};
use stand::{Stand, Writer, names};

fn name() -> EnvironmentName {
    EnvironmentName::parse("debian:12").unwrap()
}

/// Keeps: a pull installs everything its manifest says, read-only, and leaves nothing else.
#[test]
fn a_pull_installs_an_environment() {
    let stand = Stand::new();
    let pulled = stand.pull("debian:12").unwrap();
    assert!(pulled.fresh);
    let (environment, manifest) = (&pulled.environment, pulled.environment.manifest());
    assert_eq!(stand.environments(), ["debian_12-1.0.0"]);
    assert_eq!(names(environment.directory()), [".lock", "environment.json", "rootfs.ext4", "vmlinux"]);
    assert_eq!(fs::read(environment.vmlinux()).unwrap(), vmlinux_of("6.1.192-2"));
    assert_eq!(manifest.vmlinux.digest, Digest::of(&vmlinux_of("6.1.192-2")));
    assert_eq!(manifest.rootfs.digest, Digest::of(&fs::read(environment.rootfs()).unwrap()));
    assert_eq!(manifest.rootfs_tar.digest, Digest::of(&fs::read(stand.path("rootfs.tar")).unwrap()));
    assert_eq!(manifest.source.archive, "http://archive.example/debian");
    assert_eq!(manifest.source.date, "Sat, 11 Jul 2026 10:16:37 UTC");
    assert_eq!(manifest.packages.len(), 11);
    assert!(fs::metadata(environment.rootfs()).unwrap().permissions().readonly());
    let phases = stand.log.0.lock().unwrap().clone();
    let expected = [Phase::Packages, Phase::Kernel, Phase::Image, Phase::Verify, Phase::Ready];
    assert_eq!(phases, expected);
}

/// Keeps: a repeated pull needs neither network nor tools.
#[test]
fn a_repeated_pull_is_instant() {
    let mut stand = Stand::new();
    stand.pull("debian:12").unwrap();
    stand.tools = Tools::default();
    let again = stand.pull("debian:12").unwrap();
    assert!(!again.fresh);
    assert_eq!(stand.runs(), 1);
}

/// Keeps: the kernel's modules are installed in load order, decompressed, and all of them are in the tar.
#[test]
fn the_kernel_is_installed_once() {
    let stand = Stand::new();
    let environment = stand.pull("debian:12").unwrap().environment;
    let kernel = environment.kernel(&stand.cache).unwrap();
    let modules: Vec<_> = kernel.manifest().modules.iter().map(|module| module.name.as_str()).collect();
    assert_eq!(modules, ["virtio", "virtio_mmio", "virtio_blk", "virtio_console", "overlay"]);
    assert_eq!(kernel.manifest().release, "6.1.192-2");
    let tar = fs::read(kernel.modules_tar()).unwrap();
    let mut archive = tar::Archive::new(tar.as_slice());
    let paths = archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string());
    let paths: Vec<_> = paths.collect();
    assert!(paths.contains(&"lib/modules/6.1.192-2/kernel/virtio.ko".to_owned()), "{paths:?}");
    assert_eq!(paths.len(), 7);
    // The package is gone from the archive tool's reach: the second environment must not need it.
    fs::remove_file(stand.path("kernel.deb")).unwrap();
    let other = stand.pull("debian:12-base").unwrap().environment;
    assert_eq!(other.manifest().kernel, environment.manifest().kernel);
    assert_eq!(names(&stand.cache.kernels_dir()).len(), 2, "the lock and one kernel");
}

/// Keeps: no failure of a step leaves anything that could be taken for an environment, and each has its own error.
#[test]
fn failures_leave_nothing() {
    type Expected = fn(&PullError) -> bool;
    let fetch = "E: Failed to fetch http://archive.example/git.deb ";
    let apt_says = |line: &str| format!("echo '{fetch} {line}' >&2; echo half >\"$tar\"; exit 100");
    let cases: [(String, Expected); 8] = [
        (
            apt_says("Hash Sum mismatch"),
            |error| matches!(error, PullError::Archive(ArchiveError::Checksum { line }) if line.contains("git.deb")),
        ),
        (apt_says("File has unexpected size (1 != 2)."), |error| {
            matches!(error, PullError::Archive(ArchiveError::Truncated { .. }))
        }),
        (apt_says("Could not resolve 'archive.example'"), |error| {
            matches!(error, PullError::Archive(ArchiveError::Network { .. }))
        }),
        (apt_says("Write error - write (28: No space left on device)"), |error| {
            matches!(error, PullError::Disk(DiskError::Full { .. }))
        }),
        (
            "echo oops >&2; exit 3".to_owned(),
            |error| matches!(error, PullError::Tool(ToolError::Failed { output, .. }) if output.tail == ["oops"]),
        ),
        ("head -c 5000 \"$from/rootfs.tar\" >\"$tar\"; exec true".to_owned(), |error| {
            matches!(error, PullError::Archive(ArchiveError::Record { .. }))
        }),
        ("truncate -s 4096 \"$from/rootfs.tar\"".to_owned(), |error| {
            matches!(error, PullError::Rootfs(RootfsError::Truncated { bytes: 4096 }))
        }),
        ("echo garbage >>\"$from/kernel.deb\"".to_owned(), |error| {
            matches!(error, PullError::Kernel(KernelError::Digest { .. }))
        }),
    ];
    for (script, expected) in cases {
        let stand = Stand::new();
        stand.archive_does(&script);
        let error = stand.pull("debian:12").unwrap_err();
        assert!(expected(&error), "{script}: {error:?}");
        assert_eq!(stand.environments(), [""; 0], "{script}");
        assert!(matches!(
            InstalledEnvironment::open(&stand.cache, name()),
            Err(InstalledError::NotInstalled { .. })
        ));
    }
}

/// Keeps: a writer that fails, or writes less than there is, makes the pull fail.
#[test]
fn a_bad_writer_is_noticed() {
    let stand = Stand::new();
    let error = stand.pull_with("debian:12", &mut Writer(Err("no VM"))).unwrap_err();
    assert!(
        matches!(&error, PullError::RootImage(RootImageError::Writer(source)) if source.to_string() == "no VM")
    );
    let error = stand.pull_with("debian:12", &mut Writer(Ok(-1))).unwrap_err();
    assert!(matches!(error, PullError::RootImage(RootImageError::Entries { written: 1, expected: 2 })));
    assert_eq!(stand.environments(), [""; 0]);
}

/// Keeps: a missing tool is one error that names it, and nothing is left.
#[test]
fn a_missing_tool_is_named() {
    let mut stand = Stand::new();
    stand.tools = stand.tools.clone().without(Tool::Mmdebstrap);
    let error = stand.pull("debian:12").unwrap_err();
    assert!(
        matches!(&error, PullError::Tool(ToolError::Missing(missing)) if missing.tool == Tool::Mmdebstrap)
    );
    assert!(error.remedy().unwrap().contains("apt install mmdebstrap"));
    assert_eq!(stand.environments(), [""; 0]);
}

/// Keeps: cancellation in the middle ends soon, and neither a process nor a file is left. Here the tool runs as in a real
/// pull, in namespaces where this user may have them.
#[test]
fn cancellation_leaves_nothing() {
    let mut stand = Stand::new();
    stand.archive_does("echo $$ >\"$from/pid\"; (sleep 1000; :) & setsid sleep 1000 & wait");
    if rustix::process::geteuid().is_root() {
        stand.tools = Tools::find([]).with(Tool::Mmdebstrap, stand.path("mmdebstrap"));
    }
    let cancel = stand.cancel.clone();
    let (began, mut canceled) = (Instant::now(), Instant::now());
    std::thread::scope(|scope| {
        let pull = scope.spawn(|| stand.pull("debian:12"));
        while fs::read_to_string(stand.path("pid")).unwrap_or_default().is_empty() {
            assert!(began.elapsed() < Duration::from_secs(60) && !pull.is_finished());
            std::thread::sleep(Duration::from_millis(5));
        }
        canceled = Instant::now();
        cancel.cancel();
        assert!(matches!(pull.join().unwrap(), Err(PullError::Canceled(_))));
    });
    assert!(canceled.elapsed() < Duration::from_secs(10));
    assert_eq!(stand.environments(), [""; 0]);
    let mark = stand.path("cache").display().to_string();
    for process in names(std::path::Path::new("/proc")) {
        let environment = fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
        let ours = String::from_utf8_lossy(&environment).contains(&mark);
        assert!(!ours, "process {process} lives on");
    }
}

/// Keeps: of two pulls at once one installs, the other says that it waits and finds it installed.
#[test]
fn the_second_pull_waits() {
    let stand = Stand::new();
    stand.archive_does("while [ ! -e \"$from/go\" ]; do sleep 0.01; done");
    let fresh: Vec<_> = std::thread::scope(|scope| {
        let pulls: Vec<_> = (0..2).map(|_| scope.spawn(|| stand.pull("debian:12").unwrap().fresh)).collect();
        let began = Instant::now();
        while !stand.log.0.lock().unwrap().contains(&Phase::Wait) {
            assert!(began.elapsed() < Duration::from_secs(60));
            std::thread::sleep(Duration::from_millis(5));
        }
        stand.fixture("go", b"");
        pulls.into_iter().map(|pull| pull.join().unwrap()).collect()
    });
    assert_eq!(fresh.iter().filter(|fresh| **fresh).count(), 1);
    assert_eq!(stand.runs(), 1);
}

/// Keeps: a wait for another pull can be canceled.
#[test]
fn a_wait_can_be_canceled() {
    let stand = Stand::new();
    stand.cache.create().unwrap();
    let lock_file = stand.cache.environment_lock_file(&name().directory_name());
    let _other = Lock::attempt(&lock_file, Mode::Exclusive).unwrap().unwrap();
    stand.cancel.cancel();
    assert!(matches!(stand.pull("debian:12"), Err(PullError::Canceled(_))));
}

/// Keeps: what a crashed pull left is gone after the next one.
#[test]
fn leftovers_are_removed() {
    let stand = Stand::new();
    let left = stand.cache.environments_dir().join(".partial-debian_12-1.0.0-Abc123");
    fs::create_dir_all(left.join("tmp/mmdebstrap.x")).unwrap();
    fs::write(left.join("environment.json"), "{}").unwrap();
    stand.pull("debian:12").unwrap();
    assert_eq!(stand.environments(), ["debian_12-1.0.0"]);
}

/// Keeps: an environment whose manifest or files are not as installed is damaged, never whole, and a pull repairs it.
#[test]
fn damage_is_noticed_and_repaired() {
    type Damage = fn(&InstalledEnvironment);
    let damages: [Damage; 6] = [
        |environment| fs::remove_file(environment.manifest_path()).unwrap(),
        |environment| replace(&environment.manifest_path(), b"{\"manifest_version\": 1"),
        |environment| edit(environment, "\"manifest_version\": 1", "\"manifest_version\": 1, \"unknown\": 2"),
        |environment| edit(environment, "\"manifest_version\": 1", "\"manifest_version\": 99"),
        |environment| edit(environment, "\"debian:12\"", "\"debian:12-base\""),
        |environment| replace(&environment.rootfs(), b"short"),
    ];
    for (index, damage) in damages.into_iter().enumerate() {
        let stand = Stand::new();
        damage(&stand.pull("debian:12").unwrap().environment);
        let opened = InstalledEnvironment::open(&stand.cache, name());
        assert!(matches!(opened, Err(InstalledError::Damaged { .. })), "{index}: {opened:?}");
        assert!(stand.pull("debian:12").unwrap().fresh, "{index}");
        InstalledEnvironment::open(&stand.cache, name()).unwrap();
        assert_eq!(stand.environments(), ["debian_12-1.0.0"], "{index}");
    }
}

/// Keeps: an environment whose kernel is gone or short is repaired by a pull as well.
#[test]
fn a_damaged_kernel_is_repaired() {
    let stand = Stand::new();
    let environment = stand.pull("debian:12").unwrap().environment;
    replace(&environment.kernel(&stand.cache).unwrap().modules_tar(), b"short");
    assert!(matches!(environment.kernel(&stand.cache), Err(InstalledError::Kernel { .. })));
    assert!(stand.pull("debian:12").unwrap().fresh);
    environment.kernel(&stand.cache).unwrap();
}

/// Keeps: what a VM uses is neither removed nor replaced, and is free again when the VM is gone.
#[test]
fn a_held_environment_stays() {
    let stand = Stand::new();
    let environment = stand.pull("debian:12").unwrap().environment;
    let hold = environment.hold().unwrap();
    assert!(matches!(remove(&stand.cache, name(), &stand.tools), Err(RemoveError::InUse { .. })));
    replace(&environment.rootfs(), b"short");
    assert!(matches!(stand.pull("debian:12"), Err(PullError::InUse { .. })));
    assert_eq!(stand.runs(), 1, "refused before anything is downloaded");
    drop(hold);
    assert!(remove(&stand.cache, name(), &stand.tools).unwrap() > 0);
    assert!(matches!(environment.hold(), Err(InstalledError::NotInstalled { .. })));
    assert!(matches!(remove(&stand.cache, name(), &stand.tools), Err(RemoveError::NotInstalled { .. })));
    assert_eq!(stand.environments(), [""; 0]);
}

/// Keeps: pruning removes what nothing refers to and nothing else.
#[test]
fn pruning_keeps_what_is_needed() {
    let stand = Stand::new();
    let (cache, tools) = (&stand.cache, &stand.tools);
    let environment = stand.pull("debian:12").unwrap().environment;
    stand.offer_kernel("6.1.200-1");
    stand.pull("debian:12-base").unwrap();
    remove(cache, EnvironmentName::parse("debian:12-base").unwrap(), tools).unwrap();
    let agents =
        [b"agent one".as_slice(), b"agent two"].map(|bytes| Agent { bytes, digest: Digest::of(bytes) });
    let kernel = environment.kernel(cache).unwrap();
    let kits = agents.map(|agent| ensure_guest(cache, &kernel, agent).unwrap());
    for left in ["debian_11-1.0.0", ".partial-debian_12-1.0.0-Abc123"] {
        let path = cache.environments_dir().join(left);
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("file"), vec![1; 10_000]).unwrap();
    }
    let pruned = prune(cache, Some(agents[0].digest), tools, &Cancel::new()).unwrap();
    assert_eq!(pruned.removed.len(), 4, "{pruned:?}");
    assert!(pruned.bytes_freed > 20_000);
    assert_eq!(stand.environments(), ["debian_12-1.0.0"]);
    assert_eq!(cache.entries(&cache.kernels_dir()), [kernel.key()]);
    assert!(kits[0].initrd.exists() && !kits[1].initrd.exists());
    let again = prune(cache, Some(agents[0].digest), tools, &Cancel::new()).unwrap();
    assert_eq!((again.removed.len(), again.bytes_freed), (0, 0));
}

/// Keeps: the guest kit is made once per kernel and agent, always with the same bytes, and made again when it is damaged.
#[test]
fn the_guest_kit_is_made_once() {
    let stand = Stand::new();
    let environment = stand.pull("debian:12").unwrap().environment;
    let kernel = environment.kernel(&stand.cache).unwrap();
    let agent = Agent { bytes: b"the agent", digest: Digest::of(b"the agent") };
    let kit = ensure_guest(&stand.cache, &kernel, agent).unwrap();
    let bytes = fs::read(&kit.initrd).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    let order = "00-virtio.ko\n01-virtio_mmio.ko\n02-virtio_blk.ko\n03-virtio_console.ko\n04-overlay.ko\n";
    assert!(text.contains(order), "load order");
    assert!(text.contains("the agent") && text.contains("dev/console"));
    let written = fs::metadata(&kit.initrd).unwrap().modified().unwrap();
    assert_eq!(ensure_guest(&stand.cache, &kernel, agent).unwrap(), kit);
    assert_eq!(fs::metadata(&kit.initrd).unwrap().modified().unwrap(), written);
    replace(&kit.initrd, b"short");
    assert_eq!(ensure_guest(&stand.cache, &kernel, agent).unwrap(), kit);
    assert_eq!(fs::read(&kit.initrd).unwrap(), bytes);
    let other = ensure_guest(&stand.cache, &kernel, Agent { bytes: b"b", digest: Digest::of(b"b") }).unwrap();
    assert_ne!(other.digest, kit.digest);
}

/// Keeps: progress and cancellation are the caller's choice; a silent pull works too.
#[test]
fn a_silent_pull_works() {
    let stand = Stand::new();
    let request = PullRequest {
        name: name(),
        cache: &stand.cache,
        tools: &stand.tools,
        mirror: Some("http://mirror.example/debian"),
        progress: &Silent,
        cancel: &Cancel::new(),
    };
    stand.archive_does("eval \"last=\\${$#}\"; [ \"$last\" = http://mirror.example/debian ]");
    assert!(pull(&request, &mut Writer(Ok(0))).unwrap().fresh);
}

fn replace(path: &Path, content: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, content).unwrap();
}

fn edit(environment: &InstalledEnvironment, from: &str, to: &str) {
    let path = environment.manifest_path();
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from));
    replace(&path, text.replace(from, to).as_bytes());
}
