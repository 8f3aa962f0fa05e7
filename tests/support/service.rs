//! Services of a workspace.

use serde_json::Value;

use super::client::Finished;
use super::{Call, Workspace, wait_until};

impl Workspace<'_> {
    /// `pyro workspace service start ID NAME OPTIONS -- COMMAND…`
    pub(crate) fn start(&self, name: &str, options: &[&str], command: &[&str]) -> Call {
        self.call("service start", [name].iter().chain(options).chain(&["--"]).chain(command))
    }

    /// The same of a script, which must become ready.
    pub(crate) fn serve(&self, name: &str, options: &[&str], script: &str) {
        self.start(name, options, &["sh", "-c", script]).finish().exits(0);
    }

    /// One that must not; gives what was said.
    pub(crate) fn serve_in_vain(&self, name: &str, options: &[&str], script: &str) -> Finished {
        let told = self.start(name, options, &["sh", "-c", script]).finish();
        told.exits(125);
        told
    }

    /// `pyro workspace service status ID NAME --json`
    pub(crate) fn service(&self, name: &str) -> Value {
        self.call("service status", [name, "--json"]).finish().exits(0).json()
    }

    /// `running`, `failed` and so on.
    pub(crate) fn service_state(&self, name: &str) -> String {
        self.service(name)["state"].as_str().unwrap().to_owned()
    }

    /// Waits for a state.
    pub(crate) fn wait_for_service(&self, name: &str, state: &str) -> Value {
        let mut service = Value::Null;
        wait_until(&format!("the service {name} is {state}"), || {
            service = self.service(name);
            service["state"] == state
        });
        service
    }

    /// `pyro workspace service list ID --json`
    pub(crate) fn services(&self) -> Vec<Value> {
        let listed = self.call("service list", ["--json"]).finish().exits(0).json();
        listed["services"].as_array().unwrap().clone()
    }

    /// Lines of a service's log, each with its stream.
    pub(crate) fn service_log(&self, name: &str) -> Vec<(String, String)> {
        let told = self.call("service logs", [name, "--all", "--json"]).finish().exits(0).json();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let entries = told["entries"].as_array().unwrap();
        entries.iter().map(|entry| (text(&entry["stream"]), text(&entry["text"]))).collect()
    }

    /// What those lines say.
    pub(crate) fn said(&self, name: &str) -> Vec<String> {
        self.service_log(name).into_iter().map(|(_, text)| text).collect()
    }

    /// Ends a service at once.
    pub(crate) fn stop_service(&self, name: &str) {
        self.call("service stop", [name, "--grace-seconds", "0"]).finish().exits(0);
    }

    /// Whether a process of the guest has exactly this command line, a regular expression.
    pub(crate) fn runs(&self, line: &str) -> bool {
        let told = self.exec(["pgrep", "-f", "-x", "--", line]).finish();
        assert!(matches!(told.status.code(), Some(0 | 1)), "{}", told.err());
        told.status.code() == Some(0)
    }
}
