//! A stand for pulls without a network: a shell script in the place of mmdebstrap that gives a small system, a "package"
//! that is a plain tar with a small kernel, and a writer that leaves the blank image as it is.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use crate::digest::Digest;
use crate::kernel::stand::package_of;
use crate::rootfs::tests::tar_of;
use crate::tools::Tool;
use crate::{
    Cache, Cancel, EnvironmentName, Phase, Progress, PullError, PullRequest, Pulled, RootJob, RootReport,
    RootWriter, Tools, pull,
};

pub(super) struct Stand {
    directory: tempfile::TempDir,
    pub(super) cache: Cache,
    pub(super) tools: Tools,
    pub(super) cancel: Cancel,
    pub(super) log: Log,
}

/// Every phase, in order.
#[derive(Default)]
pub(super) struct Log(pub(super) Mutex<Vec<Phase>>);

impl Progress for Log {
    fn phase(&self, phase: Phase) {
        self.0.lock().unwrap().push(phase);
    }
    fn advance(&self, _done: u64, _total: Option<u64>) {}
    fn note(&self, _text: &str) {}
}

/// Says it wrote everything, or fails, or lies.
pub(super) struct Writer(pub(super) Result<i64, &'static str>);

impl RootWriter for Writer {
    fn write_root(
        &mut self,
        job: &RootJob<'_>,
        _progress: &dyn Progress,
        _cancel: &Cancel,
    ) -> Result<RootReport, Box<dyn Error + Send + Sync>> {
        assert_eq!(fs::metadata(job.tar).unwrap().len() % 512, 0);
        assert_eq!(fs::metadata(job.image).unwrap().len(), job.image_bytes);
        assert!(job.kernel.vmlinux().exists());
        let entries = job.entries.checked_add_signed(self.0?).unwrap();
        Ok(RootReport { entries })
    }
}

const GOOD: &str = "";

impl Stand {
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let tools = Tools::find([])
            .with(Tool::Mmdebstrap, directory.path().join("mmdebstrap"))
            .with(Tool::DpkgDeb, directory.path().join("dpkg-deb"))
            .bare();
        let cache = Cache::new(directory.path().join("cache"));
        let stand = Self { directory, cache, tools, cancel: Cancel::new(), log: Log::default() };
        stand.script("dpkg-deb", "exec cat \"$2\"");
        stand.fixture(
            "rootfs.tar",
            &tar_of(&[
                "bash",
                "git",
                "procps",
                "ca-certificates",
                "curl",
                "jq",
                "less",
                "patch",
                "ripgrep",
                "unzip",
                "xz-utils",
            ]),
        );
        stand.offer_kernel("6.1.192-2");
        stand.fixture("sources", b"deb http://archive.example/debian bookworm main\n");
        stand.fixture("releases", b"Codename: bookworm\nDate: Sat, 11 Jul 2026 10:16:37 UTC\n");
        stand.archive_does(GOOD);
        stand
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(super) fn fixture(&self, name: &str, content: &[u8]) {
        fs::write(self.path(name), content).unwrap();
    }

    /// The archive's current kernel is of this version.
    pub(super) fn offer_kernel(&self, version: &str) {
        let deb = package_of(version);
        let record =
            format!("Package: linux-image-cloud\nVersion: {version}\nSHA256: {}\n", Digest::of(&deb));
        self.fixture("kernel.deb", &deb);
        self.fixture("kernel", record.as_bytes());
    }

    /// What the archive tool does, as a shell script, before it gives the system. `$tar` is where that goes.
    pub(super) fn archive_does(&self, script: &str) {
        let from = self.directory.path().display();
        let text = format!(
            "from='{from}'\necho run >>\"$from/runs\"\nfor tar; do case \"$tar\" in /*/rootfs.tar) break;; esac; done\n\
             {script}\ncat \"$from/rootfs.tar\" >\"$tar\"\n\
             cp \"$from/kernel\" \"$from/sources\" \"$from/releases\" \"$PYRO_HOOK_OUTPUT/\"\n\
             digest=$(sed -n 's/SHA256: //p' \"$from/kernel\")\n\
             case \" $PYRO_HOOK_KERNELS_HERE \" in *\" $digest \"*) ;;\n\
             *) cp \"$from/kernel.deb\" \"$PYRO_HOOK_OUTPUT/deb/\" ;; esac\n"
        );
        self.script("mmdebstrap", &text);
    }

    fn script(&self, name: &str, text: &str) {
        // Written by another process: what this one writes, another test's fork may have open when it is to be executed.
        let (path, new) = (self.path(name), self.path(&format!("{name}.new")));
        let draft = self.path(&format!("{name}.draft"));
        fs::write(&draft, format!("#!/bin/sh\nset -eu\n{text}\n")).unwrap();
        let installed = Command::new("install").args(["-m", "755"]).args([&draft, &new]).status();
        assert!(installed.unwrap().success());
        fs::rename(new, path).unwrap();
    }

    pub(super) fn pull_with(&self, name: &str, writer: &mut Writer) -> Result<Pulled, PullError> {
        pull(&self.request(name), writer)
    }

    pub(super) fn pull(&self, name: &str) -> Result<Pulled, PullError> {
        self.pull_with(name, &mut Writer(Ok(0)))
    }

    fn request(&self, name: &str) -> PullRequest<'_> {
        PullRequest {
            name: EnvironmentName::parse(name).unwrap(),
            cache: &self.cache,
            tools: &self.tools,
            mirror: None,
            progress: &self.log,
            cancel: &self.cancel,
        }
    }

    /// How often the archive was asked.
    pub(super) fn runs(&self) -> usize {
        fs::read_to_string(self.path("runs")).unwrap_or_default().lines().count()
    }

    /// Everything under the cache's environments but for locks.
    pub(super) fn environments(&self) -> Vec<String> {
        names(&self.cache.environments_dir()).into_iter().filter(|name| !name.ends_with(".lock")).collect()
    }
}

pub(super) fn names(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
