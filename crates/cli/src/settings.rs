//! Where this person's things are, from the environment: the one place that reads it.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use pyro::limits::{POOL_VMS_DEFAULT, POOL_VMS_MAX};
use pyro::{AcceleratorChoice, Code, Config, Directories, Failure, GitRules, TransportChoice};

/// Used where `PATH` is not set at all, as in a bare service.
const SEARCH_PATH_DEFAULT: &str = "/usr/local/bin:/usr/bin:/bin";

/// Reads the settings; `accelerator` is the flag's value, which goes before the variable's.
pub(crate) fn from_environment(accelerator: Option<AcceleratorChoice>) -> Result<Config, Failure> {
    let lookup = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    let accelerator = match accelerator {
        Some(choice) => choice,
        None => accelerator_of(lookup("PYRO_ACCELERATOR"))?,
    };
    Ok(Config {
        directories: directories(lookup)?,
        accelerator,
        transport: transport_of(lookup("PYRO_TRANSPORT"))?,
        vmm: lookup("PYRO_QEMU").map(PathBuf::from),
        search_path: lookup("PATH").unwrap_or_else(|| SEARCH_PATH_DEFAULT.into()),
        program: own_program()?,
        pool: pool_of(lookup("PYRO_POOL"))?,
    })
}

fn own_program() -> Result<PathBuf, Failure> {
    env::current_exe()
        .map_err(|error| Failure::new(Code::System, "this program's own file cannot be found").because(error))
}

/// VMs that wait for the next command; 0 switches them off.
fn pool_of(value: Option<OsString>) -> Result<usize, Failure> {
    let Some(value) = value else { return Ok(POOL_VMS_DEFAULT) };
    let size = value.to_str().and_then(|text| text.parse().ok()).filter(|size| *size <= POOL_VMS_MAX);
    size.ok_or_else(|| {
        Failure::new(Code::InvalidArgument, format!("PYRO_POOL is {value:?}"))
            .fix(format!("set it to 0, which switches the pool off, or to a number up to {POOL_VMS_MAX}"))
    })
}

fn accelerator_of(value: Option<OsString>) -> Result<AcceleratorChoice, Failure> {
    let Some(value) = value else { return Ok(AcceleratorChoice::Auto) };
    value.to_str().and_then(AcceleratorChoice::parse).ok_or_else(|| {
        Failure::new(Code::InvalidArgument, format!("PYRO_ACCELERATOR is {value:?}"))
            .fix("set it to auto, kvm or tcg")
    })
}

fn transport_of(value: Option<OsString>) -> Result<TransportChoice, Failure> {
    let Some(value) = value else { return Ok(TransportChoice::Auto) };
    value.to_str().and_then(TransportChoice::parse).ok_or_else(|| {
        Failure::new(Code::InvalidArgument, format!("PYRO_TRANSPORT is {value:?}"))
            .fix("set it to auto, vsock or serial")
    })
}

fn directories(lookup: impl Fn(&str) -> Option<OsString>) -> Result<Directories, Failure> {
    let place = |own: &str, xdg: &str, under_home: &str| {
        lookup(own).map(PathBuf::from).map(absolute).or_else(|| {
            // The XDG base directory specification has relative values ignored.
            let xdg = lookup(xdg).map(PathBuf::from).filter(|path| path.is_absolute());
            xdg.or_else(|| lookup("HOME").map(|home| PathBuf::from(home).join(under_home)))
                .map(|base| Ok(base.join("pyro")))
        })
    };
    let homeless = || {
        Failure::new(Code::StateUnusable, "HOME is not set")
            .fix("set HOME, or PYRO_STATE_DIR and PYRO_CACHE_DIR")
    };
    let state = place("PYRO_STATE_DIR", "XDG_STATE_HOME", ".local/state").ok_or_else(homeless)??;
    let cache = place("PYRO_CACHE_DIR", "XDG_CACHE_HOME", ".cache").ok_or_else(homeless)??;
    let runtime = match lookup("PYRO_RUNTIME_DIR") {
        Some(own) => absolute(PathBuf::from(own))?,
        None => match lookup("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute()) {
            Some(xdg) => xdg.join("pyro"),
            None => state.join("run"),
        },
    };
    Ok(Directories { state, cache, runtime })
}

/// A relative directory is meant from here, and shims run elsewhere.
fn absolute(path: PathBuf) -> Result<PathBuf, Failure> {
    std::path::absolute(&path).map_err(|error| {
        Failure::new(Code::StateUnusable, format!("the directory {} cannot be used", path.display()))
            .because(error)
    })
}

/// Where MCP hosts keep their configuration, and where this program is.
#[derive(Clone, Debug, Default)]
pub(crate) struct HostSettings {
    pub(crate) home: Option<PathBuf>,
    pub(crate) xdg_config_home: Option<PathBuf>,
    pub(crate) claude_config_dir: Option<PathBuf>,
    pub(crate) codex_home: Option<PathBuf>,
    pub(crate) opencode_config: Option<PathBuf>,
    pub(crate) search_path: OsString,
    /// This program's file, as the kernel names it.
    pub(crate) program: PathBuf,
    pub(crate) current_directory: PathBuf,
}

/// Reads what the commands about MCP hosts need. None of them needs a state.
pub(crate) fn of_hosts() -> Result<HostSettings, Failure> {
    let current_directory = directory()?;
    let path = |name: &str| {
        let value = env::var_os(name).filter(|value| !value.is_empty())?;
        Some(current_directory.join(value))
    };
    Ok(HostSettings {
        home: path("HOME"),
        // The XDG base directory specification has relative values ignored.
        xdg_config_home: env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute()),
        claude_config_dir: path("CLAUDE_CONFIG_DIR"),
        codex_home: path("CODEX_HOME"),
        opencode_config: path("OPENCODE_CONFIG"),
        search_path: env::var_os("PATH").unwrap_or_else(|| SEARCH_PATH_DEFAULT.into()),
        program: own_program()?,
        current_directory,
    })
}

/// Whether colors are unwanted (no-color.org: any non-empty value).
pub(crate) fn colors_unwanted() -> bool {
    let set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    set("NO_COLOR") || env::var_os("TERM").as_deref() == Some(OsStr::new("dumb"))
}

/// The terminal type a guest's terminal inherits.
pub(crate) fn terminal_type() -> String {
    env::var("TERM").ok().filter(|term| !term.is_empty()).unwrap_or_else(|| "xterm".to_owned())
}

/// Where files lie that nobody keeps.
pub(crate) fn temporary_directory() -> PathBuf {
    env::temp_dir()
}

/// Where this person's own rules of git are.
pub(crate) fn git_rules() -> GitRules {
    GitRules { user_excludes: pyro::user_excludes(), home: env::var_os("HOME").map(PathBuf::from) }
}

/// Where this process was started.
pub(crate) fn directory() -> Result<PathBuf, Failure> {
    env::current_dir().map_err(|error| {
        Failure::new(Code::InvalidArgument, "the current directory is gone")
            .because(error)
            .fix("cd somewhere else")
    })
}

/// What clients of the MCP server over HTTP must say.
pub(crate) fn mcp_token() -> Result<Option<String>, Failure> {
    let Some(value) = env::var_os("PYRO_MCP_TOKEN").filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    value.into_string().map(Some).map_err(|_| {
        Failure::new(Code::InvalidArgument, "PYRO_MCP_TOKEN is no text")
            .fix("set it to visible ASCII characters")
    })
}

/// The value of a variable that is handed on by name alone, as `--env NAME` does.
pub(crate) fn inherited(name: &OsStr) -> Option<OsString> {
    env::var_os(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(variables: &[(&str, &str)]) -> Result<Directories, Failure> {
        directories(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        })
    }

    /// Own variables go before XDG's, XDG's before HOME; relative XDG values do not count.
    #[test]
    fn precedence_is_that_of_xdg() {
        let home = resolve(&[("HOME", "/home/a")]).unwrap();
        assert_eq!(home.state, PathBuf::from("/home/a/.local/state/pyro"));
        assert_eq!(home.cache, PathBuf::from("/home/a/.cache/pyro"));
        assert_eq!(home.runtime, PathBuf::from("/home/a/.local/state/pyro/run"));
        let xdg =
            [("HOME", "/h"), ("XDG_CACHE_HOME", "/x"), ("XDG_RUNTIME_DIR", "/r"), ("XDG_STATE_HOME", "rel")];
        let xdg = resolve(&xdg).unwrap();
        assert_eq!((xdg.cache, xdg.runtime), (PathBuf::from("/x/pyro"), PathBuf::from("/r/pyro")));
        assert_eq!(xdg.state, PathBuf::from("/h/.local/state/pyro"));
        let own = [("PYRO_STATE_DIR", "/s"), ("PYRO_CACHE_DIR", "/c"), ("PYRO_RUNTIME_DIR", "/run/p")];
        assert_eq!(
            resolve(&own).unwrap(),
            Directories { state: "/s".into(), cache: "/c".into(), runtime: "/run/p".into() }
        );
        assert_eq!(resolve(&[]).unwrap_err().code, Code::StateUnusable);
    }

    /// The pool is a small number of VMs; anything else is a mistake to be told, not guessed at.
    #[test]
    fn the_pool_is_a_small_number() {
        let pool = |text: &str| pool_of(Some(text.into())).map_err(|failure| failure.code);
        assert_eq!((pool("0"), pool("16"), pool_of(None).ok()), (Ok(0), Ok(16), Some(POOL_VMS_DEFAULT)));
        for wrong in ["17", "-1", "off", "2.5", " 2", "99999999999999999999"] {
            assert_eq!(pool(wrong), Err(Code::InvalidArgument), "{wrong}");
        }
    }
}
