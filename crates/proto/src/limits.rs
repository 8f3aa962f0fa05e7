//! Every bound of the protocol, with its unit last in its name.

/// Version of frames and messages; both sides must have the same.
pub const PROTOCOL_VERSION: u16 = 5;

/// Bytes before a frame's payload.
pub const FRAME_HEADER_BYTES: usize = 12;

/// Bytes of stream data in one frame. With the header and the channel byte it fits one write of a
/// guest's virtio console port, which the kernel cuts at 32 KiB (`drivers/char/virtio_console.c`).
pub const DATA_BYTES_MAX: usize = 32 * 1024 - 64;

/// Payload of an opening frame: a whole argument list and environment. Linux refuses more than
/// 2 MiB of both for the default stack size (`execve(2)`), the rest is headroom for lengths.
pub const OPEN_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Payload of every other frame.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Bytes that may be under way on one channel of one call before the receiver grants more.
pub const WINDOW_BYTES: u32 = 256 * 1024;

/// Calls open at once on one connection.
pub const CALLS_MAX: usize = 256;

/// Longest text a peer may put into a failure.
pub const FAILURE_TEXT_BYTES_MAX: usize = 4 * 1024;

/// Bytes of a guest's console handed to a client with a failure.
pub const CONSOLE_TAIL_BYTES_MAX: usize = 8 * 1024;

/// Bytes of file contents in one record of a tree stream.
pub const TREE_PIECE_BYTES_MAX: usize = 128 * 1024;

/// Bytes of one record's header: two paths of `PATH_MAX` and some numbers.
pub const TREE_HEADER_BYTES_MAX: usize = 16 * 1024;

/// Bytes of one path in a tree (`PATH_MAX` of Linux, without its NUL).
pub const TREE_PATH_BYTES_MAX: usize = 4095;

/// Bytes of one name (`NAME_MAX` of Linux).
pub const TREE_NAME_BYTES_MAX: usize = 255;

/// Names in one path of a tree.
pub const TREE_DEPTH_MAX: usize = 256;

/// Bytes typed into a shell in one piece.
pub const SHELL_WRITE_BYTES_MAX: usize = 1024 * 1024;

/// Lines or characters in a line of a terminal.
pub const TERMINAL_SIDE_MAX: u16 = 10_000;

/// Characters of a terminal's screen, lines times their lengths.
pub const TERMINAL_CELLS_MAX: u32 = 1_000_000;
