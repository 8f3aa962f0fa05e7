//! The guest's end of one virtio-serial port as an asynchronous byte stream.
//!
//! A port is opened once (a second open is EBUSY) and kept for good. A read of nothing means that the host
//! has closed its end; the event loop would report that for ever, so a port is then watched by
//! [`SerialPort::host_returned`] with pauses, and a new [`SerialStream`] made.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

use crate::limits::{HOST_RECHECK_MS_MAX, HOST_RECHECK_MS_MIN};
use crate::watched::{Watched, watch};

/// Bytes of one receive buffer of the kernel's driver: a read never gives more.
const PORT_READ_BYTES: usize = 4096;

/// An open port.
#[derive(Debug)]
pub(crate) struct SerialPort(OwnedFd);

/// A port while the host holds its end. Clones share it: one reads, one writes.
#[derive(Clone, Debug)]
pub(crate) struct SerialStream(Rc<Watched>);

impl SerialPort {
    /// Opens the port at `path`.
    pub(crate) fn open(path: &Path) -> rustix::io::Result<SerialPort> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        rustix::fs::open(path, flags, Mode::empty()).map(SerialPort)
    }

    /// A stream over the port, newly registered with the event loop.
    pub(crate) fn stream(&self) -> std::io::Result<SerialStream> {
        Ok(SerialStream(Rc::new(watch(self.0.try_clone()?, Interest::READABLE | Interest::WRITABLE)?)))
    }

    /// Waits until the host holds its end.
    pub(crate) async fn host_returned(&self) {
        let mut pause = HOST_RECHECK_MS_MIN;
        while self.is_hung_up() {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(HOST_RECHECK_MS_MAX);
        }
    }

    fn is_hung_up(&self) -> bool {
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        match rustix::event::poll(&mut fds, Some(&now)) {
            Ok(_) => fds.iter().any(|fd| fd.revents().intersects(PollFlags::HUP | PollFlags::ERR)),
            Err(_) => true,
        }
    }
}

impl AsyncRead for SerialStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        loop {
            let mut ready = ready!(self.0.poll_read_ready(cx))?;
            if let Ok(result) = ready.try_io(|fd| read_pages(fd.get_ref(), buf)) {
                return Poll::Ready(result);
            }
        }
    }
}

/// Reads page after page while they come full, so that one wake-up takes all that has arrived.
fn read_pages(fd: &OwnedFd, buf: &mut ReadBuf<'_>) -> std::io::Result<()> {
    let mut any = false;
    loop {
        match rustix::io::read(fd, buf.initialize_unfilled()) {
            Ok(count) => {
                buf.advance(count);
                any = true;
                if count < PORT_READ_BYTES || buf.remaining() < PORT_READ_BYTES {
                    return Ok(());
                }
            }
            Err(_) if any => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

impl AsyncWrite for SerialStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        loop {
            let mut ready = ready!(self.0.poll_write_ready(cx))?;
            if let Ok(result) = ready.try_io(|fd| Ok(rustix::io::write(fd.get_ref(), buf)?)) {
                return Poll::Ready(result);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn pair() -> (UnixStream, SerialPort) {
        let (host, guest) = UnixStream::pair().unwrap();
        guest.set_nonblocking(true).unwrap();
        (host, SerialPort(guest.into()))
    }

    /// One wake-up takes all the pages that have arrived, and no more than were asked for.
    #[tokio::test]
    async fn pages_are_read_together() {
        let (mut host, port) = pair();
        host.write_all(&[7; 5 * PORT_READ_BYTES]).unwrap();
        let mut stream = port.stream().unwrap();
        let mut buffer = vec![0; 3 * PORT_READ_BYTES];
        assert_eq!(stream.read(&mut buffer).await.unwrap(), 3 * PORT_READ_BYTES);
        assert_eq!(stream.read(&mut buffer).await.unwrap(), 2 * PORT_READ_BYTES);
        stream.clone().write_all(b"back").await.unwrap();
        let mut back = [0; 4];
        std::io::Read::read_exact(&mut host, &mut back).unwrap();
        assert_eq!(&back, b"back");
    }

    /// A host that closes its end is seen, and is waited for without reading.
    #[tokio::test]
    async fn a_host_that_left_is_seen() {
        let (host, port) = pair();
        port.host_returned().await;
        let mut stream = port.stream().unwrap();
        drop(host);
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
        let a_while = std::time::Duration::from_millis(60);
        assert!(tokio::time::timeout(a_while, port.host_returned()).await.is_err());
    }
}
