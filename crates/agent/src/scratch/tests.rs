//! Freezing a real ext4 on a loop device, in a mount namespace of the test's own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use pyro_proto::Kind;
use pyro_proto::agent::{Input, Outcome, Reply, Request, Restart, Service};

use super::*;
use crate::tests::host::{Host, exec, plain, with_host_on};
use crate::tests::namespace::{in_namespace, mount_ext4};

/// A filesystem that is thawed whatever becomes of the test: a frozen one would outlive it.
struct Disk {
    scratch: Arc<Scratch>,
    at: PathBuf,
    _directory: tempfile::TempDir,
}

impl Disk {
    fn new() -> Option<Disk> {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().join("scratch");
        std::fs::create_dir(&at).unwrap();
        if !mount_ext4(&directory.path().join("image"), &at) {
            warn("NOT CHECKED: no ext4 can be mounted on this machine");
            return None;
        }
        let root = rustix::fs::open(&at, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        Some(Disk { scratch: Arc::new(Scratch::new(root)), at, _directory: directory })
    }

    fn writer(&self, name: &str) -> Child {
        let script = format!("echo x > {}", Path::new(&self.at).join(name).display());
        Command::new("sh").args(["-c", &script]).spawn().unwrap()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = thaw(self.scratch.as_fd());
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// A frozen disk holds what was written, is told of with what that cost, and changes only once it is thawed.
#[test]
fn a_frozen_disk_stands_still() {
    if !in_namespace("scratch::tests::a_frozen_disk_stands_still") {
        return;
    }
    let Some(disk) = Disk::new() else { return };
    block_on(async {
        std::fs::write(disk.at.join("large"), vec![7; 3_000_000]).unwrap();
        let written = disk.scratch.freeze().await.unwrap();
        assert!(written.bytes >= 3_000_000 && written.bytes < 30_000_000, "{written:?}");
        assert!(written.duration_us > 0);
        // Ten inodes are ext4's own, besides `lost+found`, the root among them.
        assert_eq!(written.entries, 12);
        assert!(!disk.scratch.is_thawed());
        assert_eq!(disk.scratch.freeze().await.unwrap_err().kind, FailureKind::Refused);
        let mut writer = disk.writer("late");
        std::thread::sleep(Duration::from_millis(150));
        assert_eq!(writer.try_wait().unwrap(), None, "a frozen disk was changed");
        disk.scratch.thaw().unwrap();
        assert!(writer.wait().unwrap().success());
        disk.scratch.thawed().await;
        assert_eq!(disk.scratch.thaw().unwrap_err().kind, FailureKind::Refused);
        let synced = disk.scratch.sync().await.unwrap();
        assert_eq!(synced.entries, 13);
        assert!(synced.bytes > 0 && synced.bytes < 3_000_000, "{synced:?}");
    });
}

/// A disk that nobody is left to thaw is thawed, also when its freezing had only begun.
#[test]
fn a_forsaken_disk_is_thawed() {
    if !in_namespace("scratch::tests::a_forsaken_disk_is_thawed") {
        return;
    }
    let Some(disk) = Disk::new() else { return };
    block_on(async {
        disk.scratch.forsake();
        disk.scratch.freeze().await.unwrap();
        disk.scratch.forsake();
        assert!(disk.writer("a").wait().unwrap().success());
        for pause in [0, 1, 5, 20] {
            std::fs::write(disk.at.join("large"), vec![pause as u8; 3_000_000]).unwrap();
            let freezing = tokio::time::timeout(Duration::from_millis(pause), disk.scratch.freeze()).await;
            disk.scratch.forsake();
            disk.scratch.thawed().await;
            assert!(disk.writer("b").wait().unwrap().success(), "{freezing:?}");
        }
    });
}

/// A command that is asked for while the disk is frozen starts once it is thawed, and the agent hears its host all
/// the while; a new host finds the disk thawed.
#[test]
fn commands_wait_for_a_frozen_disk() {
    if !in_namespace("scratch::tests::commands_wait_for_a_frozen_disk") {
        return;
    }
    let Some(disk) = Disk::new() else { return };
    with_host_on(plain(), Some(Arc::clone(&disk.scratch)), async |host: &mut Host| {
        host.greet(1).await;
        assert!(matches!(host.call(&Request::Freeze).await.reply, Reply::Frozen(_)));
        let waiting = host.open(&Request::Exec(exec(&["true"]))).await;
        assert_eq!(host.soon().await, None);
        assert!(matches!(host.call(&Request::Sync).await.reply, Reply::Synced(_)));
        assert_eq!(host.call(&Request::Thaw).await.reply, Reply::Thawed);
        assert_eq!(host.finish(waiting, b"").await.outcome(), Outcome::Code(0));
        assert!(matches!(host.call(&Request::Freeze).await.reply, Reply::Frozen(_)));
        host.greet(2).await;
        assert!(disk.scratch.is_thawed());
        assert!(disk.writer("a").wait().unwrap().success());
    });
}

/// A service waits for a frozen disk like any command, and can be stopped meanwhile.
#[test]
fn services_wait_for_a_frozen_disk() {
    if !in_namespace("scratch::tests::services_wait_for_a_frozen_disk") {
        return;
    }
    let Some(disk) = Disk::new() else { return };
    with_host_on(plain(), Some(Arc::clone(&disk.scratch)), async |host: &mut Host| {
        host.greet(1).await;
        let service = Service {
            owns_address: false,
            command: exec(&["sleep", "1000"]),
            probe: None,
            ready_timeout_ms: 1_000,
            ready_interval_ms: 100,
            restart: Restart::Always,
        };
        for is_stopped in [false, true] {
            assert!(matches!(host.call(&Request::Freeze).await.reply, Reply::Frozen(_)));
            let waiting = host.open(&Request::Serve(Box::new(service.clone()))).await;
            assert_eq!(host.soon().await, None);
            if is_stopped {
                host.input(waiting, Input::Kill).await;
                assert_eq!(host.finish(waiting, b"").await.failure().kind, FailureKind::Canceled);
            }
            assert_eq!(host.call(&Request::Thaw).await.reply, Reply::Thawed);
            if !is_stopped {
                assert_eq!(host.next(waiting).await.kind, Kind::Event);
                host.input(waiting, Input::Kill).await;
                assert_eq!(host.finish(waiting, b"").await.outcome(), Outcome::Signal(9));
            }
        }
    });
}

/// Counters are read by their place in the line, and a line that is too short counts nothing.
#[test]
fn counters_are_read() {
    let line = b"    9 1 2 3     100     7   4096    5   0  8 9\n";
    assert_eq!((sectors_written(line), sectors_written(b"1 2 3"), sectors_written(b"")), (4096, 0, 0));
}
