//! Parked VMs: claimed once, never stale, and of no trouble when they die.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use rustix::process::Signal;

use crate::support::{Call, Machine, Process, Running, remains_of, wait_until};
use crate::uniqueness::{CLOCK_MS_MAX, IDENTITY, assert_unlike, now};

/// Ids of the VMs that can be had.
fn parked(machine: &Machine) -> BTreeSet<String> {
    let status = machine.pyro(["pool", "status", "--json"]).finish().exits(0).json();
    status["parked"].as_array().unwrap().iter().map(|vm| vm["vm_id"].as_str().unwrap().to_owned()).collect()
}

fn fill(machine: &Machine) -> BTreeSet<String> {
    machine.pyro(["pool", "fill"]).finish().exits(0);
    parked(machine)
}

/// The VM that a run told of.
fn vm_of(err: &str) -> String {
    err.lines().find_map(|line| line.split_once("phase=start vm_id=")).unwrap().1.to_owned()
}

fn shims(machine: &Machine) -> Vec<Process> {
    Process::shims().into_iter().filter(|shim| shim.concerns(machine.root())).collect()
}

fn vmms(shim: u32) -> Vec<u32> {
    Process::vmms_of(shim).into_iter().map(|vmm| vmm.pid).collect()
}

#[test]
fn a_run_takes_a_parked_vm_and_another_takes_its_place() {
    // Promise: `run` uses a VM that waits, and the pool is full again soon; draining leaves nothing.
    let machine = Machine::with_pool(2);
    let mut before = fill(&machine);
    assert_eq!(before.len(), 2);
    for round in 0..3 {
        let told = machine.run_with(&["--timings"], ["sh", "-c", "echo here; exit 7"]).finish();
        told.exits(7).says("here\n").explains(&["[run] step=pool_claim duration_ms="]);
        let vm = vm_of(&told.err());
        assert!(before.contains(&vm), "round {round}: {vm} is none of {before:?}");
        wait_until("the pool is full again", || parked(&machine).len() == 2);
        let after = parked(&machine);
        assert!(!after.contains(&vm), "a VM is had once");
        before = after;
    }
    let told = machine.pyro(["pool", "status"]).finish().exits(0).out();
    assert!(
        told.starts_with("Pool: 2 of 2 parked, 0 starting\n")
            && told.contains(" [parked] environment=debian:12 "),
        "{told}"
    );
    let json = machine.run_with(&["--json"], ["true"]).finish().exits(0).json();
    assert!(before.contains(json["cleanup"]["vm_id"].as_str().unwrap()), "{json}");
    machine.pyro(["pool", "drain"]).finish().exits(0);
    machine.wait_until_clean();
    assert_eq!(parked(&machine).len(), 0);
}

#[test]
fn what_stays_holds_nothing_of_its_starter() {
    // Promise: locks and pipes that a caller holds end with the command, though VMs and workspaces live on.
    let machine = Machine::with_pool(1);
    let lock = machine.root().join("lock");
    let create = ["workspace", "create", "debian:12", "--name", "kept"];
    for words in [&["run", "debian:12", "--", "true"][..], &create] {
        let pyro = machine.pyro(words).into_command();
        let mut command = Command::new("sh");
        command.args(["-c", "exec 9>\"$1\"; shift; exec \"$@\"", "sh"]).arg(&lock);
        command.arg(pyro.get_program()).args(pyro.get_args());
        machine.surround(&mut command);
        Call::new(command).finish().exits(0);
        wait_until("a VM is parked", || parked(&machine).len() == 1);
        let shims = shims(&machine);
        for process in shims.iter().flat_map(|shim| [vec![shim.pid], vmms(shim.pid)].concat()) {
            for open in fs::read_dir(format!("/proc/{process}/fd")).unwrap() {
                let target = fs::read_link(open.unwrap().path()).unwrap_or_default();
                assert_ne!(target, lock, "{process}, after {words:?}");
            }
        }
    }
    machine.pyro(["workspace", "delete", "kept", "--yes"]).finish().exits(0);
}

#[test]
fn a_parked_vm_is_taken_by_one_alone() {
    // Promise: eight who come at once for two parked VMs get eight different VMs, and all their commands run.
    let machine = Machine::with_pool(2);
    let waiting = fill(&machine);
    let script = "test ! -e /mine && echo $1 > /mine && sleep 0.3 && cat /mine";
    let start = |number: u32| {
        machine
            .run_with(&["--timeout-seconds", "120"], ["sh", "-c", script, "sh", &number.to_string()])
            .start()
    };
    let running: Vec<Running> = (0..8).map(start).collect();
    let mut vms = BTreeSet::new();
    for (number, running) in running.into_iter().enumerate() {
        let finished = running.finish();
        finished.exits(0).says(&format!("{number}\n"));
        vms.insert(vm_of(&finished.err()));
    }
    assert_eq!(vms.len(), 8, "{vms:?}");
    assert!(waiting.is_subset(&vms), "{waiting:?} were taken: {vms:?}");
    wait_until("the pool is full again", || parked(&machine).len() == 2);
    assert_eq!(shims(&machine).len(), 2, "and not fuller");
}

#[test]
fn a_workspace_made_of_a_parked_vm_is_durable() {
    // Promise: `create` takes a parked VM, and what is written to the workspace is as safe as in any other.
    let machine = Machine::with_pool(1);
    let seed = machine.root().join("seed");
    crate::support::tree::write(&seed, "file", "seed\n");
    for options in [&[][..], &["--seed-path", seed.to_str().unwrap()]] {
        fill(&machine);
        let waiting: Vec<u32> = shims(&machine).iter().map(|shim| shim.pid).collect();
        let workspace = machine.workspace(options);
        let shim = workspace.shim().unwrap();
        assert!(waiting.contains(&shim.pid), "{} is none of {waiting:?}", shim.pid);
        workspace.shell("echo kept > kept; echo conf > /etc/own.conf; echo changed > file");
        let identity = workspace.shell("hostname; cat /etc/machine-id");
        shim.signal(Signal::KILL);
        assert_eq!(workspace.shell("cat kept /etc/own.conf file"), "kept\nconf\nchanged\n");
        assert_eq!(workspace.shell("hostname; cat /etc/machine-id"), identity);
        workspace.snapshot("checkpoint", &[]);
        workspace.shell("rm kept");
        workspace.reset(&["--snapshot", "checkpoint"]);
        assert_eq!(workspace.shell("cat kept"), "kept\n");
        let patch = String::from_utf8(workspace.patch()).unwrap();
        assert!(patch.contains("+kept\n"), "{patch}");
        workspace.reset(&[]);
        assert_eq!(workspace.patch(), b"");
    }
}

#[test]
fn claimed_vms_share_no_identity() {
    // Promise: random numbers, machine id, boot id and host name of two VMs that waited differ; their clocks are right.
    let machine = Machine::with_pool(2);
    let waiting = fill(&machine);
    std::thread::sleep(std::time::Duration::from_secs(2));
    let script = format!("{IDENTITY}; bash -c 'echo $EPOCHREALTIME'");
    let told = || {
        let before = now();
        let told = machine.shell(&script).finish();
        assert!(waiting.contains(&vm_of(&told.exits(0).err())));
        let out = told.out();
        let (identity, clock) = out.trim_end().rsplit_once('\n').unwrap();
        let guest = std::time::Duration::from_secs_f64(clock.parse().unwrap());
        assert!(before <= guest + CLOCK_MS_MAX && guest <= now() + CLOCK_MS_MAX, "{before:?} {guest:?}");
        identity.to_owned()
    };
    // Both had waited when the first ran: the one that takes its place is another.
    let first = told();
    let second = machine.shell(IDENTITY).finish().exits(0).out();
    assert_unlike(&first, &second);
    wait_until("the pool is full again", || parked(&machine).len() == 2);
    assert_unlike(&second, &machine.shell(IDENTITY).finish().exits(0).out());
}

#[test]
fn parked_vms_that_die_trouble_nobody() {
    // Promise: a parked VM that was killed or stands still costs the next command nothing but its time.
    let machine = Machine::with_pool(1);
    for (what, signal, is_shim) in [
        ("shim killed", Signal::KILL, true),
        ("QEMU killed", Signal::KILL, false),
        ("QEMU stopped", Signal::STOP, false),
        ("shim stopped", Signal::STOP, true),
    ] {
        println!("{what}");
        fill(&machine);
        let shim = shims(&machine).remove(0);
        let victim = if is_shim { shim.clone() } else { Process::vmms_of(shim.pid).remove(0) };
        victim.signal(signal);
        machine.run(["echo", "fine"]).finish().exits(0).says("fine\n");
        fill(&machine);
        let workspace = {
            shims(&machine).into_iter().filter(|other| other.pid != shim.pid).for_each(|other| {
                let victim = if is_shim { other } else { Process::vmms_of(other.pid).remove(0) };
                victim.try_signal(signal);
            });
            machine.workspace(&[])
        };
        assert_eq!(workspace.shell("echo fine"), "fine\n", "{what}");
        machine.pyro(["pool", "drain"]).finish().exits(0);
        drop(workspace);
        wait_until("all of them are gone", || {
            let _ = machine.pyro(["doctor", "--fix"]).finish();
            remains_of(machine.root()).is_empty()
        });
    }
}

#[test]
fn a_pool_can_be_switched_off_and_sized() {
    // Promise: PYRO_POOL says how many wait; 0 is none at all, and what is no number is an error before anything.
    let machine = Machine::with_pool(1);
    machine.run(["true"]).env("PYRO_POOL", "0").finish().exits(0);
    assert_eq!(remains_of(machine.root()), [""; 0], "nothing waits");
    machine
        .pyro(["pool", "fill"])
        .env("PYRO_POOL", "0")
        .finish()
        .exits(2)
        .explains(&["switched off", "PYRO_POOL"]);
    for wrong in ["17", "-1", "many", "1.5"] {
        let told = machine.run(["true"]).env("PYRO_POOL", wrong).finish();
        told.exits(2).says("").explains(&["PYRO_POOL", wrong]);
    }
    let waiting = fill(&machine);
    let told = machine.run(["true"]).env("PYRO_POOL", "0").finish();
    assert!(!waiting.contains(&vm_of(&told.exits(0).err())), "who has switched it off takes none");
    assert_eq!(parked(&machine), waiting);
    machine.pyro(["pool", "fill"]).env("PYRO_POOL", "3").finish().exits(0);
    assert_eq!(parked(&machine).len(), 3);
    let told = machine.pyro(["pool", "drain"]).finish();
    assert_eq!(told.exits(0).out(), "Ended: 3\n");
    assert_eq!(remains_of(machine.root()), [""; 0]);
}

#[test]
fn no_vm_of_another_template_is_taken() {
    // Promise: a VM of another shape, or of a template that was made anew, is never taken for what was asked.
    let machine = Machine::with_own_environment().pooling(2);
    let waiting = fill(&machine);
    let told = machine.run_with(&["--mem-mib", "384"], ["grep", "MemTotal", "/proc/meminfo"]).finish();
    let kib: u64 =
        told.exits(0).out().chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap();
    assert!(kib < 384 * 1024 && !waiting.contains(&vm_of(&told.err())), "{kib} KiB");
    let waiting = fill(&machine);
    for family in fs::read_dir(machine.cache().join("templates")).unwrap() {
        for template in fs::read_dir(family.unwrap().path()).unwrap() {
            let metadata = template.unwrap().path().join("template.json");
            if metadata.exists() {
                fs::remove_file(metadata).unwrap();
            }
        }
    }
    let told = machine.run(["echo", "anew"]).finish();
    told.exits(0).says("anew\n").explains(&["phase=template"]);
    assert!(!waiting.contains(&vm_of(&told.err())), "{waiting:?}: {}", told.err());
    wait_until("the pool is full again", || {
        let now = parked(&machine);
        now.len() == 2 && now.is_disjoint(&waiting)
    });
    machine.pyro(["env", "remove", "debian:12"]).finish();
}
