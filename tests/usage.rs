//! What the command line takes, and how it says no.

use crate::support::{Machine, Terminal};

#[test]
fn an_unknown_environment_is_answered_with_the_nearest() {
    // Promise: a misspelled environment costs one glance, and nothing is downloaded for it.
    let machine = Machine::empty();
    let refused = machine.pyro(["run", "debain:12", "--", "true"]).finish();
    refused
        .exits(125)
        .says("")
        .explains(&["there is no environment `debain:12`", "did you mean `debian:12`"]);
    for words in [["env", "pull", "debian12"], ["env", "inspect", "debian12"], ["env", "remove", "debian12"]]
    {
        machine.pyro(words).finish().exits(125).explains(&["debian:12", "pyro env list"]);
    }
}

#[test]
fn a_forgotten_separator_is_explained() {
    // Promise: the commonest mistake gets the line to write instead.
    let machine = Machine::empty();
    let hint = "as in `pyro run debian:12 -- git --version`";
    machine.pyro(["run", "debian:12", "git", "--version"]).finish().exits(2).explains(&[hint]);
    machine.pyro(["run", "debian:12"]).finish().exits(2).explains(&[hint]);
    machine.pyro(["run"]).finish().exits(2).explains(&["Usage: pyro run"]);
}

#[test]
fn an_empty_command_is_wrong_usage() {
    // Promise: nothing is started for a command that is none.
    let machine = Machine::empty();
    machine.pyro(["run", "debian:12", "--"]).finish().exits(2).explains(&["Usage: pyro run"]);
    machine
        .pyro(["run", "debian:12", "--", ""])
        .finish()
        .exits(2)
        .explains(&["the command is empty", "git --version"]);
}

#[test]
fn absurd_sizes_are_refused_with_the_range_that_is_not() {
    // Promise: no size that cannot work reaches a VM.
    let machine = Machine::empty();
    let absurd = [
        ("--vcpu-count", "0"),
        ("--vcpu-count", "65"),
        ("--vcpu-count", "18446744073709551615"),
        ("--mem-mib", "0"),
        ("--mem-mib", "127"),
        ("--mem-mib", "1099511627776"),
        ("--timeout-seconds", "0"),
        ("--timeout-seconds", "2592001"),
        ("--ttl-seconds", "0"),
        ("--ttl-seconds", "18446744073709551615"),
    ];
    for (flag, value) in absurd {
        let refused = machine.pyro(["run", "debian:12", flag, value, "--", "true"]).finish();
        refused.exits(2).says("").explains(&[flag, value, "choose"]);
    }
    for value in ["-1", "many", "", "18446744073709551616", "1.5"] {
        machine.pyro(["run", "debian:12", "--vcpu-count", value, "--", "true"]).finish().exits(2);
    }
}

#[test]
fn a_network_is_refused_in_a_sentence() {
    // Promise: what this release does not have, it says, instead of running without.
    let machine = Machine::empty();
    let refused = machine.pyro(["run", "debian:12", "--network", "--", "true"]).finish();
    refused.exits(2).says("").explains(&["--network is not available yet", "run the command without it"]);
}

#[test]
fn unknown_words_are_refused() {
    // Promise: an unknown flag, command or value is never dropped.
    let machine = Machine::empty();
    let wrong: [&[&str]; 7] = [
        &[],
        &["frobnicate"],
        &["--frobnicate"],
        &["run", "--frobnicate", "debian:12", "--", "true"],
        &["env", "list", "surplus"],
        &["run", "debian:12", "-t", "--json", "--", "true"],
        &["--accelerator", "warp", "env", "list"],
    ];
    for words in wrong {
        machine.pyro(words).finish().exits(2).says("");
    }
    let refused = machine.pyro(["env", "list"]).env("PYRO_ACCELERATOR", "warp").finish();
    refused.exits(2).explains(&["PYRO_ACCELERATOR", "auto, kvm or tcg"]);
}

#[test]
fn a_variable_needs_a_name() {
    // Promise: `--env =x` is a mistake that is told.
    let machine = Machine::empty();
    let refused = machine.pyro(["run", "debian:12", "--env", "=x", "--", "true"]).finish();
    refused.exits(2).explains(&["names no variable", "--env NAME=VALUE"]);
}

#[test]
fn a_terminal_needs_a_terminal() {
    // Promise: `-it` on a pipe is refused before anything is started.
    let machine = Machine::empty();
    machine
        .pyro(["run", "debian:12", "-it", "--", "sh"])
        .finish()
        .exits(2)
        .explains(&["-it needs a terminal", "-t"]);
}

#[test]
fn the_supervisor_is_not_for_hands() {
    // Promise: a person who types the hidden command gets a sentence, not a hang.
    let machine = Machine::empty();
    machine.pyro(["shim"]).finish().exits(2).explains(&["not by hand"]);
    let terminal = Terminal::start(machine.pyro(["shim"]), 80, 24);
    let (status, shown) = terminal.finish();
    assert_eq!(status.code(), Some(2));
    assert!(shown.contains("not by hand"), "{shown}");
}

#[test]
fn help_and_version_succeed() {
    // Promise: who asks gets an answer on standard output, and it needs no state, no home and no QEMU.
    let machine = Machine::empty();
    let bare = |words: &[&str]| {
        let call = machine.pyro(words).without("HOME").without("PYRO_STATE_DIR").without("PYRO_CACHE_DIR");
        call.env("PATH", "/nonexistent").finish()
    };
    assert_eq!(bare(&["--version"]).exits(0).out(), format!("pyro {}\n", env!("CARGO_PKG_VERSION")));
    for words in
        [&["--help"][..], &["help"], &["-h"], &["run", "--help"], &["help", "run"], &["help", "env", "pull"]]
    {
        assert!(bare(words).exits(0).out().contains("Usage: pyro"), "{words:?}");
    }
    assert!(!bare(&["--help"]).out().contains("shim"));
    assert!(!machine.root().join("state").exists());
}

#[test]
fn completions_are_scripts_that_shells_take() {
    // Promise: completions exist for bash, zsh and fish, and name the commands.
    let machine = Machine::empty();
    for shell in ["bash", "zsh", "fish"] {
        let script = machine.pyro(["completions", shell]).finish().exits(0).out();
        for word in ["doctor", "bench", "accelerator"] {
            assert!(script.contains(word), "{shell} lacks {word}");
        }
    }
    machine.pyro(["completions", "dos"]).finish().exits(2);
    let script = machine.root().join("completions.bash");
    std::fs::write(&script, machine.pyro(["completions", "bash"]).finish().stdout).unwrap();
    let syntax = std::process::Command::new("bash").arg("-n").arg(&script).status().unwrap();
    assert!(syntax.success());
}

#[test]
fn colors_are_for_terminals_that_want_them() {
    // Promise: escape sequences only on a terminal, and never against NO_COLOR.
    let machine = Machine::empty();
    let wrong = || machine.pyro(["env", "inspect", "debian:12"]);
    assert!(!wrong().finish().err().contains('\u{1b}'));
    let shown = |call| Terminal::start(call, 120, 30).finish().1;
    assert!(shown(wrong().env("TERM", "xterm")).contains("\u{1b}[1;31merror:"));
    for plain in [wrong().env("TERM", "xterm").env("NO_COLOR", "1"), wrong().env("TERM", "dumb")] {
        let shown = shown(plain);
        assert!(shown.contains("error: ") && !shown.contains('\u{1b}'), "{shown:?}");
    }
}

#[test]
fn results_and_remarks_go_to_different_streams() {
    // Promise: standard output holds the result alone, so that it can be piped.
    let machine = Machine::empty();
    let listed = machine.pyro(["env", "list"]).finish();
    listed.exits(0);
    assert_eq!((listed.err().as_str(), listed.out().lines().count()), ("", 4));
    let failed = machine.pyro(["env", "inspect", "debian:12"]).finish();
    failed.exits(125).says("").explains(&["debian:12 is not installed", "run `pyro env pull debian:12`"]);
}
