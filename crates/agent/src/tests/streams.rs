//! Bytes in and out.

use std::time::Duration;

use super::host::{Host, exec, shell, with_host};
use pyro_proto::agent::{Exec, Outcome, Request};
use pyro_proto::limits::WINDOW_BYTES;
use pyro_proto::{Channel, Frame, Kind};
use sha2::{Digest, Sha256};

fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut noise: Vec<u8> = std::iter::repeat_with(&mut next).take(bytes / 8 + 1).flatten().collect();
    noise.truncate(bytes);
    noise
}

/// Ten megabytes go in and come out again unchanged, both ways at once.
#[test]
fn bytes_come_through_unchanged() {
    with_host(async |host: &mut Host| {
        let sent = noise(10_000_000);
        let done = host.run_with(exec(&["cat"]), &sent).await;
        assert_eq!(Sha256::digest(&done.stdout), Sha256::digest(&sent));
        assert_eq!(done.outcome(), Outcome::Code(0));
    });
}

/// A command that ends at once after a lot of output loses none of it.
#[test]
fn the_last_bytes_are_not_lost() {
    with_host(async |host: &mut Host| {
        for _ in 0..20 {
            let done = host.run(shell("head -c 200000 /dev/zero; head -c 60000 /dev/zero >&2; exit 1")).await;
            assert_eq!((done.stdout.len(), done.stderr.len()), (200_000, 60_000));
        }
    });
}

/// A command that does not read its input ends all the same, and so does its host's sending.
#[test]
fn input_that_nobody_reads_holds_nobody_up() {
    with_host(async |host: &mut Host| {
        let sent = noise(3_000_000);
        assert_eq!(host.run_with(exec(&["true"]), &sent).await.outcome(), Outcome::Code(0));
        let done = host.run_with(shell("exec <&-; sleep 0.3; echo here"), &sent).await;
        assert_eq!(done.text(), "here\n");
        assert_eq!(host.run_with(exec(&["head", "-c", "5"]), &sent).await.stdout, &sent[..5]);
    });
}

/// Input for a command that was opened without any is dropped, not an error.
#[test]
fn a_command_without_input_reads_nothing() {
    with_host(async |host: &mut Host| {
        let stream = host.open(&Request::Exec(Exec { stdin: false, ..exec(&["cat"]) })).await;
        let done = host.finish(stream, &noise(400_000)).await;
        assert_eq!((done.stdout.len(), done.outcome()), (0, Outcome::Code(0)));
    });
}

/// No more than a window comes without a grant, and the command's end waits for the host to read.
#[test]
fn windows_are_kept() {
    with_host(async |host: &mut Host| {
        let stream = host.open(&Request::Exec(shell("head -c 300000 /dev/zero"))).await;
        let mut came = 0;
        while came < WINDOW_BYTES as usize {
            let frame = host.next(stream).await;
            if frame.kind == Kind::Data {
                came += frame.as_data().unwrap().1.len();
            }
        }
        assert_eq!(came, WINDOW_BYTES as usize);
        let more = tokio::time::timeout(Duration::from_millis(300), host.next(stream)).await;
        assert!(more.is_err(), "{more:?}");
        host.send(Frame::credit(stream, Channel::Stdout, WINDOW_BYTES / 2)).await;
        let done = host.finish(stream, b"").await;
        assert_eq!((came + done.stdout.len(), done.outcome()), (300_000, Outcome::Code(0)));
    });
}

/// A command that has been read to its last byte ends, even when its window is used up to the last byte too.
#[test]
fn a_full_window_does_not_hold_the_end_back() {
    with_host(async |host: &mut Host| {
        let stream = host.open(&Request::Exec(shell(&format!("head -c {WINDOW_BYTES} /dev/zero")))).await;
        let kinds = async {
            loop {
                let frame = host.next(stream).await;
                if frame.kind == Kind::Reply {
                    return frame;
                }
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(20), kinds).await.is_ok());
    });
}
