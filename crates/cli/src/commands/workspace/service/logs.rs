//! `pyro workspace service logs`

use std::io;

use pyro::results::ServiceLines;
use pyro::{Code, Failure, LogEntry, Output, Pyro, Starting, Tail};

use crate::arguments::workspace::ServiceLogs;
use crate::exit::Status;
use crate::interrupt::Interrupts;
use crate::{report, terminal};

pub(super) async fn run(pyro: &Pyro, arguments: &ServiceLogs) -> Result<Status, Failure> {
    let id = pyro.workspace_id(&arguments.which.one.workspace)?;
    let name = arguments.which.name.as_str();
    let service = pyro.service(&id, name)?;
    let tail = if arguments.all { Tail::All } else { Tail::Lines(arguments.tail_lines) };
    let mut log = pyro.service_log(&id, name, tail)?;
    if arguments.which.one.json {
        let mut entries = Vec::new();
        loop {
            let next = log.next(false)?;
            if next.is_empty() {
                break;
            }
            entries.extend(next);
        }
        return Ok(report::written(report::json(&ServiceLines {
            workspace_id: id,
            service_name: name.to_owned(),
            state: service.state,
            count: entries.len(),
            entries,
            bytes_cut: log.cut_bytes(),
        })));
    }
    let header = format!("Workspace: {id}\nService: {name}\nState: {}\n", service.state);
    let follows = arguments.follow && service.is_up();
    let shown = terminal::result(&header).and_then(|()| {
        if log.cut_bytes() > 0 {
            terminal::note(&format!("[{} bytes are not kept]", log.cut_bytes()));
        }
        loop {
            let entries = log.next(follows).map_err(io::Error::other)?;
            if entries.is_empty() {
                return Ok(());
            }
            show(&entries, arguments.timestamps)?;
        }
    });
    let status = report::written(shown);
    match follows && status == Status::SUCCESS {
        true => follow(pyro, &id, arguments, log).await,
        false => Ok(status),
    }
}

/// What comes, until the service ends or its reader leaves.
async fn follow(
    pyro: &Pyro,
    id: &str,
    arguments: &ServiceLogs,
    mut log: pyro::ServiceLog,
) -> Result<Status, Failure> {
    let mut interrupts = Interrupts::install()
        .map_err(|error| Failure::new(Code::System, "signals cannot be handled").because(error))?;
    let mut workspace = pyro.open_workspace(id, Starting::Never, |_| {}).await?;
    let mut followed = match workspace.follow_service(&arguments.which.name, log.offset()) {
        Ok(followed) => followed,
        Err(failure) => return Err(failure),
    };
    loop {
        let output = tokio::select! {
            output = followed.next() => output,
            signal = interrupts.next() => return Ok(Status::signal(signal)),
        };
        let shown = match output {
            Ok(Output::Stdout(bytes)) => show(&log.take(&bytes), arguments.timestamps),
            Ok(Output::Cut { bytes, .. }) => {
                terminal::note(&format!("[{bytes} bytes are not kept]"));
                Ok(())
            }
            Ok(Output::Stderr(_) | Output::Room) => Ok(()),
            // However it ended: its status tells.
            Ok(Output::Exited(_) | Output::Left) => {
                return Ok(report::written(show(&log.rest(), arguments.timestamps)));
            }
            Err(failure) if matches!(failure.code, Code::ServiceFailed | Code::ServiceStopped) => {
                return Ok(report::written(show(&log.rest(), arguments.timestamps)));
            }
            Err(failure) => return Err(failure),
        };
        match report::written(shown) {
            Status::SUCCESS => {}
            status => return Ok(status),
        }
    }
}

/// Each line on the output that it was written to.
fn show(entries: &[LogEntry], timestamps: bool) -> io::Result<()> {
    for entry in entries {
        let mut line = Vec::with_capacity(entry.bytes.len() + 40);
        if timestamps {
            line.extend_from_slice(entry.time.as_bytes());
            line.push(b' ');
        }
        line.extend_from_slice(&entry.bytes);
        line.push(b'\n');
        match entry.stream {
            "stderr" => terminal::bytes_to_stderr(&line)?,
            _ => terminal::output_to_stdout(&line)?,
        }
    }
    Ok(())
}
