//! How far a call is, told to a client that asked: now and then, always onward, and never after the answer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pyro::{Notice, Progress, PullPhase, PullProgress};
use rmcp::RoleServer;
use rmcp::model::{ProgressNotification, ProgressNotificationParam, ServerNotification};
use rmcp::service::RequestContext;
use tokio::time::{sleep, timeout};

use crate::answer::boundary_before;
use crate::limits::{PROGRESS_INTERVAL, PROGRESS_SEND_MAX, PROGRESS_SILENCE_MAX, PROGRESS_TEXT_BYTES_MAX};

/// Where work says how far it is. Cheap, and never waits.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Grows with everything that is said.
    said: u64,
    text: String,
    /// Bytes on their way, where there are some.
    bytes: Option<Progress>,
}

impl Report {
    /// Something else is done now.
    pub(crate) fn say(&self, text: impl Into<String>) {
        self.with(|state| {
            state.said += 1;
            state.text = text.into();
        });
    }

    /// What a VM that is brought up has to tell.
    pub(crate) fn notice(&self, notice: Notice<'_>) {
        match notice {
            Notice::MakingTemplate => self.say("first use of this shape: booting it once"),
            Notice::Starting { .. } => self.say("starting a VM"),
            Notice::Seeding => self.say("seeding /workspace"),
            Notice::ServiceFailed { name, failure } => {
                self.say(format!("the service {name} failed: {failure}"))
            }
        }
    }

    /// A command wrote this: its last line is worth showing.
    pub(crate) fn output(&self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        if let Some(line) = text.lines().rev().find(|line| !line.trim().is_empty()) {
            self.say(line.trim_end());
        }
    }

    /// From now on bytes are counted.
    pub(crate) fn count(&self, progress: &Progress) {
        self.with(|state| state.bytes = Some(progress.clone()));
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What there is to say now, and a number that tells whether it is news.
    fn look(&self) -> (u64, String) {
        self.with(|state| {
            let Some(bytes) = &state.bytes else { return (state.said, state.text.clone()) };
            let (done, total) = (bytes.done(), bytes.total());
            let text = match total {
                0 => format!("{}: {done} bytes", state.text),
                _ => format!("{}: {done} of {total} bytes", state.text),
            };
            (state.said + done, text)
        })
    }
}

impl PullProgress for Report {
    fn phase(&self, phase: PullPhase) {
        self.say(match phase {
            PullPhase::Wait => "waiting for another pull",
            PullPhase::Install => "installing the environment",
            PullPhase::Packages => "downloading and unpacking packages",
            PullPhase::Kernel => "unpacking the kernel",
            PullPhase::Image => "writing the root image",
            PullPhase::Verify => "checking the environment",
            PullPhase::Ready => "the environment is ready",
        });
    }

    fn advance(&self, done: u64, total: Option<u64>) {
        self.with(|state| {
            state.said += 1;
            let name = state.text.split(':').next().unwrap_or_default().to_owned();
            state.text = match total {
                Some(total) => format!("{name}: {done} of {total}"),
                None => format!("{name}: {done}"),
            };
        });
    }

    fn note(&self, _: &str) {}
}

/// Waits for work while telling its client how far it is.
pub(crate) async fn while_telling<T>(
    work: impl Future<Output = T>,
    report: &Report,
    context: &RequestContext<RoleServer>,
) -> T {
    let Some(token) = context.meta.get_progress_token() else { return work.await };
    tokio::pin!(work);
    let begun = Instant::now();
    let (mut told, mut told_at) = (0, begun);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = sleep(PROGRESS_INTERVAL) => {}
        }
        let (news, text) = report.look();
        if news == told && told_at.elapsed() < PROGRESS_SILENCE_MAX {
            continue;
        }
        (told, told_at) = (news, Instant::now());
        let elapsed = begun.elapsed();
        let notification = ProgressNotification::new(
            ProgressNotificationParam::new(token.clone(), elapsed.as_secs_f64())
                .with_message(message(&text, elapsed)),
        );
        let sending = context.peer.send_notification(ServerNotification::ProgressNotification(notification));
        tokio::pin!(sending);
        tokio::select! {
            _ = &mut sending => {}
            done = &mut work => {
                // Behind the answer it would be an error of ours.
                let _ = timeout(PROGRESS_SEND_MAX, sending).await;
                return done;
            }
        }
    }
}

fn message(text: &str, elapsed: Duration) -> String {
    let end = boundary_before(text, PROGRESS_TEXT_BYTES_MAX);
    let shown: String =
        text.get(..end).unwrap_or_default().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match shown.trim() {
        "" => format!("{} s", elapsed.as_secs()),
        shown => format!("{} s: {shown}", elapsed.as_secs()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told is short, printable, and news only when it is.
    #[test]
    fn reports_are_news() {
        let report = Report::default();
        let (before, _) = report.look();
        report.output(b"compiling\n\x1b[1mlinking\x1b[0m\n\n");
        let (after, text) = report.look();
        assert!(after > before);
        assert_eq!(message(&text, Duration::from_secs(7)), "7 s: [1mlinking [0m");
        assert_eq!(report.look().0, after, "looking is no news");
        assert!(message(&"ä".repeat(500), Duration::ZERO).len() < 250);
        assert_eq!(message("", Duration::from_secs(3)), "3 s");
    }
}
