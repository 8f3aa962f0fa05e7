//! A file as a sign of readiness. It is looked for on a thread of its own: a path may lead into a filesystem that never
//! answers, and then nothing but that thread waits.

use rustix::io::Errno;
use tokio::sync::oneshot;

type Answer = Result<(), Errno>;

/// The question that is under way: one at a time, and so one thread at a time.
#[derive(Debug, Default)]
pub(super) struct FileProbe {
    asked: Option<oneshot::Receiver<Answer>>,
    is_stale: bool,
}

impl FileProbe {
    /// The answer to a question that is still under way is of no interest any more.
    pub(super) fn begin_anew(&mut self) {
        self.is_stale = self.asked.is_some();
    }

    /// Whether the file is there. A question that was given up is not asked a second time before it has its answer.
    pub(super) async fn exists(&mut self, path: &[u8]) -> Answer {
        if self.is_stale {
            let _ = self.answer(path).await;
            // Not before: whoever gives up on it has not had its answer.
            self.is_stale = false;
        }
        self.answer(path).await
    }

    async fn answer(&mut self, path: &[u8]) -> Answer {
        let asked = match &mut self.asked {
            Some(asked) => asked,
            none => none.insert(ask(path.to_vec())?),
        };
        let answer = asked.await;
        self.asked = None;
        answer.unwrap_or(Err(Errno::IO))
    }
}

fn ask(path: Vec<u8>) -> Result<oneshot::Receiver<Answer>, Errno> {
    let (answer, asked) = oneshot::channel();
    let spawned = std::thread::Builder::new().name("probe".to_owned()).spawn(move || {
        // Nobody may be left who wants to know.
        let _ = answer.send(rustix::fs::stat(path).map(drop));
    });
    spawned.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::AGAIN))?;
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const SOON: Duration = Duration::from_millis(20);

    /// A filesystem that does not answer costs one thread, however often it is asked, and what it says late to an
    /// earlier question is not taken for the answer to a later one.
    #[tokio::test]
    async fn one_question_at_a_time() {
        let (answer, asked) = oneshot::channel();
        let mut probe = FileProbe { asked: Some(asked), is_stale: false };
        for _ in 0..3 {
            assert!(tokio::time::timeout(SOON, probe.exists(b"/nonexistent")).await.is_err());
            probe.begin_anew();
        }
        assert!(!answer.is_closed(), "another question was asked");
        answer.send(Ok(())).unwrap();
        assert_eq!(probe.exists(b"/nonexistent").await, Err(Errno::NOENT));
        assert_eq!(probe.exists(b"/").await, Ok(()));
    }
}
