//! `pyro env`

use std::collections::BTreeMap;
use std::sync::Arc;

use indicatif::ProgressBar;
use pyro::{
    Cancel, CatalogEntry, Code, Environment, EnvironmentSize, Failure, PullPhase, PullProgress, Pyro,
};
use serde::Serialize;
use serde_json::json;

use crate::arguments::Env;
use crate::commands::gc::tell_busy;
use crate::exit::Status;
use crate::interrupt::Interrupts;
use crate::sizes::{bytes, mebibytes};
use crate::untrusted::printable;
use crate::{report, terminal};

pub(crate) async fn run(pyro: &Pyro, arguments: Env) -> Result<Status, Failure> {
    match arguments {
        Env::List { sizes, json } => list(pyro, sizes, json),
        Env::Pull { environment, json } => {
            let environment = pull(pyro, &environment).await?;
            Ok(describe("Pulled", &environment, json))
        }
        Env::Inspect { environment, json } => Ok(describe("Environment", &pyro.inspect(&environment)?, json)),
        Env::Remove { environment, json } => {
            let bytes = pyro.remove(&environment)?;
            Ok(freed(&format!("Removed: {environment}"), bytes, json))
        }
        Env::Prune { json } => {
            let pruned = pyro.prune()?;
            if json {
                return Ok(report::written(report::json(&pruned)));
            }
            if pruned.was_busy {
                tell_busy();
            }
            Ok(freed("Pruned", pruned.freed_bytes, json))
        }
    }
}

/// An entry of the catalog, and what it takes where that was asked for.
#[derive(Debug, Serialize)]
struct Entry {
    #[serde(flatten)]
    entry: CatalogEntry,
    #[serde(flatten)]
    size: Option<EnvironmentSize>,
}

fn list(pyro: &Pyro, with_sizes: bool, as_json: bool) -> Result<Status, Failure> {
    let catalog = pyro.catalog();
    let sizes = if with_sizes { pyro.environment_sizes() } else { BTreeMap::new() };
    let with_size = |entry: CatalogEntry| Entry { size: sizes.get(&entry.name).copied(), entry };
    let entries: Vec<Entry> = catalog.environments.into_iter().map(with_size).collect();
    if as_json {
        let value = json!({ "catalog_version": catalog.catalog_version, "environments": entries });
        return Ok(report::written(report::json(&value)));
    }
    let mut text = format!("Catalog version: {}\n", catalog.catalog_version);
    for Entry { entry, size } in &entries {
        let state = if entry.installed { "installed" } else { "not installed" };
        text.push_str(&format!("{} [{state}] {}\n", entry.name, entry.description));
        if let Some(size) = size {
            text.push_str(&format!(
                "  rootfs={} kernel={} templates={} private={} shared={}\n",
                bytes(size.rootfs_bytes),
                bytes(size.kernel_bytes),
                bytes(size.template_bytes),
                bytes(size.private_bytes),
                bytes(size.shared_bytes)
            ));
        }
    }
    Ok(report::written(terminal::result(&text)))
}

/// Pulls with progress; `Ctrl-C` stops it and leaves nothing half done.
pub(crate) async fn pull(pyro: &Pyro, name: &str) -> Result<Environment, Failure> {
    let mut interrupts = Interrupts::install()
        .map_err(|error| Failure::new(Code::System, "signals cannot be handled").because(error))?;
    let cancel = Cancel::new();
    let progress = Arc::new(Bar::new(name));
    let work = pyro.pull(name, progress.clone(), cancel.clone());
    tokio::pin!(work);
    let result = tokio::select! {
        result = &mut work => result,
        signal = interrupts.next() => {
            cancel.cancel();
            let result = work.await;
            if result.is_err() {
                progress.bar.finish_and_clear();
                return Err(interrupted(name, signal));
            }
            result
        }
    };
    progress.bar.finish_and_clear();
    result
}

fn interrupted(name: &str, signal: i32) -> Failure {
    Failure::new(Code::Interrupted, format!("the pull of {name} was interrupted"))
        .because(format!("signal {signal}"))
        .fix("nothing was installed; pull again when you like")
}

/// The block that the transcript fixes.
fn describe(headline: &str, environment: &Environment, as_json: bool) -> Status {
    if as_json {
        return report::written(report::json(environment));
    }
    let mut text = String::new();
    let mut line =
        |name: &str, value: &str| text.push_str(&format!("{name}: {}\n", printable(value.as_bytes())));
    line(headline, &environment.name);
    line("Version", &environment.version);
    line("Distribution", &environment.distribution);
    line("Installed", "yes");
    line("Cache dir", &environment.cache_dir.to_string_lossy());
    line("Default packages", &environment.default_packages.join(", "));
    line("Install dir", &environment.install_dir.to_string_lossy());
    line("Install manifest", &environment.install_manifest.to_string_lossy());
    line("Kernel image", &environment.kernel_image.to_string_lossy());
    line("Rootfs image", &environment.rootfs_image.to_string_lossy());
    line("Source", &environment.source);
    report::written(terminal::result(&text))
}

fn freed(what: &str, bytes: u64, as_json: bool) -> Status {
    if as_json {
        return report::written(report::json(&json!({ "freed_bytes": bytes })));
    }
    report::written(terminal::result(&format!("{what}\nFreed: {}", mebibytes(bytes))))
}

/// A pull's progress: two marker lines for programs, a bar for people.
#[derive(Debug)]
struct Bar {
    bar: ProgressBar,
    environment: String,
}

impl Bar {
    fn new(environment: &str) -> Bar {
        Bar { bar: terminal::progress_bar(), environment: environment.to_owned() }
    }

    fn marker(&self, phase: &str) {
        self.bar
            .suspend(|| terminal::note(&format!("[pull] phase={phase} environment={}", self.environment)));
    }
}

impl PullProgress for Bar {
    fn phase(&self, phase: PullPhase) {
        let (label, marker) = match phase {
            PullPhase::Wait => ("waiting for another pull", Some("wait")),
            PullPhase::Install => ("installing", Some("install")),
            PullPhase::Packages => ("Debian packages", None),
            PullPhase::Kernel => ("kernel", None),
            PullPhase::Image => ("root image", None),
            PullPhase::Verify => ("checking", None),
            PullPhase::Ready => ("ready", Some("ready")),
        };
        if let Some(marker) = marker {
            self.marker(marker);
        }
        self.bar.set_style(terminal::spinner_style());
        self.bar.set_message(label);
        self.bar.enable_steady_tick(std::time::Duration::from_millis(100));
    }

    fn advance(&self, done: u64, total: Option<u64>) {
        if let Some(total) = total {
            self.bar.set_style(terminal::bar_style());
            self.bar.set_length(total);
            self.bar.set_position(done);
        }
    }

    fn note(&self, text: &str) {
        if self.bar.length().is_none() {
            self.bar.set_message(printable(text.as_bytes()));
        }
    }
}
