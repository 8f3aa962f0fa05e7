//! The guest's PID 1.
//!
//! Boots the machine's userland, finds disks and ports, assembles the root, and runs commands for its host
//! over two lanes. One thread does everything but what waits for disks: a builder's unpacking, trees
//! in and out of a workspace, writing out. It never starts a process of its
//! own, never writes to the base image, and never dies for what a command or the host does.

mod boot;
mod console;
mod early;
mod exec;
mod failure;
mod guest;
mod hold;
mod init;
mod lane;
mod limits;
mod mailbox;
mod port;
mod root;
mod scratch;
mod session;
mod small_file;
mod unpack;
mod watched;
mod workspace;

pub use init::run;

#[cfg(test)]
mod tests;
