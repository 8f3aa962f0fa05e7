//! A service's definition as it is kept, and as people see it.

use pyro_proto::agent::{self, Probe};
use pyro_store::{NewService, ServiceName};

/// As it is kept.
fn encode(definition: &agent::Service) -> Vec<u8> {
    // Bytes, numbers and addresses always serialize.
    serde_json::to_vec(definition).unwrap_or_default()
}

/// As it was kept.
pub(crate) fn decode(bytes: &[u8]) -> Option<agent::Service> {
    serde_json::from_slice(bytes).ok()
}

/// As people see it.
pub(crate) fn described(name: &ServiceName, definition: &agent::Service) -> NewService {
    let lossy = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
    let command = &definition.command;
    let (readiness, target) = match &definition.probe {
        None => ("none", None),
        Some(Probe::File(path)) => ("file", Some(lossy(path))),
        Some(Probe::Tcp(addresses)) => ("tcp", Some(address(addresses))),
        Some(Probe::Http { host, target, .. }) => ("http", Some(format!("http://{host}{target}"))),
        Some(Probe::Command(text)) => ("command", Some(lossy(text))),
    };
    NewService {
        name: name.clone(),
        definition: encode(definition),
        command: command.argv.iter().map(lossy).collect(),
        directory: command.directory.as_ref().map_or_else(|| "/workspace".to_owned(), lossy),
        user: command.user.clone(),
        readiness: readiness.to_owned(),
        target,
        restart: definition.restart.as_str().to_owned(),
    }
}

/// Several addresses are what `localhost` stands for.
fn address(addresses: &[std::net::SocketAddr]) -> String {
    match addresses {
        [one] => one.to_string(),
        [first, ..] => format!("localhost:{}", first.port()),
        [] => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyro_proto::agent::{Exec, Restart, Service};

    /// As release 0.1.0 keeps it: later ones start the same service from it.
    const KEPT: &str = r#"{"command":{"argv":[[115,104],[255]],"environment":[[[65],[49]]],"directory":null,
        "user":"web","terminal":null,"stdin":false,"timeout_ms":null},
        "probe":{"Http":{"addresses":["127.0.0.1:80","[::1]:80"],"host":"localhost","target":"/x?y"}},
        "owns_address":true,"ready_timeout_ms":30000,"ready_interval_ms":500,"restart":"on-failure"}"#;

    /// A definition comes back as it was, bytes that are no text included.
    #[test]
    fn definitions_are_kept() {
        let kept = decode(KEPT.as_bytes()).unwrap();
        let expected = Service {
            command: Exec {
                argv: vec![b"sh".to_vec(), vec![0xff]],
                environment: vec![(b"A".to_vec(), b"1".to_vec())],
                directory: None,
                user: Some("web".to_owned()),
                terminal: None,
                stdin: false,
                timeout_ms: None,
            },
            probe: Some(Probe::Http {
                addresses: vec!["127.0.0.1:80".parse().unwrap(), "[::1]:80".parse().unwrap()],
                host: "localhost".to_owned(),
                target: "/x?y".to_owned(),
            }),
            owns_address: true,
            ready_timeout_ms: 30_000,
            ready_interval_ms: 500,
            restart: Restart::OnFailure,
        };
        assert_eq!(kept, expected);
        assert_eq!(decode(&encode(&kept)), Some(kept));
        assert_eq!(decode(b"{}"), None);
        let shown = described(&ServiceName::parse("web").unwrap(), &expected);
        assert_eq!(
            (shown.readiness.as_str(), shown.target.as_deref()),
            ("http", Some("http://localhost/x?y"))
        );
    }
}
