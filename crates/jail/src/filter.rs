//! The seccomp program a confined child runs under: pure data, built once.
//!
//! It denies what no VMM needs (`EPERM`), opens that truncate or make a file among it; hands read-write opens
//! to the parent when they are to be answered; and kills on a foreign system call table. The VMM's own, finer sandbox comes on top of it.

use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_RET, BPF_W,
    sock_filter,
};

use crate::denied;
use crate::sys::Listening;

/// `AUDIT_ARCH_X86_64` (linux/audit.h).
const ARCH_X86_64: u32 = 0xc000_003e;
/// First number of the x32 table (asm/unistd.h, `__X32_SYSCALL_BIT`).
const X32_FIRST: u32 = 0x4000_0000;

/// Offsets in `struct seccomp_data` (linux/seccomp.h).
const OFFSET_NUMBER: u32 = 0;
const OFFSET_ARCH: u32 = 4;
const OFFSET_ARGS: u32 = 16;

/// First system call newer than this filter (Linux 6.13, asm/unistd_64.h): from here on there may be another
/// way to do what is denied, as `setxattrat` is. Programs take `ENOSYS` for an older kernel's answer.
const UNKNOWN_FIRST: u32 = 463;

/// Flags of an open that truncates a file or makes one, if only one without a name.
const CHANGING: u32 = (libc::O_TRUNC | libc::O_CREAT | (libc::O_TMPFILE & !libc::O_DIRECTORY)) as u32;

/// Which argument of the two opens holds their flags.
const OPENS: [(libc::c_long, u32); 2] = [(libc::SYS_openat, 2), (libc::SYS_open, 1)];

/// The filter's program.
pub(crate) fn program(listening: Listening) -> Vec<sock_filter> {
    let mut code = vec![
        load(OFFSET_ARCH),
        jump(BPF_JEQ, ARCH_X86_64, 1, 0),
        ret(libc::SECCOMP_RET_KILL_PROCESS),
        load(OFFSET_NUMBER),
        jump(BPF_JGE, X32_FIRST, 0, 1),
        ret(libc::SECCOMP_RET_KILL_PROCESS),
    ];
    code.extend([jump(BPF_JGE, UNKNOWN_FIRST, 0, 1), refuse(libc::ENOSYS)]);
    for number in denied::numbers() {
        code.extend([jump(BPF_JEQ, number as u32, 0, 1), refuse(libc::EPERM)]);
    }
    for (number, flags_index) in OPENS {
        code.extend(changing_open(number, flags_index));
        if listening == Listening::Yes {
            code.extend(read_write_open(number, flags_index));
        }
    }
    code.push(ret(libc::SECCOMP_RET_ALLOW));
    code
}

/// Refuses `number` when its argument `flags_index` has a flag that changes files. Leaves the number in the
/// accumulator.
fn changing_open(number: libc::c_long, flags_index: u32) -> [sock_filter; 5] {
    [
        jump(BPF_JEQ, number as u32, 0, 4),
        load(OFFSET_ARGS + 8 * flags_index),
        jump(BPF_JSET, CHANGING, 0, 1),
        refuse(libc::EPERM),
        load(OFFSET_NUMBER),
    ]
}

/// Notifies about `number` when the access mode in its argument `flags_index` is read-write. Leaves the
/// accumulator as it found it when the number is another one.
fn read_write_open(number: libc::c_long, flags_index: u32) -> [sock_filter; 6] {
    [
        jump(BPF_JEQ, number as u32, 0, 5),
        load(OFFSET_ARGS + 8 * flags_index),
        statement(BPF_ALU | BPF_AND | BPF_K, libc::O_ACCMODE as u32),
        jump(BPF_JEQ, libc::O_RDWR as u32, 0, 1),
        ret(libc::SECCOMP_RET_USER_NOTIF),
        ret(libc::SECCOMP_RET_ALLOW),
    ]
}

fn load(offset: u32) -> sock_filter {
    statement(BPF_LD | BPF_W | BPF_ABS, offset)
}

fn ret(value: u32) -> sock_filter {
    statement(BPF_RET | BPF_K, value)
}

fn refuse(errno: i32) -> sock_filter {
    ret(libc::SECCOMP_RET_ERRNO | errno as u32)
}

fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

fn jump(test: u32, k: u32, if_true: u8, if_false: u8) -> sock_filter {
    sock_filter { code: (BPF_JMP | test | BPF_K) as u16, jt: if_true, jf: if_false, k }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small interpreter of the instructions used, so that the program is tested without a kernel.
    fn verdict(code: &[sock_filter], arch: u32, number: u32, args: [u32; 6]) -> u32 {
        let (mut at, mut a) = (0usize, 0u32);
        loop {
            let op = &code[at];
            at += 1;
            match u32::from(op.code) {
                c if c == BPF_LD | BPF_W | BPF_ABS => {
                    a = match op.k {
                        OFFSET_NUMBER => number,
                        OFFSET_ARCH => arch,
                        k => args[((k - OFFSET_ARGS) / 8) as usize],
                    }
                }
                c if c == BPF_ALU | BPF_AND | BPF_K => a &= op.k,
                c if c == BPF_RET | BPF_K => return op.k,
                c if c == BPF_JMP | BPF_JEQ | BPF_K => {
                    at += usize::from(if a == op.k { op.jt } else { op.jf })
                }
                c if c == BPF_JMP | BPF_JGE | BPF_K => {
                    at += usize::from(if a >= op.k { op.jt } else { op.jf })
                }
                c if c == BPF_JMP | BPF_JSET | BPF_K => {
                    at += usize::from(if a & op.k != 0 { op.jt } else { op.jf })
                }
                c => panic!("instruction {c:#x}"),
            }
        }
    }

    fn call(listening: Listening, number: libc::c_long, args: [u32; 6]) -> u32 {
        verdict(&program(listening), ARCH_X86_64, number as u32, args)
    }

    #[test]
    fn only_read_write_opens_are_handed_over() {
        // Promise: reading costs no round trip to the parent, and no read-write open escapes it.
        let open = |flags| call(Listening::Yes, libc::SYS_openat, [0, 0, flags as u32, 0, 0, 0]);
        assert_eq!(open(libc::O_RDWR | libc::O_CLOEXEC), libc::SECCOMP_RET_USER_NOTIF);
        assert_eq!(open(libc::O_RDONLY | libc::O_CLOEXEC), libc::SECCOMP_RET_ALLOW);
        assert_eq!(open(libc::O_WRONLY), libc::SECCOMP_RET_ALLOW);
        let old = |flags| call(Listening::Yes, libc::SYS_open, [0, flags as u32, 0, 0, 0, 0]);
        assert_eq!(old(libc::O_RDWR), libc::SECCOMP_RET_USER_NOTIF);
        assert_eq!(old(libc::O_RDONLY), libc::SECCOMP_RET_ALLOW);
        let quiet = call(Listening::No, libc::SYS_openat, [0, 0, libc::O_RDWR as u32, 0, 0, 0]);
        assert_eq!(quiet, libc::SECCOMP_RET_ALLOW);
    }

    #[test]
    fn an_open_truncates_and_makes_nothing() {
        // Promise: no file is emptied or made by an open, on any kernel, whether or not opens are answered.
        for listening in [Listening::Yes, Listening::No] {
            for access in [libc::O_RDONLY, libc::O_WRONLY, libc::O_RDWR] {
                for change in [libc::O_TRUNC, libc::O_CREAT, libc::O_CREAT | libc::O_EXCL, libc::O_TMPFILE] {
                    let flags = (access | change | libc::O_CLOEXEC) as u32;
                    let refused = refuse(libc::EPERM).k;
                    assert_eq!(call(listening, libc::SYS_openat, [0, 0, flags, 0, 0, 0]), refused);
                    assert_eq!(call(listening, libc::SYS_open, [0, flags, 0, 0, 0, 0]), refused);
                }
            }
            let directory = (libc::O_DIRECTORY | libc::O_CLOEXEC) as u32;
            let listed = call(listening, libc::SYS_openat, [0, 0, directory, 0, 0, 0]);
            assert_eq!(listed, libc::SECCOMP_RET_ALLOW);
        }
    }

    #[test]
    fn calls_newer_than_the_filter_do_not_exist() {
        // Promise: a newer kernel brings no new way around.
        for number in [i64::from(UNKNOWN_FIRST), 469, 5000] {
            assert_eq!(call(Listening::Yes, number, [0; 6]), refuse(libc::ENOSYS).k);
        }
        let known = i64::from(UNKNOWN_FIRST) - 1;
        assert_eq!(call(Listening::Yes, known, [0; 6]), libc::SECCOMP_RET_ALLOW);
    }

    #[test]
    fn every_denied_call_is_denied_and_common_ones_are_not() {
        // Promise: the VMM reaches neither the network nor other processes, and still runs.
        for number in denied::numbers() {
            for listening in [Listening::Yes, Listening::No] {
                assert_eq!(call(listening, number, [0; 6]), refuse(libc::EPERM).k);
            }
        }
        for number in [libc::SYS_read, libc::SYS_mmap, libc::SYS_execve, libc::SYS_futex, libc::SYS_ioctl] {
            assert_eq!(call(Listening::Yes, number, [0; 6]), libc::SECCOMP_RET_ALLOW);
        }
    }

    #[test]
    fn foreign_call_tables_are_fatal() {
        // Promise: neither the 32-bit table nor x32 goes around the filter.
        let code = program(Listening::Yes);
        assert_eq!(verdict(&code, 0x4000_0003, 1, [0; 6]), libc::SECCOMP_RET_KILL_PROCESS);
        assert_eq!(verdict(&code, ARCH_X86_64, X32_FIRST + 1, [0; 6]), libc::SECCOMP_RET_KILL_PROCESS);
    }
}
