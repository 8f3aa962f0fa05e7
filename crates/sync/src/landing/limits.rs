//! Every bound of landing and of applying that is not the caller's to set.

/// Entries that cannot be carried which are named; more are only counted.
pub(crate) const SPECIALS_NAMED_MAX: usize = 100;

/// Attempts at an open that a rename elsewhere keeps making uncertain.
pub(crate) const OPEN_ATTEMPTS_MAX: usize = 64;
