//! What tells that a service is ready, as people write it. Pure.

use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use pyro_proto::agent::Probe;

use super::super::guest_path::WORKSPACE;
use crate::{Code, Failure};

/// What tells that a service is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// A file that is there, in `/workspace` unless its path is absolute.
    File(OsString),
    /// `HOST:PORT` that accepts connections.
    Tcp(String),
    /// A URL that answers with a status from 200 to 399.
    Http(String),
    /// A command for a shell that exits with 0.
    Command(OsString),
}

impl Readiness {
    /// What the guest is to ask.
    pub(super) fn to_probe(&self) -> Result<Probe, Failure> {
        match self {
            Readiness::File(path) => file(path),
            Readiness::Tcp(text) => {
                let (host, port) = host_and_port(text, None).ok_or_else(|| no_address(text))?;
                Ok(Probe::Tcp(addresses(host, port).ok_or_else(|| no_address(text))?))
            }
            Readiness::Http(url) => http(url),
            Readiness::Command(text) if text.is_empty() => Err(invalid("--ready-command is empty")
                .fix("give a command that exits with 0 when the service is ready")),
            Readiness::Command(text) => Ok(Probe::Command(text.clone().into_vec())),
        }
    }
}

fn file(path: &OsStr) -> Result<Probe, Failure> {
    if path.is_empty() || path.as_bytes().contains(&0) {
        return Err(invalid(format!("--ready-file {path:?} is no path"))
            .fix("give a file that the service makes when it is ready"));
    }
    Ok(Probe::File(Path::new(WORKSPACE).join(path).into_os_string().into_vec()))
}

fn http(url: &str) -> Result<Probe, Failure> {
    let no_url = |why: &str, fix: &str| {
        invalid(format!("--ready-http {url:?} is no URL that can be asked")).because(why).fix(fix)
    };
    const FIX: &str = "write http://HOST:PORT/PATH, where HOST is `localhost` or an address of the guest";
    let Some(rest) = url.strip_prefix("http://") else {
        return Err(match url.starts_with("https://") {
            true => no_url(
                "certificates of a guest cannot be checked",
                "use --ready-tcp, or --ready-command with curl -k",
            ),
            false => no_url("it does not begin with http://", FIX),
        });
    };
    if !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(no_url("it has spaces, controls or other characters that a URL spells as %XX", FIX));
    }
    let rest = rest.split('#').next().unwrap_or(rest);
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    if authority.contains('@') {
        return Err(no_url("it has a user in it", "use --ready-command with curl to log in"));
    }
    let (host, port) =
        host_and_port(authority, Some(80)).ok_or_else(|| no_url("its host or port makes no sense", FIX))?;
    let addresses = addresses(host, port)
        .ok_or_else(|| no_url("a guest can ask itself alone, by address or `localhost`", FIX))?;
    let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
    Ok(Probe::Http { addresses, host: authority.to_owned(), target })
}

/// `HOST:PORT`, with a port that may be left out where there is a usual one; an IPv6 address stands in brackets.
fn host_and_port(text: &str, usual: Option<u16>) -> Option<(&str, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, behind) = rest.split_once(']')?;
            (host, if behind.is_empty() { None } else { Some(behind.strip_prefix(':')?) })
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = match port {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok()?,
        Some(_) => return None,
        None => usual?,
    };
    (port > 0).then_some((host, port))
}

/// A service may listen on either of the addresses that `localhost` stands for.
fn addresses(host: &str, port: u16) -> Option<Vec<SocketAddr>> {
    if host.eq_ignore_ascii_case("localhost") {
        let both: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        return Some(both.map(|address| SocketAddr::new(address, port)).to_vec());
    }
    Some(vec![SocketAddr::new(host.parse().ok()?, port)])
}

fn no_address(text: &str) -> Failure {
    invalid(format!("--ready-tcp {text:?} is no address"))
        .fix("write HOST:PORT, where HOST is `localhost` or an IP address, as in localhost:5432 or [::1]:80")
}

fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(Code::InvalidArgument, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// A file is looked for where commands run, an address may be any of the guest's own.
    #[test]
    fn what_can_be_asked_is_understood() {
        let probe = |readiness: Readiness| readiness.to_probe().unwrap();
        assert_eq!(probe(Readiness::File(".ready".into())), Probe::File(b"/workspace/.ready".to_vec()));
        assert_eq!(probe(Readiness::File("/run/x".into())), Probe::File(b"/run/x".to_vec()));
        let both = vec![socket("127.0.0.1:5432"), socket("[::1]:5432")];
        assert_eq!(probe(Readiness::Tcp("localhost:5432".into())), Probe::Tcp(both));
        assert_eq!(probe(Readiness::Tcp("[::1]:80".into())), Probe::Tcp(vec![socket("[::1]:80")]));
        let url = |text: &str| probe(Readiness::Http(text.to_owned()));
        let Probe::Http { addresses, host, target } = url("http://127.0.0.1:8000/a?b=c#d") else { panic!() };
        assert_eq!(
            (addresses, host.as_str(), target.as_str()),
            (vec![socket("127.0.0.1:8000")], "127.0.0.1:8000", "/a?b=c")
        );
        let Probe::Http { addresses, target, .. } = url("http://localhost") else { panic!() };
        assert_eq!((addresses[0], target.as_str()), (socket("127.0.0.1:80"), "/"));
        let Probe::Http { target, .. } = url("http://localhost?x") else { panic!() };
        assert_eq!(target, "/?x");
    }

    /// What cannot be asked is refused, and the refusal says which of the flags it was.
    #[test]
    fn what_cannot_be_asked_is_refused() {
        for text in [
            "",
            "5432",
            "localhost",
            "localhost:",
            "localhost:0",
            "localhost:99999",
            "example.com:80",
            "::1:80",
            "localhost:-1",
        ] {
            let failure = Readiness::Tcp(text.to_owned()).to_probe().unwrap_err();
            assert!(failure.message.starts_with("--ready-tcp"), "{text:?}");
        }
        for url in [
            "",
            "localhost:80",
            "https://localhost/",
            "http://",
            "http://example.com/",
            "http://a@localhost/",
            "http://localhost:x/",
            "http://localhost/a b",
            "http://localhost/\r\nX: y",
            "ftp://localhost/",
        ] {
            let failure = Readiness::Http(url.to_owned()).to_probe().unwrap_err();
            assert!(failure.message.starts_with("--ready-http") && failure.remediation.is_some(), "{url:?}");
        }
        assert!(
            Readiness::File("".into()).to_probe().is_err()
                && Readiness::Command("".into()).to_probe().is_err()
        );
    }
}
