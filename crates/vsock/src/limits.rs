//! Bounds of vsock.

/// Connections that may wait to be accepted: a guest's own, and some of strangers, which are turned away.
pub(crate) const CONNECTIONS_WAITING_MAX: i32 = 16;

/// A guest's connection stands within this, also on a machine that is swamped: the first one counts, a second try comes to
/// nobody. The kernel's own bound is two seconds (`VSOCK_DEFAULT_CONNECT_TIMEOUT`, af_vsock.c).
pub(crate) const CONNECT_SECONDS_MAX: i64 = 240;

/// Sockets that are looked through for listeners; what is beyond is not told.
pub(crate) const SOCKETS_LISTED_MAX: usize = 4096;
