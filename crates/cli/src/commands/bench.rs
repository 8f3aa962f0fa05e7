//! `pyro bench`: measures this machine.

use pyro::bench::{BenchReport, Figure};
use pyro::{Failure, Pyro};

use crate::arguments::Bench;
use crate::commands::env;
use crate::exit::Status;
use crate::interrupt::unless_interrupted;
use crate::{report, terminal};

pub(crate) async fn run(pyro: &Pyro, arguments: &Bench) -> Result<Status, Failure> {
    if !pyro.is_installed(&arguments.environment)? {
        env::pull(pyro, &arguments.environment).await?;
    }
    let bar = terminal::progress_bar();
    bar.set_style(terminal::bar_style());
    let work = pyro::bench::measure(pyro, &arguments.environment, arguments.samples, |done, total, what| {
        bar.set_length(total);
        bar.set_position(done);
        bar.set_message(what.to_owned());
    });
    let measured = unless_interrupted(work).await;
    bar.finish_and_clear();
    let measured = measured?;
    let written = if arguments.json { report::json(&measured) } else { terminal::result(&table(&measured)) };
    Ok(report::written(written))
}

fn table(report: &BenchReport) -> String {
    let mut text = format!(
        "environment={} accelerator={} vmm={} cpus={} samples={}\n{:<44} {:>9} {:>9} {:>9} {:>6}\n",
        report.environment,
        report.accelerator,
        report.vmm,
        report.host_cpus,
        report.samples,
        "",
        "p50",
        "p95",
        "p99",
        "n"
    );
    for Figure { name, unit, p50, p95, p99, count } in &report.figures {
        text.push_str(&format!(
            "{:<44} {p50:>9.1} {p95:>9.1} {p99:>9.1} {count:>6}\n",
            format!("{name} ({unit})")
        ));
    }
    text
}
