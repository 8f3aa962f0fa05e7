//! Words, variables, directory and user, on their way into the guest.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use crate::support::Machine;

#[test]
fn words_arrive_byte_for_byte() {
    // Promise: spaces, quotes, newlines, empty words and bytes that are no text reach the command unchanged.
    let machine = Machine::new();
    let odd: [&[u8]; 9] = [
        b"two words",
        b"it's \"quoted\" `so` $HOME \\",
        b"line\nfeed\r\n\ttab",
        b"",
        b"--not-ours",
        b"-",
        b"\xff\xfe\x80 no text",
        "ünïcödé \u{1f525}".as_bytes(),
        b"\x1b[31m\x07",
    ];
    let words = [b"sh".as_slice(), b"-c", b"printf '%s\\0' \"$@\"", b"sh"].into_iter().chain(odd);
    let echoed = machine.run(words.map(|word| OsString::from_vec(word.to_vec()))).finish();
    echoed.exits(0);
    let expected: Vec<u8> = odd.iter().flat_map(|word| word.iter().copied().chain([0])).collect();
    assert_eq!(echoed.stdout, expected);
}

#[test]
fn a_word_of_64_kib_arrives() {
    // Promise: an argument may be as long as Linux allows one.
    let machine = Machine::new();
    let long = "x".repeat(64 * 1024);
    machine.run(["sh", "-c", "printf %s ${#1}", "sh", &long]).finish().exits(0).says("65536");
    let longest = "y".repeat(128 * 1024 - 1);
    let echoed = machine.run(["printf", "%s", &longest]).finish();
    echoed.exits(0);
    assert!(echoed.stdout == longest.as_bytes());
}

#[test]
fn many_words_arrive() {
    // Promise: ten thousand arguments are no trouble.
    let machine = Machine::new();
    let words = ["sh", "-c", "echo $# ${10000}", "sh"].into_iter().map(String::from);
    machine
        .run(words.chain((1..=10_000).map(|number| number.to_string())))
        .finish()
        .exits(0)
        .says("10000 10000\n");
}

#[test]
fn variables_are_set_and_handed_on() {
    // Promise: `--env NAME=VALUE` sets, `--env NAME` hands on, the rest of the caller's environment stays out.
    let machine = Machine::new();
    let options = ["--env", "A=b=c d", "-e", "HANDED", "-e", "NOT_SET_HERE", "-e", "EMPTY="];
    let script = "echo \"$A|$HANDED|${NOT_SET_HERE-unset}|${EMPTY-unset}|${SECRET-unset}\"";
    let call = machine.run_with(&options, ["sh", "-c", script]).env("HANDED", "on").env("SECRET", "kept");
    call.finish().exits(0).says("b=c d|on|unset||unset\n");
}

#[test]
fn a_command_finds_a_usual_environment() {
    // Promise: PATH and HOME are those of a login, and commands are found by name.
    let machine = Machine::new();
    let script =
        "echo $HOME; case :$PATH: in *:/usr/local/bin:*:/usr/bin:*) echo path;; esac; command -v git";
    machine.shell(script).finish().exits(0).says("/root\npath\n/usr/bin/git\n");
}

#[test]
fn directory_and_user_are_as_asked() {
    // Promise: the command runs where and as whom it is told to, and as root otherwise.
    let machine = Machine::new();
    machine.run_with(&["--workdir", "/usr/share"], ["pwd"]).finish().exits(0).says("/usr/share\n");
    machine.run(["id", "-un"]).finish().exits(0).says("root\n");
    machine.run_with(&["--user", "nobody"], ["id", "-un"]).finish().exits(0).says("nobody\n");
    machine
        .run_with(&["--user", "1234:5678"], ["sh", "-c", "id -u; id -g"])
        .finish()
        .exits(0)
        .says("1234\n5678\n");
    let denied = machine.run_with(&["--user", "nobody"], ["cat", "/etc/shadow"]).finish();
    denied.exits(1).says("").explains(&["Permission denied"]);
}
