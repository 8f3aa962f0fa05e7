//! Commands over both lanes, as a host sees them, with real processes of the machine that runs the tests.
//! Control groups are used where this user may make some, and process groups otherwise.

mod commands;
mod holds;
pub(crate) mod host;
pub(crate) mod namespace;
mod protocol;
mod services;
mod streams;
mod terminals;
