//! A command as the kernel wants it: strings ended by NUL, every default filled in. Pure.

use std::ffi::CString;

use pyro_proto::agent::{Exec, Failure, FailureKind};

use super::account::Account;
use crate::failure::failure;

const PATH_DEFAULT: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where commands start unless told otherwise; `/` where an image has no such directory.
const DIRECTORY_DEFAULT: &std::ffi::CStr = c"/workspace";

/// A command that can be handed to a child.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Arguments; never empty.
    pub(crate) argv: Vec<CString>,
    /// `NAME=value`.
    pub(crate) environment: Vec<CString>,
    /// Paths to try in order; several when the program was named without a slash.
    pub(crate) candidates: Vec<CString>,
    /// Where to start.
    pub(crate) directory: CString,
    /// Whether `/` will do when `directory` is missing.
    pub(crate) directory_is_default: bool,
}

impl Plan {
    /// Checks a request and fills in what it leaves open.
    pub(crate) fn new(exec: &Exec, account: &Account) -> Result<Plan, Failure> {
        let argv = match exec.argv.as_slice() {
            [] if exec.terminal.is_some() => vec![c_string("the user's shell", base_name(&account.shell))?],
            [] => return Err(invalid("the command is empty")),
            argv => argv.iter().map(|arg| c_string("an argument", arg)).collect::<Result<_, _>>()?,
        };
        let variables = environment(exec, account)?;
        let path =
            variables.iter().find(|(name, _)| name == b"PATH").map_or(PATH_DEFAULT, |(_, value)| value);
        let candidates = match exec.argv.first() {
            Some(program) => candidates(program, path)?,
            None => shells(account)?,
        };
        let environment = variables.iter().map(assignment).collect::<Result<_, _>>()?;
        let (directory, directory_is_default) = match &exec.directory {
            Some(directory) => (c_string("the working directory", directory)?, false),
            None => (DIRECTORY_DEFAULT.to_owned(), true),
        };
        Ok(Plan { argv, environment, candidates, directory, directory_is_default })
    }

    /// The program as it was named, for messages.
    pub(crate) fn program(&self) -> String {
        self.argv.first().map(|program| text(program.as_bytes())).unwrap_or_default()
    }
}

/// Bytes of a guest as text for a message.
pub(crate) fn text(bytes: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(bytes))
}

type Variable = (Vec<u8>, Vec<u8>);

fn environment(exec: &Exec, account: &Account) -> Result<Vec<Variable>, Failure> {
    let mut variables: Vec<Variable> = vec![
        (b"PATH".to_vec(), PATH_DEFAULT.to_vec()),
        (b"HOME".to_vec(), account.home.clone()),
        (b"USER".to_vec(), account.name.clone()),
        (b"LOGNAME".to_vec(), account.name.clone()),
        (b"SHELL".to_vec(), account.shell.clone()),
        (b"LANG".to_vec(), b"C.UTF-8".to_vec()),
    ];
    if let Some(terminal) = &exec.terminal {
        variables.push((b"TERM".to_vec(), terminal.term.clone().into_bytes()));
    }
    let defaults = variables.len();
    let mut places: std::collections::HashMap<&[u8], usize> = std::collections::HashMap::new();
    for (name, value) in &exec.environment {
        if name.is_empty() || name.contains(&b'=') {
            return Err(invalid(format!("{} is no name of an environment variable", text(name))));
        }
        let default = variables.iter().take(defaults).position(|(known, _)| known == name);
        match default
            .or_else(|| places.get(name.as_slice()).copied())
            .and_then(|place| variables.get_mut(place))
        {
            Some(variable) => variable.1.clone_from(value),
            None => {
                places.insert(name, variables.len());
                variables.push((name.clone(), value.clone()));
            }
        }
    }
    Ok(variables)
}

fn candidates(program: &[u8], path: &[u8]) -> Result<Vec<CString>, Failure> {
    if program.is_empty() || program.contains(&b'/') {
        return Ok(vec![c_string("the program", program)?]);
    }
    path.split(|byte| *byte == b':').map(|directory| c_string("PATH", &join(directory, program))).collect()
}

/// The user's own shell, and what stands in for it in an image that lacks it.
fn shells(account: &Account) -> Result<Vec<CString>, Failure> {
    let own = c_string("the user's shell", &account.shell)?;
    Ok(vec![own, c"/bin/bash".to_owned(), c"/bin/sh".to_owned()])
}

fn base_name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

/// An empty element of `PATH` is the working directory.
fn join(directory: &[u8], program: &[u8]) -> Vec<u8> {
    match directory {
        [] => [b"./", program].concat(),
        [.., b'/'] => [directory, program].concat(),
        _ => [directory, b"/", program].concat(),
    }
}

fn assignment((name, value): &Variable) -> Result<CString, Failure> {
    c_string("an environment variable", &[name.as_slice(), b"=", value].concat())
}

fn c_string(what: &str, bytes: &[u8]) -> Result<CString, Failure> {
    CString::new(bytes).map_err(|_| invalid(format!("{what} holds a NUL byte")))
}

fn invalid(detail: impl Into<String>) -> Failure {
    failure(FailureKind::InvalidArgument, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::account::AccountFiles;
    use pyro_proto::agent::{Terminal, TerminalSize};

    fn exec(argv: &[&[u8]]) -> Exec {
        Exec {
            argv: argv.iter().map(|arg| arg.to_vec()).collect(),
            environment: Vec::new(),
            directory: None,
            user: None,
            terminal: None,
            stdin: false,
            timeout_ms: None,
        }
    }

    fn plan(exec: &Exec) -> Result<Plan, Failure> {
        Plan::new(exec, &AccountFiles::default().account(None).unwrap())
    }

    fn has(plan: &Plan, variable: &str) -> bool {
        plan.environment.iter().any(|known| known.as_bytes() == variable.as_bytes())
    }

    /// A command finds a usable environment, and what it is given replaces the defaults.
    #[test]
    fn the_environment_has_defaults() {
        let mut request = exec(&[b"true"]);
        request.environment = vec![
            (b"HOME".to_vec(), b"/a".to_vec()),
            (b"X".to_vec(), b"1".to_vec()),
            (b"HOME".to_vec(), b"/b".to_vec()),
            (b"X".to_vec(), b"2=3".to_vec()),
        ];
        let size = TerminalSize { rows: 1, columns: 1 };
        request.terminal = Some(Terminal { size, term: "vt100".to_owned() });
        let plan = plan(&request).unwrap();
        assert!(
            ["HOME=/b", "X=2=3", "USER=root", "LANG=C.UTF-8", "TERM=vt100"].iter().all(|v| has(&plan, v))
        );
        assert_eq!(plan.environment.len(), 8);
        assert!(plan.directory_is_default);
    }

    /// The program is looked up in the command's own PATH, unless it names a path.
    #[test]
    fn lookup_uses_the_commands_path() {
        let mut request = exec(&[b"x"]);
        request.environment = vec![(b"PATH".to_vec(), b"/a:/b/::c".to_vec())];
        let paths: Vec<Vec<u8>> =
            plan(&request).unwrap().candidates.into_iter().map(CString::into_bytes).collect();
        assert_eq!(paths, [b"/a/x".to_vec(), b"/b/x".to_vec(), b"./x".to_vec(), b"c/x".to_vec()]);
        assert_eq!(plan(&exec(&[b"./x"])).unwrap().candidates, [c"./x".to_owned()]);
    }

    /// On a terminal, no command is the user's own shell, or one that is there.
    #[test]
    fn no_command_is_a_shell() {
        let mut request = exec(&[]);
        request.terminal = Some(Terminal { size: TerminalSize { rows: 1, columns: 1 }, term: String::new() });
        let account =
            Account { shell: b"/usr/bin/zsh".to_vec(), ..AccountFiles::default().account(None).unwrap() };
        let plan = Plan::new(&request, &account).unwrap();
        assert_eq!(plan.argv, [c"zsh".to_owned()]);
        assert_eq!(plan.candidates[0].as_c_str(), c"/usr/bin/zsh");
        assert!(plan.candidates.contains(&c"/bin/sh".to_owned()));
    }

    /// What execve cannot carry is refused with a reason, not cut.
    #[test]
    fn what_cannot_be_carried_is_refused() {
        let mut name = exec(&[b"true"]);
        name.environment = vec![(b"A=B".to_vec(), Vec::new())];
        let mut value = exec(&[b"true"]);
        value.environment = vec![(b"A".to_vec(), b"\0".to_vec())];
        let mut directory = exec(&[b"true"]);
        directory.directory = Some(b"/\0".to_vec());
        for request in [exec(&[]), exec(&[b"a\0b"]), exec(&[b"a", b"\0"]), name, value, directory] {
            assert_eq!(plan(&request).unwrap_err().kind, FailureKind::InvalidArgument, "{request:?}");
        }
    }
}
