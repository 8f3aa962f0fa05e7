//! `pyro workspace shell read`

use pyro::results::ShellOutput;
use pyro::{Failure, Pyro, ReadRequest, ShellReading, ShellView};

use crate::arguments::workspace::ShellRead;
use crate::exit::Status;
use crate::{report, terminal};

pub(super) async fn run(pyro: &Pyro, arguments: &ShellRead) -> Result<Status, Failure> {
    let request = ReadRequest {
        cursor: arguments.cursor,
        chars_max: arguments.max_chars,
        wait_ms: arguments.wait_ms,
        idle_ms: arguments.wait_for_idle_ms,
        until: arguments.until.clone(),
        view: match (arguments.screen, arguments.plain) {
            (true, _) => ShellView::Screen,
            (false, true) => ShellView::Plain,
            (false, false) => ShellView::Raw,
        },
    };
    let which = &arguments.which;
    let id = pyro.workspace_id(&which.one.workspace)?;
    let reading = pyro.read_shell(&id, &which.shell, &request).await?;
    let written = match which.one.json {
        true => report::json(&ShellOutput::new(&id, &reading)),
        false => show(&reading, request.view),
    };
    if !which.one.json {
        terminal::note(&marker(&id, &reading));
    }
    let status = report::written(written);
    Ok(if status == Status::SUCCESS && reading.matched == Some(false) { Status::TIMED_OUT } else { status })
}

/// Output as it is; lines and screens end with a newline, as texts do.
fn show(reading: &ShellReading, view: ShellView) -> std::io::Result<()> {
    terminal::output_to_stdout(&reading.output)?;
    if view != ShellView::Raw && reading.output.last().is_some_and(|last| *last != b'\n') {
        terminal::output_to_stdout(b"\n")?;
    }
    Ok(())
}

/// The transcript's line, with what else there is to say behind it.
fn marker(id: &str, reading: &ShellReading) -> String {
    let shell = &reading.shell;
    let mut line = format!(
        "[workspace-shell-read] workspace_id={id} shell_id={} state={} cursor={} next_cursor={} truncated={} execution_mode={}",
        shell.shell_id,
        shell.state,
        reading.cursor,
        reading.next_cursor,
        truth(reading.truncated),
        reading.execution_mode.unwrap_or("none")
    );
    if reading.truncated {
        line.push_str(&format!(" first_available={}", reading.first_available));
    }
    if reading.passed_over > 0 {
        line.push_str(&format!(" passed_over={}", reading.passed_over));
    }
    if let Some(matched) = reading.matched {
        line.push_str(&format!(" matched={}", truth(matched)));
    }
    if let Some(code) = shell.exit_code {
        line.push_str(&format!(" exit_code={code}"));
    }
    line
}

/// As the transcript writes it.
fn truth(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}
