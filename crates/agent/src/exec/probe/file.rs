//! A file as a sign of readiness: one that was made or changed since the service was started, so that what an earlier
//! run has left is no sign. It is looked for on a thread of its own: a path may lead into a filesystem that never
//! answers, and then nothing but that thread waits.

use rustix::fs::{Stat, Timespec};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::oneshot;

type Answer = Result<Stamp, Errno>;

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    changed: (i64, i64),
}

/// How things stood just before a start.
#[derive(Clone, Copy, Debug, Default)]
struct Before {
    /// The file, if it was there.
    file: Option<Stamp>,
    /// The time, by the clock that files are stamped with.
    time: Option<(i64, i64)>,
}

/// The question that is under way: one at a time, and so one thread at a time.
#[derive(Debug, Default)]
pub(super) struct FileProbe {
    asked: Option<oneshot::Receiver<Answer>>,
    is_stale: bool,
    before: Before,
}

impl FileProbe {
    /// The answer to a question that is still under way is of no interest any more.
    pub(super) fn begin_anew(&mut self) {
        self.is_stale = self.asked.is_some();
    }

    /// Takes note of what is there, of which nothing has been made by who is about to be started.
    pub(super) async fn look_before(&mut self, path: &[u8]) {
        self.begin_anew();
        // If whoever is asked does not answer, the time alone tells.
        self.before = Before { file: None, time: Some(pair(clock_gettime(ClockId::RealtimeCoarse))) };
        self.before.file = self.stamp(path).await.ok();
        self.before.time = Some(pair(clock_gettime(ClockId::RealtimeCoarse)));
    }

    /// Whether the file is there, made or changed since [`Self::look_before`]; `None` for one that is as it was.
    pub(super) async fn appeared(&mut self, path: &[u8]) -> Result<Option<()>, Errno> {
        let stamp = self.stamp(path).await?;
        Ok(self.before.is_outdated_by(stamp).then_some(()))
    }

    /// A question that was given up is not asked a second time before it has its answer.
    async fn stamp(&mut self, path: &[u8]) -> Answer {
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

impl Before {
    /// Another file, or another state of it. In the tick in which the service was started files have the same time
    /// whether they were changed before or after: those are taken for new. Times alone would not do, since a guest's clock
    /// is set.
    fn is_outdated_by(&self, stamp: Stamp) -> bool {
        self.file != Some(stamp) || self.time.is_some_and(|time| stamp.changed >= time)
    }
}

impl From<Stat> for Stamp {
    fn from(stat: Stat) -> Stamp {
        let changed = (stat.st_ctime, i64::try_from(stat.st_ctime_nsec).unwrap_or_default());
        Stamp { device: stat.st_dev, inode: stat.st_ino, changed }
    }
}

fn pair(time: Timespec) -> (i64, i64) {
    (time.tv_sec, time.tv_nsec)
}

fn ask(path: Vec<u8>) -> Result<oneshot::Receiver<Answer>, Errno> {
    let (answer, asked) = oneshot::channel();
    let spawned = std::thread::Builder::new().name("probe".to_owned()).spawn(move || {
        // Nobody may be left who wants to know.
        let _ = answer.send(rustix::fs::stat(path).map(Stamp::from));
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
        let mut probe = FileProbe { asked: Some(asked), ..FileProbe::default() };
        for _ in 0..3 {
            assert!(tokio::time::timeout(SOON, probe.appeared(b"/nonexistent")).await.is_err());
            probe.begin_anew();
        }
        assert!(!answer.is_closed(), "another question was asked");
        answer.send(Err(Errno::IO)).unwrap();
        assert_eq!(probe.appeared(b"/nonexistent").await, Err(Errno::NOENT));
        assert_eq!(probe.appeared(b"/").await, Ok(Some(())));
    }

    /// What was there before counts only once it has been touched, written or replaced; so does what comes.
    #[tokio::test]
    async fn what_was_there_is_no_sign() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ready");
        let name = path.as_os_str().as_encoded_bytes();
        let touch = || std::fs::write(&path, "").unwrap();
        let replace = || {
            std::fs::write(directory.path().join("new"), "").unwrap();
            std::fs::rename(directory.path().join("new"), &path).unwrap();
        };
        touch();
        let changes: [&dyn Fn(); 2] = [&touch, &replace];
        for change in changes {
            // More than the clock of files takes for a tick.
            std::thread::sleep(SOON);
            let mut probe = FileProbe::default();
            probe.look_before(name).await;
            assert_eq!(probe.appeared(name).await, Ok(None));
            change();
            assert_eq!(probe.appeared(name).await, Ok(Some(())));
        }
        std::fs::remove_file(&path).unwrap();
        let mut probe = FileProbe::default();
        probe.look_before(name).await;
        assert_eq!(probe.appeared(name).await, Err(Errno::NOENT));
        touch();
        assert_eq!(probe.appeared(name).await, Ok(Some(())));
    }

    /// A clock that was set back does not make a new file an old one.
    #[test]
    fn clocks_may_jump() {
        let old = Stamp { device: 1, inode: 2, changed: (1_000, 5) };
        let before = Before { file: Some(old), time: Some((2_000, 0)) };
        assert!(!before.is_outdated_by(old));
        for new in [Stamp { changed: (500, 0), ..old }, Stamp { inode: 3, ..old }] {
            assert!(before.is_outdated_by(new), "{new:?}");
        }
        let now = Stamp { changed: (2_000, 0), ..old };
        assert!(Before { file: Some(now), time: Some((2_000, 0)) }.is_outdated_by(now));
    }
}
