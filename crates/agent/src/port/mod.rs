//! The guest's end of one lane: a byte stream to the host, over whatever the machine was given.
//!
//! Both kinds keep the same promise: the stream of a host lasts until that host closes it, and goes on through a
//! fork, after which it leads to another host that knows where the first one stopped.

mod serial;
mod vsock;

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub(crate) use serial::SerialPort;
pub(crate) use vsock::VsockPort;

use serial::SerialStream;
use vsock::VsockStream;

/// One lane's way to the host.
#[derive(Debug)]
pub(crate) enum Port {
    /// A virtio-serial port.
    Serial(SerialPort),
    /// A connection of AF_VSOCK.
    Vsock(VsockPort),
}

/// A port while the host holds its end. Clones share it: one reads, one writes.
#[derive(Clone, Debug)]
pub(crate) enum PortStream {
    Serial(SerialStream),
    Vsock(VsockStream),
}

impl Port {
    /// A stream to the host that is there, or will be.
    pub(crate) fn stream(&self) -> std::io::Result<PortStream> {
        match self {
            Port::Serial(port) => Ok(PortStream::Serial(port.stream()?)),
            Port::Vsock(port) => Ok(PortStream::Vsock(port.stream())),
        }
    }

    /// Waits, after a host has closed its end, until there is reason to make a new stream.
    pub(crate) async fn host_returned(&self) {
        match self {
            Port::Serial(port) => port.host_returned().await,
            // Its streams look for the host themselves.
            Port::Vsock(_) => {}
        }
    }
}

impl AsyncRead for PortStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            PortStream::Serial(stream) => Pin::new(stream).poll_read(cx, buf),
            PortStream::Vsock(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for PortStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            PortStream::Serial(stream) => Pin::new(stream).poll_write(cx, buf),
            PortStream::Vsock(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
