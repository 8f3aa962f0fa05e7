//! How guests run in this run of the tests, and over what they are spoken to. Ordinary machines emulate them and use the
//! serial port; the KVM lane says otherwise.

use std::sync::OnceLock;

/// `kvm` or `tcg`: every machine of the tests asks for it.
pub(crate) fn accelerator() -> &'static str {
    static ACCELERATOR: OnceLock<&str> = OnceLock::new();
    ACCELERATOR.get_or_init(|| one_of("PYRO_TEST_ACCELERATOR", ["tcg", "kvm"]))
}

/// `serial` or `vsock`: the same.
pub(crate) fn transport() -> &'static str {
    static TRANSPORT: OnceLock<&str> = OnceLock::new();
    TRANSPORT.get_or_init(|| one_of("PYRO_TEST_TRANSPORT", ["serial", "vsock"]))
}

/// What results call that way to speak.
pub(crate) fn execution_mode() -> &'static str {
    match transport() {
        "vsock" => "guest_vsock",
        _ => "guest_serial",
    }
}

/// The first, unless the variable says another: a word that is none of them must not pass for the first.
fn one_of(variable: &str, known: [&'static str; 2]) -> &'static str {
    match std::env::var(variable) {
        Ok(word) => known
            .iter()
            .find(|one| **one == word)
            .unwrap_or_else(|| panic!("{variable} is {word:?}, and may be one of {known:?}")),
        Err(_) => known[0],
    }
}
