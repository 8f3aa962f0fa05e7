//! Results for programs.

use serde_json::Value;

use crate::support::{Machine, accelerator, execution_mode, matches};

#[test]
fn a_runs_result_has_one_form() {
    // Promise: the fields are those of the reference, sorted, two spaces deep, and nothing else is printed.
    let machine = Machine::new();
    let told = machine.run_with(&["--json"], ["sh", "-c", "echo out; echo 'err' >&2; exit 7"]).finish();
    let expected = r#"{
  "accelerator": "ACCELERATOR",
  "cleanup": {
    "deleted": true,
    "reason": "post_exec_cleanup",
    "vm_id": "..."
  },
  "command": "sh -c 'echo out; echo '\\''err'\\'' >&2; exit 7'",
  "duration_ms": ...,
  "environment": "debian:12",
  "execution_mode": "MODE",
  "exit_code": 7,
  "stderr": "err\n",
  "stdout": "out\n",
  "timings": {"#;
    let expected = expected.replace("ACCELERATOR", accelerator()).replace("MODE", execution_mode());
    let text = told.exits(7).out();
    for (pattern, line) in expected.lines().zip(text.lines()) {
        assert!(matches(pattern, line), "{pattern} is not {line} in {text}");
    }
    assert!(text.ends_with("  }\n}\n"), "{text}");
    assert_eq!(told.err(), "");
    let timings = told.json()["timings"].as_object().unwrap().clone();
    assert!(timings.contains_key("launch") && timings.values().all(Value::is_number), "{timings:?}");
}

#[test]
fn bytes_that_are_no_text_do_not_break_it() {
    // Promise: whatever a command prints, the result is valid JSON.
    let machine = Machine::new();
    let told = machine.run_with(&["--json"], ["printf", r"\377\000\033[31m\342\202"]).finish();
    assert_eq!(told.exits(0).json()["stdout"], "\u{fffd}\u{0}\u{1b}[31m\u{fffd}");
}

#[test]
fn long_output_is_bounded_with_both_ends() {
    // Promise: a result has a bound; what is cut is counted, head and tail are there.
    let machine = Machine::new();
    let script = "echo head; yes | head -c 41943040; echo tail";
    let told = machine.run_with(&["--json", "--timeout-seconds", "200"], ["sh", "-c", script]).finish();
    let told = told.exits(0).json();
    let text = told["stdout"].as_str().unwrap();
    let cut = told["stdout_bytes_cut"].as_u64().unwrap();
    assert!(text.starts_with("head\n") && text.ends_with("tail\n") && text.len() < 40 * 1024 * 1024);
    let marker = format!("\n[{cut} bytes cut]\n");
    assert_eq!(text.len() as u64 + cut, 41_943_040 + 10 + marker.len() as u64);
}

#[test]
fn an_error_has_one_form() {
    // Promise: a failure is one object with code, message, cause and remediation, on standard output.
    let machine = Machine::empty();
    let told = machine.pyro(["env", "inspect", "--json", "debian:12"]).finish();
    let expected = r#"{
  "error": {
    "cause": null,
    "code": "environment-not-installed",
    "message": "environment debian:12 is not installed",
    "remediation": "run `pyro env pull debian:12`"
  }
}
"#;
    told.exits(125).says(expected);
    let told = machine.pyro(["run", "--json", "debain:12", "--", "true"]).finish();
    assert_eq!(told.exits(125).error_code(), "environment-unknown");
    let told = machine.pyro(["run", "--json", "--network", "debian:12", "--", "true"]).finish();
    assert_eq!(told.exits(2).error_code(), "not-supported");
    let told = machine.pyro(["run", "--json", "--mem-mib", "1", "debian:12", "--", "true"]).finish();
    assert_eq!(told.exits(2).error_code(), "invalid-argument");
}

#[test]
fn environments_are_listed_and_inspected() {
    // Promise: what people see as lines, programs get as fields.
    let machine = Machine::new();
    let listed = machine.pyro(["env", "list", "--json"]).finish().exits(0).json();
    assert_eq!(listed["catalog_version"], "2.8.0");
    let names: Vec<&str> =
        listed["environments"].as_array().unwrap().iter().filter_map(|e| e["name"].as_str()).collect();
    assert_eq!(names, ["debian:12", "debian:12-base", "debian:12-build"]);
    assert_eq!(listed["environments"][0]["installed"], true);
    let inspected = machine.pyro(["env", "inspect", "debian:12", "--json"]).finish().exits(0).json();
    assert_eq!(inspected["distribution"], "debian 12");
    let packages = inspected["manifest"]["packages"].as_array().unwrap();
    let git = packages.iter().find(|package| package["name"] == "git").unwrap();
    assert!(git["version"].as_str().unwrap().starts_with("1:2.39"), "{git}");
}

#[test]
fn doctor_tells_programs_what_it_tells_people() {
    // Promise: every line of `doctor` is a field, and the exit code says PASS.
    let machine = Machine::new();
    let told = machine.pyro(["doctor", "--json"]).finish();
    let report = told.exits(0).json();
    assert_eq!((&report["runtime"], &report["accelerator"]["name"]), (&"PASS".into(), &accelerator().into()));
    let yes: Value = "yes".into();
    assert_eq!((&report["capabilities"]["vm_boot"], &report["capabilities"]["guest_exec"]), (&yes, &yes));
    assert_eq!(report["capabilities"]["guest_network"], "no");
    for issue in report["issues"].as_array().unwrap() {
        assert!(issue["what"].is_string() && issue["fix"].is_string() && issue["fatal"] == false, "{issue}");
    }
    assert!(report["vmm"]["version"].is_string() && report["disk"]["free_bytes"].is_u64());
}
