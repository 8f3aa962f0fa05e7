//! Mounts of a test's own: the test runs again in a mount namespace, where nothing it mounts is seen outside.
//!
//! Where a machine does not let that be done, such tests say so and check nothing.

use std::path::Path;
use std::process::Command;

use crate::console::warn;

const INSIDE: &str = "PYRO_TEST_IN_NAMESPACE";

/// Runs the test of this whole name again in a mount namespace of its own; true in there.
pub(crate) fn in_namespace(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    // In there mount points cannot be removed; out here, where nothing is mounted, all of it can.
    let outside = tempfile::tempdir().unwrap();
    let can_mount = Command::new("unshare")
        .args(["--mount", "sh", "-ec", "mount -t tmpfs none . && cd \"$PWD\" && mkdir l u w m && mount -t overlay -o lowerdir=l,upperdir=u,workdir=w,index=on,redirect_dir=on none m"])
        .current_dir(outside.path())
        .status();
    if !can_mount.is_ok_and(|status| status.success()) {
        warn("NOT CHECKED: no overlay can be mounted on this machine");
        return false;
    }
    let this = std::env::current_exe().unwrap();
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .arg(this)
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .env("TMPDIR", outside.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    if text.contains("NOT CHECKED") {
        warn(text.trim_end());
    }
    false
}

/// Whether a program did what it was asked for.
pub(crate) fn run(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

/// Mounts an ext4 in a new file; false where there is none on this machine.
pub(crate) fn mount_ext4(image: &Path, target: &Path) -> bool {
    std::fs::File::create(image).unwrap().set_len(256 << 20).unwrap();
    let (image, target) = (image.to_str().unwrap(), target.to_str().unwrap());
    run("mkfs.ext4", &["-q", "-O", "^metadata_csum", image])
        && run("mount", &["-o", "loop,noatime,nodev", image, target])
}
