//! The streams of a call: carried while what they belong to lives, and emptied after it.

use std::cell::RefCell;
use std::rc::Rc;

use pyro_proto::Channel;
use tokio::sync::watch;

use super::engine::CallIo;
use super::foreground::{Foreground, Way};
use super::pump::{Input, Output};
use super::stdio::Stdio;
use crate::watched::Watched;

/// Carries what goes in and comes out for as long as `life` takes, and then what had been written by its end. A host
/// that does not read holds up neither `life` nor the other output, only the end of all.
pub(super) async fn carry<T>(
    stdio: Stdio,
    io: &CallIo,
    buffer: &RefCell<Box<[u8]>>,
    makes_way_for: Option<&Foreground>,
    life: impl Future<Output = T>,
) -> T {
    let (ended, watch) = watch::channel(false);
    let Stdio { stdin, stdout, stderr, is_terminal, slave } = stdio;
    let output = |source: Rc<Watched>, channel| Output {
        source,
        is_terminal,
        stream: io.stream,
        channel,
        mailbox: &io.mailbox,
        bulk: &io.bulk,
        buffer,
        way: makes_way_for.map(|foreground| Way::new(foreground, is_terminal)),
    };
    let input =
        Input { sink: stdin, is_terminal, stream: io.stream, mailbox: &io.mailbox, control: &io.control };
    let life = async {
        let came_of_it = life.await;
        ended.send_replace(true);
        came_of_it
    };
    let out = output(stdout, Channel::Stdout).pump(watch.clone());
    let err = async {
        if let Some(stderr) = stderr {
            output(stderr, Channel::Stderr).pump(watch.clone()).await;
        }
    };
    // Life goes first: what it tells of itself comes before what it writes.
    let (came_of_it, (), (), ()) = tokio::join!(biased; life, out, err, input.pump(watch.clone()));
    drop(slave);
    came_of_it
}
