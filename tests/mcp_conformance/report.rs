//! What came out, a line a scenario, kept where whoever runs the tests finds it also when they pass.

use std::fs;

use super::suite::place;

/// One run of the suite.
#[derive(Debug)]
pub(super) struct Report {
    title: &'static str,
    lines: Vec<String>,
    failed: usize,
}

impl Report {
    pub(super) fn new(title: &'static str) -> Report {
        Report { title, lines: Vec::new(), failed: 0 }
    }

    /// Takes what became of each scenario of a revision: how many checks passed, or why it failed.
    pub(super) fn add(
        &mut self,
        revision: &str,
        scenarios: &[String],
        outcome: impl Fn(&str) -> Result<usize, String>,
    ) {
        self.lines.push(format!("MCP {revision}, the server {}:", self.title));
        let mut passed = 0;
        for scenario in scenarios {
            // A scenario that checked nothing has shown nothing.
            self.lines.push(match outcome(scenario) {
                Ok(checks) if checks > 0 => {
                    passed += 1;
                    format!("  pass  {scenario} ({checks} checks)")
                }
                Ok(_) => format!("  FAIL  {scenario}: nothing was checked"),
                Err(why) => format!("  FAIL  {scenario}: {why}"),
            });
        }
        self.failed += scenarios.len() - passed;
        self.lines.push(format!("  {passed} of {} scenarios pass", scenarios.len()));
    }

    /// Keeps it, and asserts that nothing failed.
    pub(super) fn is_good(&self) {
        let directory = place().join("reports");
        fs::create_dir_all(&directory).unwrap();
        let text = self.lines.join("\n") + "\n";
        fs::write(directory.join(format!("{}.txt", self.title.replace([' ', ','], "-"))), &text).unwrap();
        assert!(self.failed == 0, "{text}");
    }
}
