//! What only a host with working KVM and vsock can show.

mod accelerators;
mod clocks;
mod devices;
mod many;
mod nesting;
mod people;

use crate::support::Call;

/// A call that takes what there is, as a person's does who has set nothing.
fn as_by_default(call: Call) -> Call {
    call.without("PYRO_ACCELERATOR").without("PYRO_TRANSPORT")
}

/// What a run says of itself, in the last line.
fn summary(accelerator: &str, mode: &str) -> String {
    format!("execution_mode={mode} accelerator={accelerator} exit_code=0 ")
}
