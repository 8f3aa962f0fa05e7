//! The suite cannot say a token, and the server answers nobody without: requests come in here, and go on with it. Nothing
//! else of them is changed, whom they are for and where they come from least of all.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, spawn};

/// A head that is longer is none.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// An address that leads nowhere yet.
#[derive(Debug)]
pub(super) struct Door(TcpListener);

/// One that leads to the server, until dropped.
#[derive(Debug)]
pub(super) struct OpenDoor {
    address: SocketAddr,
    is_closed: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Door {
    pub(super) fn new() -> Door {
        Door(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// Leads to a server that wants a token.
    pub(super) fn open(self, server: SocketAddr, token: &str) -> OpenDoor {
        let address = self.address();
        let is_closed = Arc::new(AtomicBool::new(false));
        let (closed, token) = (Arc::clone(&is_closed), token.to_owned());
        let accepting = spawn(move || {
            for client in self.0.incoming() {
                if closed.load(Ordering::Relaxed) {
                    return;
                }
                let token = token.clone();
                // Who goes away half-way through is none of our business.
                spawn(move || client.and_then(|client| lead(client, server, &token)));
            }
        });
        OpenDoor { address, is_closed, accepting: Some(accepting) }
    }
}

impl Drop for OpenDoor {
    fn drop(&mut self) {
        self.is_closed.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
        let _ = self.accepting.take().map(JoinHandle::join);
    }
}

/// One request a connection, so that there is one head to look at.
fn lead(mut client: TcpStream, server: SocketAddr, token: &str) -> io::Result<()> {
    let (head, rest) = head(&mut client)?;
    let mut request = String::new();
    for line in head.lines().filter(|line| !line.to_ascii_lowercase().starts_with("connection:")) {
        request.push_str(&format!("{line}\r\n"));
    }
    request.push_str(&format!("Connection: close\r\nAuthorization: Bearer {token}\r\n\r\n"));
    let mut server = TcpStream::connect(server)?;
    server.write_all(request.as_bytes())?;
    server.write_all(&rest)?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    spawn(move || {
        let _ = io::copy(&mut from_client, &mut to_server);
        // A client that has gone calls its request off.
        let _ = to_server.shutdown(Shutdown::Both);
    });
    let _ = io::copy(&mut server, &mut client);
    client.shutdown(Shutdown::Both)
}

/// The head of a request, and what has come behind it.
fn head(client: &mut TcpStream) -> io::Result<(String, Vec<u8>)> {
    let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let count = client.read(&mut piece)?;
        bytes.extend_from_slice(&piece[..count]);
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            bytes.truncate(end);
            let head = String::from_utf8(bytes).map_err(|_| io::ErrorKind::InvalidData)?;
            return Ok((head, rest));
        }
        if count == 0 || bytes.len() > HEAD_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}
