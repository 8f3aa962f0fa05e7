//! What becomes of a service after one of its lives. Pure.

use std::time::Duration;

use pyro_proto::agent::{Exited, Failure, FailureKind, Outcome, Reply, Restart};

use crate::console::warn;
use crate::failure::failure;

/// One life of a service's process.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) exited: Exited,
    /// For how long it was ready, if it was.
    pub(super) ready_for: Option<Duration>,
    /// Why it was ended for not being ready.
    pub(super) unready: Option<String>,
    /// Its host has told it to stop.
    pub(super) is_called_off: bool,
}

/// What comes after it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Over(Reply),
    /// Another life; how this one ended, unless it was ended for not being ready, or did not begin.
    Again(Option<Exited>),
}

/// What comes after a life of a service that has been ready, in this one or before, or has not.
pub(super) fn next(restart: Restart, was_ready: bool, life: Result<Life, Failure>) -> Next {
    let may_fail = was_ready && restart != Restart::No;
    match life {
        Err(failure) if may_fail => {
            warn(format_args!("a service cannot be started again: {failure}"));
            Next::Again(None)
        }
        Err(failure) => Next::Over(Reply::Failed(failure)),
        Ok(life) if life.is_called_off => Next::Over(Reply::Exited(life.exited)),
        Ok(Life { unready: Some(_), .. }) if may_fail => Next::Again(None),
        Ok(Life { unready: Some(why), .. }) => Next::Over(Reply::Failed(failure(FailureKind::NotReady, why))),
        // Before it was ever ready, no policy holds: who has started it hears how it ended.
        Ok(Life { exited, .. }) if !was_ready => Next::Over(Reply::Exited(exited)),
        Ok(Life { exited, .. }) if wants_another(restart, exited.outcome) => Next::Again(Some(exited)),
        Ok(Life { exited, .. }) => Next::Over(Reply::Exited(exited)),
    }
}

fn wants_another(restart: Restart, outcome: Outcome) -> bool {
    match restart {
        Restart::No => false,
        Restart::OnFailure => outcome != Outcome::Code(0),
        Restart::Always => true,
    }
}

/// How a process ended, behind "it".
pub(super) fn how(outcome: Outcome) -> String {
    match outcome {
        Outcome::Code(code) => format!("exited with code {code}"),
        Outcome::Signal(signal) => format!("was ended by signal {signal}"),
        Outcome::OutOfMemory => "was killed for want of memory".to_owned(),
        Outcome::TimedOut => "ran out of time".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exited(outcome: Outcome) -> Exited {
        Exited { outcome, out_of_memory_kills: 0, duration_us: 1 }
    }

    fn life(outcome: Outcome) -> Life {
        Life { exited: exited(outcome), ready_for: None, unready: None, is_called_off: false }
    }

    fn failed(next: Next) -> Failure {
        match next {
            Next::Over(Reply::Failed(failure)) => failure,
            other => panic!("{other:?}"),
        }
    }

    const ALL: [Restart; 3] = [Restart::No, Restart::OnFailure, Restart::Always];

    /// Policies say who is started again after an end by itself.
    #[test]
    fn policies_decide() {
        for (outcome, again) in [
            (Outcome::Code(0), [false, false, true]),
            (Outcome::Code(3), [false, true, true]),
            (Outcome::Signal(9), [false, true, true]),
            (Outcome::OutOfMemory, [false, true, true]),
        ] {
            for (restart, again) in ALL.into_iter().zip(again) {
                let expected = match again {
                    true => Next::Again(Some(exited(outcome))),
                    false => Next::Over(Reply::Exited(exited(outcome))),
                };
                assert_eq!(next(restart, true, Ok(life(outcome))), expected, "{restart:?} {outcome:?}");
            }
        }
    }

    /// What its host has called off is over, whatever else is true of it.
    #[test]
    fn called_off_is_over() {
        for (restart, was_ready) in ALL.into_iter().flat_map(|restart| [(restart, true), (restart, false)]) {
            let unready = Some("late".to_owned());
            let life = Life { unready, is_called_off: true, ..life(Outcome::Signal(15)) };
            assert_eq!(
                next(restart, was_ready, Ok(life)),
                Next::Over(Reply::Exited(exited(Outcome::Signal(15))))
            );
        }
    }

    /// What has never been ready is not tried again; what has been is, if its policy allows failures.
    #[test]
    fn the_first_readiness_counts() {
        let late = || Ok(Life { unready: Some("late".to_owned()), ..life(Outcome::Signal(15)) });
        let missing = || Err(failure(FailureKind::CommandNotFound, "gone"));
        for restart in ALL {
            assert_eq!(failed(next(restart, false, late())).kind, FailureKind::NotReady);
            assert_eq!(failed(next(restart, false, missing())).kind, FailureKind::CommandNotFound);
            let early = next(restart, false, Ok(life(Outcome::Code(3))));
            assert_eq!(early, Next::Over(Reply::Exited(exited(Outcome::Code(3)))));
        }
        for restart in [Restart::OnFailure, Restart::Always] {
            assert_eq!(next(restart, true, late()), Next::Again(None));
            assert_eq!(next(restart, true, missing()), Next::Again(None));
        }
        assert_eq!(failed(next(Restart::No, true, missing())).kind, FailureKind::CommandNotFound);
    }
}
