//! What only a host with working KVM and vsock can show.

mod accelerators;
mod clocks;
mod devices;
mod life;
mod many;
mod nesting;
mod people;

use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{Call, Running};

/// Two boots of an emulated guest on an emulated machine, of which the first one is given up.
const EMULATED_BOOT_SECONDS_MAX: Duration = Duration::from_secs(420);

/// A call that takes what there is, as a person's does who has set nothing.
fn as_by_default(call: Call) -> Call {
    call.without("PYRO_ACCELERATOR").without("PYRO_TRANSPORT")
}

/// What a run says of itself, in the last line.
fn summary(accelerator: &str, mode: &str) -> String {
    format!("execution_mode={mode} accelerator={accelerator} exit_code=0 ")
}

/// Waits for a word of a client that has more to do than one that hangs is given time for.
fn wait_patiently(running: &Running, word: &str) {
    let deadline = Instant::now() + EMULATED_BOOT_SECONDS_MAX;
    while !running.err_so_far().contains(word) && !running.err_so_far().contains("error: ") {
        assert!(Instant::now() < deadline, "{word} never came: {}", running.err_so_far());
        sleep(Duration::from_millis(500));
    }
}

/// That a run has a VMM that emulates, which in a machine that is emulated takes minutes: one test waits for it.
fn assert_emulates(running: Running) {
    let words = running.vmm().words;
    let accelerator =
        words.iter().skip_while(|word| *word != "-accel").nth(1).expect("a VMM has an accelerator");
    assert!(accelerator.starts_with("tcg"), "{words:?}");
    running.signal(Signal::INT);
    running.finish().exits(130).explains(&["phase=template"]);
}
