//! This crate against the real git.

mod applying;
mod git;
mod merging;
mod parsing;
mod rendering;
mod sides;
