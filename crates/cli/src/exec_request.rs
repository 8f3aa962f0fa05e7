//! From arguments to what the guest is asked for.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use pyro::{Code, Exec, Failure, Terminal, parse_seconds};

use crate::arguments::Execute;
use crate::pump::TERMINAL_SIZE_DEFAULT;
use crate::{settings, terminal};

/// A variable's name and value.
pub(crate) type Variable = (Vec<u8>, Vec<u8>);

/// The command to run.
pub(crate) fn exec_of(
    execute: &Execute,
    directory: Option<OsString>,
    command: &[OsString],
) -> Result<Exec, Failure> {
    let timeout_seconds = parse_seconds("--timeout-seconds", execute.timeout_seconds)?;
    if command.first().is_none_or(|program| program.is_empty()) {
        return Err(Failure::new(Code::InvalidArgument, "the command is empty")
            .fix("write it behind `--`, as in `-- git --version`"));
    }
    if execute.tty && execute.interactive && !terminal::stdin_is_terminal() {
        return Err(Failure::new(Code::InvalidArgument, "-it needs a terminal on standard input")
            .fix("leave out -t when input comes from a pipe or a file"));
    }
    Ok(Exec {
        argv: command.iter().map(|word| word.clone().into_vec()).collect(),
        environment: variables(&execute.env)?,
        directory: directory.map(OsString::into_vec),
        user: execute.user.clone(),
        terminal: execute.tty.then(|| Terminal {
            size: terminal::size().unwrap_or(TERMINAL_SIZE_DEFAULT),
            term: settings::terminal_type(),
        }),
        stdin: execute.interactive,
        timeout_ms: Some(timeout_seconds * 1000),
    })
}

/// The variables that a command is given.
pub(crate) fn variables(texts: &[OsString]) -> Result<Vec<Variable>, Failure> {
    let variables = texts.iter().map(|text| variable(text)).collect::<Result<Vec<_>, _>>()?;
    Ok(variables.into_iter().flatten().collect())
}

/// `NAME=VALUE`, or `NAME` for this process's own value, as docker has it: one that is not set is left out.
fn variable(text: &OsStr) -> Result<Option<Variable>, Failure> {
    let bytes = text.as_bytes();
    let mut parts = bytes.splitn(2, |byte| *byte == b'=');
    let name = parts.next().unwrap_or_default();
    if name.is_empty() {
        return Err(Failure::new(Code::InvalidArgument, format!("--env {text:?} names no variable"))
            .fix("write --env NAME=VALUE, or --env NAME to hand on your own"));
    }
    let value = match parts.next() {
        Some(value) => Some(value.to_vec()),
        None => settings::inherited(OsStr::from_bytes(name)).map(OsString::into_vec),
    };
    Ok(value.map(|value| (name.to_vec(), value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Variables are set, handed on, or refused.
    #[test]
    fn variables_are_docker_s() {
        assert_eq!(variable(OsStr::new("A=b=c")).unwrap(), Some((b"A".to_vec(), b"b=c".to_vec())));
        assert_eq!(variable(OsStr::new("A=")).unwrap(), Some((b"A".to_vec(), Vec::new())));
        assert_eq!(variable(OsStr::new("PYRO_SURELY_NOT_SET")).unwrap(), None);
        assert!(variable(OsStr::new("=x")).is_err());
    }
}
