//! The pool: VMs that are up and wait for whoever comes.
//!
//! ```text
//!   parked/LOT/VMID      a ticket: who renames it to vms/VMID/claimed has the VM
//!   parked/births/VMID   one was started and has no ticket yet; names its lot, and the process it hangs on
//!   parked/refill.lock   held by who counts and starts them
//! ```
//!
//! A lot is all that were forked from one template, the very one that lies in its place now: those of an older one
//! are found by nobody, and end by themselves. Here tickets are counted, taken and waited for; they are laid by
//! the shims. Nothing here may fail a command that could do without a parked VM, or hold it up: whatever becomes of a
//! `run` or `create`, its end starts one process that fills the pool behind its back, see [`Refilling`].
//!
//! A VM counts from before its shim is started until it is put to a use or gone: as one that is coming while its mark
//! names a living process, as parked while it has its ticket, and, taken or not, while its record says that it is
//! parked. So there are never more than the size that was asked for.

mod birth;
mod census;
mod claim;
mod drain;
mod fill;
mod refill;
mod refilling;
mod status;
mod ticket;

pub use refilling::Refilling;
pub use status::{ParkedVm, PoolStatus};
