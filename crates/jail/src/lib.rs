//! Confinement of the VMM process.
//!
//! A [`Spec`] says what one child may do; [`Jail::prepare`] does everything that allocates, in the parent;
//! [`Jail::apply`] hands the rest to the child, between fork and exec, as plain system calls; the returned
//! [`Attendant`] then answers the few opens the child must not do itself.
//!
//! What the crate owns: ids, capabilities, namespaces, Landlock, seccomp, resource limits, inherited
//! descriptors. What it must never do: start a process by itself (the trial of [`Support::probe`] excepted),
//! know what a virtual machine is, or go on silently without a layer: what is missing is in
//! [`Support::missing`].

mod attendant;
mod child;
mod denied;
mod error;
mod filter;
mod jail;
mod limits;
mod ruleset;
mod spec;
mod support;
#[allow(unsafe_code)]
mod sys;

pub use attendant::Attendant;
pub use error::JailError;
pub use jail::Jail;
pub use spec::{Access, Answer, Grant, Limits, RunAs, Spec};
pub use support::{Layer, Missing, Namespaces, Support};

/// Marks every descriptor of this process but the standard three as closed on exec: what its starter left open is
/// not its children's, which may outlive it.
///
/// # Errors
///
/// If the kernel cannot; one like that confines nothing either.
pub fn keep_descriptors() -> std::io::Result<()> {
    sys::close_on_exec_from(child::FIRST_OTHER_FD)
}
