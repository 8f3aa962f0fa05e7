//! The seccomp program a confined child runs under: pure data, built once.
//!
//! It denies what no VMM needs (`EPERM`), hands read-write opens to the parent when they are to be answered,
//! and kills on a foreign system call table. The VMM's own, finer sandbox comes on top of it.

use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter,
};

use crate::sys::Listening;

/// `AUDIT_ARCH_X86_64` (linux/audit.h).
const ARCH_X86_64: u32 = 0xc000_003e;
/// First number of the x32 table (asm/unistd.h, `__X32_SYSCALL_BIT`).
const X32_FIRST: u32 = 0x4000_0000;

/// Offsets in `struct seccomp_data` (linux/seccomp.h).
const OFFSET_NUMBER: u32 = 0;
const OFFSET_ARCH: u32 = 4;
const OFFSET_ARGS: u32 = 16;

/// System calls refused with `EPERM`: the network, other processes, mounts, new namespaces, kernel surfaces
/// with a history of escapes, and file modes (a template's mode is part of its protection).
const DENIED: &[libc::c_long] = &[
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_fsconfig,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_open_by_handle_at,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_mknod,
    libc::SYS_mknodat,
    libc::SYS_chmod,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchmodat2,
    libc::SYS_chown,
    libc::SYS_fchown,
    libc::SYS_lchown,
    libc::SYS_fchownat,
];

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
    for number in DENIED {
        code.push(jump(BPF_JEQ, *number as u32, 0, 1));
        code.push(ret(libc::SECCOMP_RET_ERRNO | libc::EPERM as u32));
    }
    if listening == Listening::Yes {
        code.extend(read_write_open(libc::SYS_openat, 2));
        code.extend(read_write_open(libc::SYS_open, 1));
    }
    code.push(ret(libc::SECCOMP_RET_ALLOW));
    code
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
    fn every_denied_call_is_denied_and_common_ones_are_not() {
        // Promise: the VMM reaches neither the network nor other processes, and still runs.
        for number in DENIED {
            for listening in [Listening::Yes, Listening::No] {
                assert_eq!(call(listening, *number, [0; 6]), libc::SECCOMP_RET_ERRNO | libc::EPERM as u32);
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
