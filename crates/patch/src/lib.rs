//! Patches in git's format: made from two sides of a file, read, applied, merged. Pure: bytes in, bytes out.
//!
//! What is made here is what `git apply` takes with its defaults, byte for byte exact in both directions.
//! What such a patch cannot carry is named ([`Inexpressible`], [`Refused`]), never left out in silence.

#![forbid(unsafe_code)]

mod apply;
mod base85;
mod binary;
mod blob;
mod delta;
mod edits;
mod hunks;
mod inexpressible;
mod limits;
mod lines;
mod merge;
mod parse;
mod quote;
mod refused;
mod render;
mod section;
mod side;
mod stat;
mod summary;

pub use apply::{Applied, ApplyError, apply_file};
pub use blob::BlobId;
pub use inexpressible::{EmptyDirectories, Inexpressible, NodeShape, lost_in_patch};
pub use lines::is_binary;
pub use merge::{Merge, merge};
pub use parse::ParseError;
pub use quote::quote;
pub use refused::{Refused, classify};
pub use render::{RenderOptions, Rendered, render};
pub use section::{BinaryData, Body, Encoding, Hunk, Line, LineKind, Operation, Patch, Section};
pub use side::{FileMode, Side};
pub use stat::{FileStat, Lines, stat};
pub use summary::{ChangeKind, Summary};

#[cfg(test)]
mod tests;
