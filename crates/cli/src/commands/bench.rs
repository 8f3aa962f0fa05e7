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
    let Bench { environment, samples, trees, .. } = arguments;
    let work = pyro::bench::measure(pyro, environment, *samples, *trees, |done, total, what| {
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
        "environment={} execution_mode={} accelerator={} vmm={} cpus={} samples={}\n{:<48} {:>9} {:>9} {:>9} {:>6}\n",
        report.environment,
        report.execution_mode,
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
            "{:<48} {:>9} {:>9} {:>9} {count:>6}\n",
            format!("{name} ({unit})"),
            value(*p50, unit),
            value(*p95, unit),
            value(*p99, unit)
        ));
    }
    text
}

/// Ratios are small: they are compared by their second digit.
fn value(value: f64, unit: &str) -> String {
    if unit == "ratio" { format!("{value:.2}") } else { format!("{value:.1}") }
}
