//! `pyro pool`: the VMs that wait for whoever comes.

use pyro::{Failure, Notice, PoolStatus, Pyro, Shape};
use serde_json::json;

use crate::arguments::{Pool, PoolFill};
use crate::commands::env;
use crate::exit::Status;
use crate::interrupt::unless_interrupted;
use crate::untrusted::printable;
use crate::{report, terminal};

pub(crate) async fn run(pyro: &Pyro, arguments: Pool) -> Result<Status, Failure> {
    match arguments {
        Pool::Status { json } => status(pyro, json),
        Pool::Fill(arguments) => fill(pyro, &arguments).await,
        Pool::Drain { json } => drain(pyro, json),
    }
}

fn status(pyro: &Pyro, json: bool) -> Result<Status, Failure> {
    let status = pyro.pool_status()?;
    let written = if json { report::json(&status) } else { terminal::result(&table(&status)) };
    Ok(report::written(written))
}

/// One line per VM, as lists of workspaces have them.
fn table(status: &PoolStatus) -> String {
    let mut text =
        format!("Pool: {} of {} parked, {} starting\n", status.parked.len(), status.size, status.starting);
    for vm in &status.parked {
        text.push_str(&format!(
            "{} [parked] environment={} vcpu_count={} mem_mib={} accelerator={} parked_at={}\n",
            vm.vm_id,
            printable(vm.environment.as_bytes()),
            vm.vcpu_count,
            vm.mem_mib,
            vm.accelerator,
            vm.parked_at
        ));
    }
    text
}

async fn fill(pyro: &Pyro, arguments: &PoolFill) -> Result<Status, Failure> {
    let shape = Shape::parse(arguments.sizing.vcpu_count, arguments.sizing.mem_mib)?;
    let environment = arguments.environment.as_str();
    if !pyro.is_installed(environment)? {
        env::pull(pyro, environment).await?;
    }
    let bar = terminal::progress_bar();
    bar.enable_steady_tick(terminal::TICK);
    let filled = pyro.fill_pool(environment, shape, |notice| {
        if notice == Notice::MakingTemplate {
            bar.set_message("first use of this shape: booting it once");
        }
    });
    let filled = unless_interrupted(filled).await;
    bar.finish_and_clear();
    let parked = filled?;
    if arguments.json {
        return Ok(report::written(report::json(&json!({ "environment": environment, "parked": parked }))));
    }
    Ok(report::written(terminal::result(&format!("Parked: {parked} of {environment}"))))
}

fn drain(pyro: &Pyro, json: bool) -> Result<Status, Failure> {
    let ended = pyro.drain_pool()?;
    if json {
        return Ok(report::written(report::json(&json!({ "ended": ended }))));
    }
    Ok(report::written(terminal::result(&format!("Ended: {ended}"))))
}

#[cfg(test)]
mod tests {
    use pyro::ParkedVm;

    use super::*;

    /// What waits is told line by line.
    #[test]
    fn a_pool_is_told() {
        let vm = ParkedVm {
            vm_id: "0123456789ab".to_owned(),
            environment: "debian:12".to_owned(),
            vcpu_count: 1,
            mem_mib: 1024,
            accelerator: "tcg".to_owned(),
            parked_at: "2026-11-25T02:00:00Z".to_owned(),
        };
        assert_eq!(
            table(&PoolStatus { size: 2, parked: vec![vm], starting: 1 }),
            "Pool: 1 of 2 parked, 1 starting\n0123456789ab [parked] environment=debian:12 vcpu_count=1 \
             mem_mib=1024 accelerator=tcg parked_at=2026-11-25T02:00:00Z\n"
        );
    }
}
