//! Reading a shell: what is there from some byte on, and, for as long as that is wanted, what comes.

use std::time::Duration;

use pyro_proto::agent::TerminalSize;
use pyro_proto::{Channel, shim};
use pyro_store::{OutputReader, ShellRecord, WorkspaceRecord};
use regex_lite::Regex;
use tokio::time::Instant;

use super::super::Workspace;
use super::plain::plain;
use super::screen::{Screen, screen};
use super::text::{before_last, whole_chars};
use super::{ShellInfo, describe};
use crate::connection::{News, unexpected};
use crate::failure::chain;
use crate::limits::{
    LOG_PIECE_BYTES, PATTERN_BYTES_MAX, SHELL_IDLE_MS_DEFAULT, SHELL_READ_CHARS_MAX, SHELL_UNTIL_MS_DEFAULT,
    SHELL_WAIT_MS_DEFAULT, SHELL_WAIT_MS_MAX,
};
use crate::{Code, Failure, Pyro};

/// How output is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ShellView {
    /// As it is.
    #[default]
    Raw,
    /// As the lines that a person would see.
    Plain,
    /// As the present screen of a full-screen program, whatever the cursor.
    Screen,
}

/// What to read, and what to wait for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadRequest {
    /// The first byte, as an earlier reading gave it.
    pub cursor: u64,
    /// Characters at most.
    pub chars_max: u64,
    /// Wait no longer than this; `None`: as long as is usual for what is waited for.
    pub wait_ms: Option<u64>,
    /// Wait until the shell was quiet for so long; `None`: a little, or not at all where there is a pattern.
    pub idle_ms: Option<u64>,
    /// Wait until the lines that a person would see since the cursor match this regular expression.
    pub until: Option<String>,
    /// How it is shown.
    pub view: ShellView,
}

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShellReading {
    /// The shell as it stands behind it.
    pub shell: ShellInfo,
    /// Output, in the form that was asked for.
    pub output: Vec<u8>,
    /// The first byte that was asked for.
    pub cursor: u64,
    /// The byte to go on from.
    pub next_cursor: u64,
    /// Whether bytes from the cursor on are not kept any more.
    pub truncated: bool,
    /// The first byte that is kept.
    pub first_available: u64,
    /// Bytes from the cursor to the output that were read for the pattern and are more than could be given: reading from
    /// the cursor on without a pattern gives them.
    pub passed_over: u64,
    /// Whether the pattern matched, if there was one.
    pub matched: Option<bool>,
    /// The cursor's place on the screen, if that is what was asked for: line and column, from 0.
    pub screen_cursor: Option<(u16, u16)>,
    /// How the guest is reached, while it runs and was asked.
    pub execution_mode: Option<&'static str>,
}

/// A reading that goes on.
struct Progress {
    bytes: Vec<u8>,
    /// Where they begin: beyond the cursor when that is not kept.
    start: u64,
    is_ended: bool,
    /// Bytes were lost behind what is here: the next reading begins there.
    is_cut: bool,
    /// Bytes that were read and are not given.
    passed_over: u64,
    size: TerminalSize,
}

impl Pyro {
    /// Reads a shell. One that runs is waited for; nothing is started for it.
    pub async fn read_shell(
        &self,
        reference: &str,
        shell: &str,
        request: &ReadRequest,
    ) -> Result<ShellReading, Failure> {
        let wants = Wants::parse(request)?;
        let record = self.find_workspace(reference)?;
        let shell = self.store.shell(&record.workspace.id, shell)?;
        let reader = self.shell_output(&record, &shell)?;
        let mut progress = begin(&reader, &shell, request.cursor)?;
        progress.take_kept(&reader, &wants)?;
        let mut execution_mode = None;
        // One whose VM is gone by now has ended, and its record says so.
        if let Some(mut workspace) = self.connect_while(&record, !progress.is_ended).await? {
            execution_mode = Some(workspace.execution_mode());
            if !wants.are_met(&progress) {
                let subject = shim::Subject::Shell(shell.shell.id.as_str().to_owned());
                let request = shim::Request::Follow { subject, from: progress.end() };
                progress.follow(&mut workspace.connection.call(&request)?, &wants).await?;
            }
        }
        let record = self.find_workspace(record.workspace.id.as_str())?;
        if progress.is_ended {
            // It may have ended before it could be followed: then what it printed last was told to nobody.
            progress.take_kept(&reader, &wants)?;
        }
        let shell = self.store.shell(&record.workspace.id, shell.shell.id.as_str())?;
        let first_available = first_available(&reader)?;
        let mut reading = progress.into_reading(&wants, request, describe(&record, &shell), first_available);
        reading.execution_mode = execution_mode;
        if request.view == ShellView::Screen {
            let (bytes, _) = self.all_kept(&record, &shell)?;
            let size = TerminalSize { rows: shell.shell.rows, columns: shell.shell.columns };
            let Screen { text, cursor_row, cursor_column, .. } = screen(&bytes, size);
            reading.output = text.into_bytes();
            reading.screen_cursor = Some((cursor_row, cursor_column));
        }
        Ok(reading)
    }

    async fn connect_while(
        &self,
        record: &WorkspaceRecord,
        is_running: bool,
    ) -> Result<Option<Workspace>, Failure> {
        if is_running { self.connect(record).await } else { Ok(None) }
    }

    /// All that is kept of a shell's output, and where it ends.
    pub(super) fn all_kept(
        &self,
        record: &WorkspaceRecord,
        shell: &ShellRecord,
    ) -> Result<(Vec<u8>, u64), Failure> {
        let reader = self.shell_output(record, shell)?;
        let mut progress = begin(&reader, shell, 0)?;
        while let Some(piece) = progress.next_piece(&reader)? {
            // What was overtaken meanwhile is of an earlier screen.
            if piece.offset > progress.end() {
                progress.bytes.clear();
                progress.start = piece.offset;
            }
            progress.bytes.extend(piece.bytes);
        }
        let end = progress.end();
        Ok((progress.bytes, end))
    }
}

/// What a reading waits for.
struct Wants {
    chars_max: usize,
    idle: Option<Duration>,
    wait: Duration,
    until: Option<Regex>,
}

impl Wants {
    fn parse(request: &ReadRequest) -> Result<Wants, Failure> {
        if request.chars_max == 0 || request.chars_max > SHELL_READ_CHARS_MAX {
            return Err(invalid(format!("--max-chars {} is no bound", request.chars_max))
                .fix(format!("give a number from 1 to {SHELL_READ_CHARS_MAX}")));
        }
        let until = request.until.as_deref().map(pattern).transpose()?;
        let idle = request.idle_ms.or(until.is_none().then_some(SHELL_IDLE_MS_DEFAULT)).filter(|ms| *ms > 0);
        let is_waiting = idle.is_some() || until.is_some();
        let usual = match (&until, idle, request.idle_ms) {
            (Some(_), ..) => SHELL_UNTIL_MS_DEFAULT,
            // Quiet that was asked for is waited for.
            (None, Some(idle), Some(_)) => idle.saturating_add(SHELL_UNTIL_MS_DEFAULT),
            _ => SHELL_WAIT_MS_DEFAULT,
        };
        let wait_ms = request.wait_ms.unwrap_or(if is_waiting { usual } else { 0 });
        if wait_ms > SHELL_WAIT_MS_MAX || idle.is_some_and(|idle| idle > SHELL_WAIT_MS_MAX) {
            return Err(
                invalid("that is too long to wait").fix(format!("give {SHELL_WAIT_MS_MAX} ms at most"))
            );
        }
        // With nothing else to wait for, waiting is for the first output.
        Ok(Wants {
            chars_max: usize::try_from(request.chars_max).unwrap_or(usize::MAX),
            idle: idle.map(Duration::from_millis),
            wait: Duration::from_millis(wait_ms),
            until,
        })
    }

    /// Whether nothing more has to be waited for, time aside. A pattern is looked for beyond what can be given.
    fn are_met(&self, progress: &Progress) -> bool {
        if progress.is_cut || (self.until.is_none() && self.is_full(progress)) || self.is_matched(progress) {
            return true;
        }
        let has_some = !progress.bytes.is_empty();
        self.wait.is_zero() || (self.until.is_none() && self.idle.is_none() && has_some)
    }

    fn is_full(&self, progress: &Progress) -> bool {
        // As many bytes as characters, at least, are looked at before they are counted.
        progress.bytes.len() > self.chars_max
            && whole_chars(&progress.bytes, self.chars_max, true) < progress.bytes.len()
    }

    fn is_matched(&self, progress: &Progress) -> bool {
        self.until.as_ref().is_some_and(|until| until.is_match(&progress.plain(progress.bytes.len())))
    }
}

impl Progress {
    /// While a pattern is looked for, what is in front of the last so many characters is passed over.
    fn pass_over(&mut self, wants: &Wants) {
        let surplus = self.bytes.len().saturating_sub(wants.chars_max.saturating_mul(2));
        if wants.until.is_some() && surplus > 0 {
            let mut from = self.bytes.len() - wants.chars_max;
            while self.bytes.get(from).is_some_and(|byte| byte & 0xc0 == 0x80) {
                from += 1;
            }
            self.pass_over_bytes(from);
        }
    }

    fn pass_over_bytes(&mut self, count: usize) {
        self.bytes.drain(..count.min(self.bytes.len()));
        self.start += count as u64;
        self.passed_over += count as u64;
    }

    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    fn next_piece(&self, reader: &OutputReader) -> Result<Option<pyro_store::OutputPiece>, Failure> {
        let piece = reader.read_from(self.end(), LOG_PIECE_BYTES).map_err(|error| unreadable(&error))?;
        Ok((!piece.bytes.is_empty()).then_some(piece))
    }

    /// Takes what is there already.
    fn take_kept(&mut self, reader: &OutputReader, wants: &Wants) -> Result<(), Failure> {
        while !self.is_cut && (wants.until.is_some() || !wants.is_full(self)) {
            let Some(piece) = self.next_piece(reader)? else { return Ok(()) };
            match (piece.offset > self.end(), self.bytes.is_empty()) {
                (true, true) => self.start = piece.offset,
                (true, false) => {
                    self.is_cut = true;
                    return Ok(());
                }
                (false, _) => {}
            }
            self.bytes.extend(piece.bytes);
            if wants.is_matched(self) {
                return Ok(());
            }
            self.pass_over(wants);
        }
        Ok(())
    }

    /// Takes what comes, until nothing more is wanted or the time is over.
    async fn follow(&mut self, call: &mut crate::connection::Call<'_>, wants: &Wants) -> Result<(), Failure> {
        let deadline = Instant::now() + wants.wait;
        let mut quiet_since = Instant::now();
        loop {
            let due = match wants.idle {
                Some(idle) => deadline.min(quiet_since + idle),
                None => deadline,
            };
            let news = tokio::select! {
                news = call.next() => news,
                () = tokio::time::sleep_until(due) => return Ok(()),
            };
            match news {
                Ok(News::Data(Channel::Stdout, bytes)) => {
                    self.bytes.extend(bytes);
                    quiet_since = Instant::now();
                }
                Ok(News::Event(shim::Event::Cut { bytes, .. })) if self.bytes.is_empty() => {
                    self.start += bytes
                }
                Ok(News::Event(shim::Event::Cut { .. })) => self.is_cut = true,
                Ok(News::Reply(
                    shim::Reply::Exited(_) | shim::Reply::Refused(_) | shim::Reply::Failed(_),
                )) => {
                    self.is_ended = true;
                    return Ok(());
                }
                Ok(News::Reply(other)) => return Err(unexpected(&other)),
                Ok(News::Data(..) | News::Room | News::Event(_)) => {}
                // The VM has ended, and the shell with it.
                Err(_) => {
                    self.is_ended = true;
                    return Ok(());
                }
            }
            if wants.are_met(self) {
                return Ok(());
            }
            self.pass_over(wants);
        }
    }

    /// The first so many bytes as a person would see them.
    fn plain(&self, bytes: usize) -> String {
        plain(self.bytes.get(..bytes).unwrap_or_default(), self.size.columns, self.size.rows)
    }

    fn into_reading(
        mut self,
        wants: &Wants,
        request: &ReadRequest,
        shell: ShellInfo,
        first_available: u64,
    ) -> ShellReading {
        let is_last = self.is_ended || !matches!(shell.state, "running" | "paused") || self.is_cut;
        let matched = wants.until.as_ref().map(|_| wants.is_matched(&self));
        let taken = match wants.until {
            // Up to a pattern, the end is what counts.
            Some(_) => {
                let whole = whole_chars(&self.bytes, usize::MAX, is_last);
                let front = before_last(self.bytes.get(..whole).unwrap_or_default(), wants.chars_max);
                self.pass_over_bytes(front);
                whole - front
            }
            None => whole_chars(&self.bytes, wants.chars_max, is_last),
        };
        let output = match request.view {
            ShellView::Raw => self.bytes.get(..taken).unwrap_or_default().to_vec(),
            ShellView::Plain => self.plain(taken).into_bytes(),
            ShellView::Screen => Vec::new(),
        };
        ShellReading {
            shell,
            output,
            cursor: request.cursor,
            next_cursor: self.start + taken as u64,
            truncated: self.start > request.cursor + self.passed_over,
            passed_over: self.passed_over,
            first_available,
            matched,
            screen_cursor: None,
            execution_mode: None,
        }
    }
}

fn begin(reader: &OutputReader, shell: &ShellRecord, cursor: u64) -> Result<Progress, Failure> {
    let total = reader.total().map_err(|error| unreadable(&error))?;
    if cursor > total {
        return Err(invalid(format!("the cursor {cursor} is beyond the end of what the shell has printed"))
            .because(format!("that is {total} bytes"))
            .fix("use the next_cursor of an earlier reading of this shell, or 0"));
    }
    Ok(Progress {
        bytes: Vec::new(),
        start: cursor,
        is_ended: shell.end.is_some(),
        is_cut: false,
        passed_over: 0,
        size: TerminalSize { rows: shell.shell.rows, columns: shell.shell.columns },
    })
}

fn first_available(reader: &OutputReader) -> Result<u64, Failure> {
    reader.read_from(0, 1).map(|piece| piece.offset).map_err(|error| unreadable(&error))
}

fn pattern(text: &str) -> Result<Regex, Failure> {
    if text.len() > PATTERN_BYTES_MAX {
        return Err(
            invalid("the pattern of --until is too long").fix(format!("{PATTERN_BYTES_MAX} bytes at most"))
        );
    }
    // `^` and `$` are the ends of lines, as people expect of what they see.
    Regex::new(&format!("(?m:{text})")).map_err(|error| {
        invalid(format!("--until {text:?} is no regular expression"))
            .because(chain(&error))
            .fix("put a backslash before characters that stand for themselves, such as `\\$`")
    })
}

fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(Code::InvalidArgument, message)
}

fn unreadable(error: &std::io::Error) -> Failure {
    Failure::new(Code::StateUnusable, "what the shell has printed cannot be read")
        .because(error)
        .fix("make its files readable; other shells are not affected")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(cursor: u64) -> ReadRequest {
        ReadRequest { cursor, chars_max: 5, ..ReadRequest::default() }
    }

    fn progress(text: &str) -> Progress {
        let size = TerminalSize { rows: 5, columns: 20 };
        Progress {
            bytes: text.as_bytes().to_vec(),
            start: 0,
            is_ended: false,
            is_cut: false,
            passed_over: 0,
            size,
        }
    }

    /// What a reading waits for, and for how long, follows from what was asked for.
    #[test]
    fn waiting_is_bounded() {
        let wants = |request: &ReadRequest| {
            let wants = Wants::parse(request).unwrap();
            (wants.idle.map(|idle| idle.as_millis()), wants.wait.as_millis())
        };
        assert_eq!(wants(&request(0)), (Some(100), 1_000));
        assert_eq!(wants(&ReadRequest { idle_ms: Some(0), ..request(0) }), (None, 0));
        assert_eq!(wants(&ReadRequest { wait_ms: Some(5), idle_ms: Some(0), ..request(0) }), (None, 5));
        assert_eq!(wants(&ReadRequest { idle_ms: Some(500), ..request(0) }), (Some(500), 30_500));
        let until = ReadRequest { until: Some(r"\$ $".to_owned()), ..request(0) };
        assert_eq!(wants(&until), (None, 30_000));
        for bad in [
            ReadRequest { until: Some("(".to_owned()), ..request(0) },
            ReadRequest { chars_max: 0, ..request(0) },
            ReadRequest { wait_ms: Some(u64::MAX), ..request(0) },
        ] {
            assert_eq!(Wants::parse(&bad).err().unwrap().code, Code::InvalidArgument, "{bad:?}");
        }
    }

    /// A pattern is looked for in what a person would see, and lines have ends.
    #[test]
    fn patterns_match_what_is_seen() {
        let until = |text: &str| {
            let request = ReadRequest { until: Some(text.to_owned()), chars_max: 100, ..request(0) };
            Wants::parse(&request).unwrap()
        };
        let seen = progress("\x1b[1mroot\x1b[0m$ \r\ndone 10%\rdone 99%");
        assert!(until(r"root\$ $").is_matched(&seen));
        assert!(until("^done 99%$").is_matched(&seen));
        assert!(!until("10%").is_matched(&seen));
        let mut long = progress(&format!("{}€x", "y".repeat(1_000)));
        let wants = until("z");
        assert!(!wants.are_met(&long));
        long.pass_over(&wants);
        assert_eq!((long.bytes.len(), long.end(), long.passed_over), (100, 1_004, 904));
    }

    /// With a pattern as well, no more characters are given than were asked for: the last ones.
    #[test]
    fn a_pattern_keeps_the_bound() {
        let shell = ShellInfo {
            shell_id: String::new(),
            state: "running",
            command: String::new(),
            argv: Vec::new(),
            cwd: String::new(),
            user: None,
            cols: 20,
            rows: 5,
            started_at: String::new(),
            ended_at: None,
            exit_code: None,
        };
        let request = ReadRequest { until: Some("x".to_owned()), ..request(0) };
        let wants = Wants::parse(&request).unwrap();
        let reading = progress("abx€defg").into_reading(&wants, &request, shell, 0);
        assert_eq!(String::from_utf8(reading.output).unwrap(), "€defg");
        assert_eq!((reading.matched, reading.truncated), (Some(true), false));
        assert_eq!((reading.passed_over, reading.next_cursor), (3, 10));
    }
}
