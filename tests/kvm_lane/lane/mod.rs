//! What only a host with working KVM and vsock can show.

mod accelerators;
mod clocks;
mod devices;
mod many;
mod nesting;
mod people;

use rustix::process::Signal;

use crate::support::{Call, Running};

/// A call that takes what there is, as a person's does who has set nothing.
fn as_by_default(call: Call) -> Call {
    call.without("PYRO_ACCELERATOR").without("PYRO_TRANSPORT")
}

/// What a run says of itself, in the last line.
fn summary(accelerator: &str, mode: &str) -> String {
    format!("execution_mode={mode} accelerator={accelerator} exit_code=0 ")
}

/// That a run has a VMM that emulates. Emulation in a machine that is emulated takes longer than pyro lets a guest boot, so
/// what comes of it is for the other tests to show.
fn assert_emulates(running: Running) {
    let words = running.vmm().words;
    let accelerator =
        words.iter().skip_while(|word| *word != "-accel").nth(1).expect("a VMM has an accelerator");
    assert!(accelerator.starts_with("tcg"), "{words:?}");
    running.signal(Signal::INT);
    running.finish().exits(130).explains(&["phase=template"]);
}
