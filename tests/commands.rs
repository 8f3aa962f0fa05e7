//! Commands that show and measure.

use rustix::process::Signal;

use crate::support::{Machine, accelerator, assert_matches, execution_mode};

#[test]
fn demo_proves_a_whole_life() {
    // Promise: `pyro demo` creates, starts, runs and deletes, tells how long each took, and leaves nothing.
    let machine = Machine::new();
    let told = machine.pyro(["demo"]).finish();
    let block = format!(
        "Demo: PASS
        Environment: debian:12
        Execution mode: {}
        Accelerator: {}",
        execution_mode(),
        accelerator()
    );
    assert_matches(&block, &told.exits(0).out());
    for step in ["step=create", "step=start", "step=exec", "git version", "step=delete"] {
        told.explains(&[step, "duration_ms="]);
    }
    let report = machine.pyro(["demo", "--json"]).finish().exits(0).json();
    let names: Vec<&str> =
        report["steps"].as_array().unwrap().iter().filter_map(|step| step["name"].as_str()).collect();
    assert_eq!(names, ["create", "start", "exec", "exec", "exec", "delete"]);
}

#[test]
fn bench_measures_this_machine() {
    // Promise: `pyro bench` gives every promised figure with its percentiles, for people and programs.
    let machine = Machine::alone();
    let report = machine.pyro(["bench", "--samples", "2", "--json"]).finish().exits(0).json();
    let figures = report["figures"].as_array().unwrap();
    let named = |part: &str| figures.iter().any(|figure| figure["name"].as_str().unwrap().contains(part));
    assert!(["cold boot", "fork", "run", "exec", "memory"].into_iter().all(named), "{figures:#?}");
    for figure in figures {
        let value = |name: &str| figure[name].as_f64().unwrap();
        assert!(
            value("p50") > 0.0 && value("p50") <= value("p95") && value("p95") <= value("p99"),
            "{figure}"
        );
    }
    let table = machine.pyro(["bench", "--samples", "1"]).finish().exits(0).out();
    assert!(table.contains("p50") && table.lines().count() > figures.len(), "{table}");
    machine.pyro(["bench", "--samples", "0"]).finish().exits(2);
}

#[test]
fn doctor_without_an_environment_says_what_to_pull() {
    // Promise: on a fresh machine doctor does not fail for what is only not there yet.
    let machine = Machine::empty();
    let told = machine.pyro(["doctor"]).finish().exits(0).out();
    assert!(told.contains("vm_boot=untested guest_exec=untested guest_network=no"), "{told}");
    assert!(told.contains("fix: run `pyro env pull debian:12`"), "{told}");
    machine
        .pyro(["doctor", "--environment", "nonsense"])
        .finish()
        .exits(125)
        .explains(&["there is no environment"]);
}

#[test]
fn doctor_fixes_what_a_crash_left() {
    // Promise: `doctor --fix` removes leftovers and says what it did.
    let machine = Machine::new();
    machine.run(["true"]).finish().exits(0);
    let stray = machine.root().join("state/vms/0123456789ab");
    std::fs::create_dir(&stray).unwrap();
    machine.pyro(["doctor", "--fix"]).finish().exits(0);
    assert!(!stray.exists());
}

#[test]
fn timings_tell_what_each_step_took() {
    // Promise: `--timings` names the steps of a launch.
    let machine = Machine::new();
    let told = machine.run_with(&["--timings"], ["true"]).finish();
    told.exits(0).explains(&[
        "[run] step=plan duration_ms=",
        "[run] step=hello duration_ms=",
        "[run] step=launch duration_ms=",
    ]);
}

#[test]
fn demo_and_bench_can_be_interrupted() {
    // Promise: Ctrl-C ends every command, with the code a shell expects, and its VMs with it.
    let machine = Machine::new();
    for words in [&["demo"][..], &["bench", "--samples", "30"]] {
        let running = machine.pyro(words).start();
        running.vmm();
        running.signal(Signal::INT);
        running.finish().exits(130).says("");
        machine.wait_until_clean();
    }
}
