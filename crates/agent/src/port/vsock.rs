//! The guest's end of one vsock connection as an asynchronous byte stream.
//!
//! The guest connects, to a port that follows from its context id. A fork breaks every connection of its template
//! (the device says so, and the kernel resets them) and gives the guest another id; the stream then connects to the
//! new host and goes on as if nothing had been: both sides are silent while a guest is saved, so that nothing is lost
//! between the two. A host that closes its end is the end of its stream, and no other follows while the id stays: who listens
//! at its port by then is somebody else.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use pyro_channel::WRITE_BYTES_MAX;
use pyro_proto::Lane;
use pyro_vsock::{Address, Cid, HOST_CID, OwnCid, connect};
use rustix::io::Errno;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

use crate::limits::{HOST_RECHECK_MS_MAX, HOST_RECHECK_MS_MIN};
use crate::watched::{Watched, watch};

/// A way to a host: it is looked for until it is there.
type Connecting = Pin<Box<dyn Future<Output = Watched>>>;

/// Connects to this guest's host, whichever it is.
pub(crate) struct VsockPort(Rc<dyn Fn() -> Connecting>);

/// A connection, renewed after each fork. Clones share it: one reads, one writes. It is the reader that connects.
#[derive(Clone, Debug)]
pub(crate) struct VsockStream(Rc<Shared>);

struct Shared {
    connect: Rc<dyn Fn() -> Connecting>,
    state: RefCell<State>,
    /// Waits for the connection to write to it.
    writer: RefCell<Option<Waker>>,
}

enum State {
    Connecting(Connecting),
    Connected {
        socket: Rc<Watched>,
        /// Ends when the connection is broken, which a reader is not woken by.
        broken: Pin<Box<dyn Future<Output = ()>>>,
    },
}

impl VsockPort {
    /// For one of the lanes.
    pub(crate) fn new(lane: Lane, own: Rc<OwnCid>) -> VsockPort {
        let met = Rc::new(Cell::new(None));
        VsockPort(Rc::new(move || Box::pin(host(lane, Rc::clone(&own), Rc::clone(&met)))))
    }

    /// A stream to the next host.
    pub(super) fn stream(&self) -> VsockStream {
        let connect = Rc::clone(&self.0);
        let state = RefCell::new(State::Connecting(connect()));
        VsockStream(Rc::new(Shared { connect, state, writer: RefCell::default() }))
    }
}

impl fmt::Debug for VsockPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VsockPort").finish_non_exhaustive()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    fn poll_connected(&self, cx: &mut Context<'_>) -> Poll<Rc<Watched>> {
        let mut state = self.state.borrow_mut();
        let socket = match &mut *state {
            State::Connected { socket, .. } => return Poll::Ready(Rc::clone(socket)),
            State::Connecting(connecting) => Rc::new(ready!(connecting.as_mut().poll(cx))),
        };
        *state =
            State::Connected { socket: Rc::clone(&socket), broken: Box::pin(broken(Rc::clone(&socket))) };
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
        Poll::Ready(socket)
    }

    /// Whether the connection is broken; who asks hears of it when it breaks later.
    fn poll_broken(&self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut *self.state.borrow_mut() {
            State::Connected { broken, .. } => broken.as_mut().poll(cx),
            State::Connecting(_) => Poll::Pending,
        }
    }

    fn reconnect(&self) {
        self.state.replace(State::Connecting((self.connect)()));
    }

    fn connected(&self) -> Option<Rc<Watched>> {
        match &*self.state.borrow() {
            State::Connected { socket, .. } => Some(Rc::clone(socket)),
            State::Connecting(_) => None,
        }
    }
}

impl AsyncRead for VsockStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let socket = ready!(self.0.poll_connected(cx));
            let Poll::Ready(ready) = socket.poll_read_ready(cx) else {
                ready!(self.0.poll_broken(cx));
                self.0.reconnect();
                continue;
            };
            let mut ready = ready?;
            match ready.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), buf.initialize_unfilled())?)) {
                Ok(Ok(count)) => {
                    buf.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(error)) if is_reset(&error) => self.0.reconnect(),
                Ok(Err(error)) if error.kind() != io::ErrorKind::Interrupted => {
                    return Poll::Ready(Err(error));
                }
                Ok(Err(_)) | Err(_) => {} // interrupted, or not ready after all
            }
        }
    }
}

impl AsyncWrite for VsockStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        while let Some(socket) = self.0.connected() {
            let mut ready = ready!(socket.poll_write_ready(cx))?;
            let piece = buf.chunks(WRITE_BYTES_MAX).next().unwrap_or_default();
            match ready.try_io(|fd| Ok(rustix::io::write(fd.get_ref(), piece)?)) {
                // The reader hears of it too.
                Ok(Err(error)) if is_reset(&error) => break,
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(written) => return Poll::Ready(written),
                Err(_) => {} // not ready after all
            }
        }
        self.0.writer.replace(Some(cx.waker().clone()));
        Poll::Pending
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Whether a connection was broken by the device, which is what a fork does. A host that closes its end leaves an end of
/// file instead.
fn is_reset(error: &io::Error) -> bool {
    let resets = [Errno::CONNRESET, Errno::NOTCONN].map(Errno::raw_os_error);
    error.raw_os_error().is_some_and(|errno| resets.contains(&errno))
}

async fn broken(socket: Rc<Watched>) {
    // An event loop that fails does so for the reader too.
    let _ = socket.ready(Interest::ERROR).await;
}

/// Waits for a host that this guest has not `met` yet: each has given it another id.
async fn host(lane: Lane, own: Rc<OwnCid>, met: Rc<Cell<Option<Cid>>>) -> Watched {
    let mut pause = HOST_RECHECK_MS_MIN;
    loop {
        match try_host(lane, &own, &met).await {
            Ok(socket) => return socket,
            // It is not there yet, or this guest is just becoming another one.
            Err(_) => tokio::time::sleep(pause).await,
        }
        pause = (pause * 2).min(HOST_RECHECK_MS_MAX);
    }
}

/// The id by which to look for a host; `met` was that of the last one.
fn unmet(own: u32, met: Option<Cid>) -> io::Result<Cid> {
    let cid = Cid::new(own).filter(|cid| Some(*cid) != met);
    cid.ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

async fn try_host(lane: Lane, own: &OwnCid, met: &Cell<Option<Cid>>) -> io::Result<Watched> {
    let cid = unmet(own.get()?, met.get())?;
    let port = match lane {
        Lane::Control => cid.control_port(),
        Lane::Bulk => cid.bulk_port(),
    };
    let socket = connect(Address { cid: HOST_CID, port })?;
    let socket = watch(socket, Interest::READABLE | Interest::WRITABLE)?;
    socket.writable().await?.retain_ready();
    rustix::net::sockopt::socket_error(socket.get_ref())??;
    met.set(Some(cid));
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::mpsc;
    use tokio::time::timeout;

    /// A port whose hosts are the far ends of pairs of sockets that the test hands out, one after the other.
    fn port() -> (mpsc::UnboundedSender<UnixStream>, VsockPort) {
        let (sender, hosts) = mpsc::unbounded_channel::<UnixStream>();
        let hosts = Rc::new(tokio::sync::Mutex::new(hosts));
        let connect = move || -> Connecting {
            let hosts = Rc::clone(&hosts);
            Box::pin(async move {
                let host = hosts.lock().await.recv().await.unwrap();
                watch(OwnedFd::from(host), Interest::READABLE | Interest::WRITABLE).unwrap()
            })
        };
        (sender, VsockPort(Rc::new(connect)))
    }

    fn pair() -> (UnixStream, UnixStream) {
        let (host, guest) = UnixStream::pair().unwrap();
        guest.set_nonblocking(true).unwrap();
        (host, guest)
    }

    /// A stream goes on with the next host where the last one was cut off, for reader and writer, as often as the guest
    /// is forked.
    #[tokio::test]
    async fn a_reset_connection_is_renewed() {
        let (hosts, port) = port();
        let mut reader = port.stream();
        let mut writer = reader.clone();
        // Nobody to write to yet: the writer waits for the reader to connect.
        assert!(timeout(Duration::from_millis(20), writer.write_all(b"early")).await.is_err());
        let mut old = None;
        for round in 0..3 {
            let (mut host, guest) = pair();
            host.write_all(b"hello").unwrap();
            hosts.send(guest).unwrap();
            // The kernel resets what it closes before it was read.
            drop(old.take());
            let mut heard = [0; 5];
            let (read, written) = tokio::join!(reader.read_exact(&mut heard), async {
                // Until it has read, the writer may still hold the connection that is gone.
                tokio::time::sleep(Duration::from_millis(20)).await;
                writer.write_all(b"again").await
            });
            read.unwrap();
            written.unwrap();
            assert_eq!(&heard, b"hello", "round {round}");
            host.read_exact(&mut heard).unwrap();
            assert_eq!(&heard, b"again", "round {round}");
            let packet = writer.write(&[7; 3 * WRITE_BYTES_MAX]).await.unwrap();
            assert!(packet <= WRITE_BYTES_MAX, "{packet}");
            writer.write_all(b"unread").await.unwrap();
            old = Some(host);
        }
    }

    /// A connection that breaks without anything to read is noticed all the same, as a vsock one does: the end of a pipe
    /// that is written to has the same events when its other end is closed.
    #[tokio::test]
    async fn a_connection_that_only_breaks_is_renewed() {
        let (hosts, port) = port();
        let (reads, writes) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).unwrap();
        hosts.send(UnixStream::from(writes)).unwrap();
        let mut stream = port.stream();
        let mut heard = [0; 3];
        assert!(timeout(Duration::from_millis(20), stream.read_exact(&mut heard)).await.is_err());
        let (mut host, guest) = pair();
        hosts.send(guest).unwrap();
        host.write_all(b"new").unwrap();
        drop(reads);
        timeout(Duration::from_secs(10), stream.read_exact(&mut heard)).await.unwrap().unwrap();
        assert_eq!(&heard, b"new");
    }

    /// A host is met once: at its port somebody else may listen when it is gone.
    #[test]
    fn a_host_is_met_once() {
        let [one, two] = [Cid::new(0x1_0000), Cid::new(0x1_0002)];
        let looks_for = |own: u32, met| unmet(own, met).ok();
        assert_eq!(looks_for(0x1_0000, None), one);
        assert_eq!(looks_for(0x1_0000, one), None);
        assert_eq!(looks_for(0x1_0002, one), two);
        assert_eq!(
            (looks_for(u32::MAX, one), looks_for(3, None)),
            (None, None),
            "no guest of ours has such an id"
        );
    }

    /// A host that closes its end ends the stream; the port has another one.
    #[tokio::test]
    async fn a_host_that_leaves_ends_its_stream() {
        let (hosts, port) = port();
        for word in [b"one", b"two"] {
            let (mut host, guest) = pair();
            hosts.send(guest).unwrap();
            host.write_all(word).unwrap();
            drop(host);
            let (mut stream, mut heard) = (port.stream(), Vec::new());
            stream.read_to_end(&mut heard).await.unwrap();
            assert_eq!(heard, word);
            let refused = stream.write_all(b"x").await.unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::BrokenPipe);
        }
    }
}
