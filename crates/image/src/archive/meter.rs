//! Progress of the archive tool, read from apt's and dpkg's lines. It only counts: a line it does not know changes nothing.

use crate::progress::{Phase, Progress};

/// A package is fetched, unpacked and configured.
const STEPS_PER_PACKAGE: u64 = 3;

/// Counts package steps.
pub(super) struct Meter<'a> {
    progress: &'a dyn Progress,
    packages_expected: u64,
    packages_known: u64,
    steps: u64,
    /// Package lists are fetched before it is said how many packages are: those are not steps.
    counting: bool,
}

impl<'a> Meter<'a> {
    pub(super) fn new(progress: &'a dyn Progress, packages_expected: u64) -> Self {
        progress.phase(Phase::Packages);
        Self { progress, packages_expected, packages_known: 0, steps: 0, counting: false }
    }

    /// Looks at one line.
    pub(super) fn line(&mut self, line: &str) {
        if let Some(count) = newly_installed(line) {
            self.packages_known = self.packages_known.saturating_add(count);
            self.counting = true;
        } else if let Some(stage) = line.strip_prefix("I: ").and_then(stage) {
            self.progress.note(stage);
        } else if self.counting && is_step(line) {
            self.steps = self.steps.saturating_add(1);
            self.progress.note(step_note(line));
            self.progress.advance(self.steps.min(self.total()), Some(self.total()));
        }
    }

    fn total(&self) -> u64 {
        self.packages_expected.max(self.packages_known).saturating_mul(STEPS_PER_PACKAGE)
    }
}

/// `0 upgraded, 69 newly installed, 0 to remove and 0 not upgraded.`
fn newly_installed(line: &str) -> Option<u64> {
    let (before, _) = line.split_once(" newly installed,")?;
    before.rsplit(' ').next()?.parse().ok()
}

fn is_step(line: &str) -> bool {
    ["Get:", "Unpacking ", "Setting up "].iter().any(|start| line.starts_with(start))
}

/// `Get:3 URL suite/main amd64 git amd64 1:2.39 [7,256 kB]` is shown without the address.
fn step_note(line: &str) -> &str {
    if !line.starts_with("Get:") {
        return line.trim_end_matches(['.', ' ']);
    }
    line.splitn(5, ' ').nth(4).unwrap_or(line)
}

fn stage(message: &str) -> Option<&'static str> {
    let stages = [
        ("running apt-get update", "retrieving package lists"),
        ("downloading packages", "downloading essential packages"),
        ("extracting archives", "extracting essential packages"),
        ("installing essential", "installing essential packages"),
        ("installing remaining", "installing packages"),
        ("running --customize-hook", "downloading the kernel"),
        ("creating tarball", "packing the system"),
    ];
    stages.iter().find(|(start, _)| message.starts_with(start)).map(|(_, note)| *note)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Recorder(Mutex<Vec<String>>);

    impl Progress for Recorder {
        fn phase(&self, phase: Phase) {
            self.0.lock().unwrap().push(format!("phase {}", phase.as_str()));
        }
        fn advance(&self, done: u64, total: Option<u64>) {
            self.0.lock().unwrap().push(format!("{done}/{}", total.unwrap()));
        }
        fn note(&self, text: &str) {
            self.0.lock().unwrap().push(text.to_owned());
        }
    }

    /// Keeps: progress counts packages, not package lists, and the bar never runs backward.
    #[test]
    fn package_steps_are_counted() {
        let recorder = Recorder::default();
        let mut meter = Meter::new(&recorder, 2);
        for line in [
            "I: running apt-get update...",
            "Get:1 http://mirror.example/debian bookworm InRelease [151 kB]",
            "0 upgraded, 1 newly installed, 0 to remove and 0 not upgraded.",
            "Get:1 http://mirror.example/debian bookworm/main amd64 git amd64 1:2.39 [7,256 kB]",
            "Unpacking git (1:2.39) ...",
            "0 upgraded, 2 newly installed, 0 to remove and 0 not upgraded.",
            "Setting up git (1:2.39) ...",
        ] {
            meter.line(line);
        }
        let seen = recorder.0.into_inner().unwrap();
        let expected = [
            "phase packages",
            "retrieving package lists",
            "git amd64 1:2.39 [7,256 kB]",
            "1/6",
            "Unpacking git (1:2.39)",
            "2/6",
            "Setting up git (1:2.39)",
            "3/9",
        ];
        assert_eq!(seen, expected);
    }
}
