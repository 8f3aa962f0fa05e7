//! Output gathered as it comes, to be waited for.

use std::io::Read;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Everything a stream has given so far.
#[derive(Debug)]
pub(crate) struct Collector {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    gathered: Mutex<Gathered>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Gathered {
    bytes: Vec<u8>,
    ended: bool,
}

impl Collector {
    pub(crate) fn start(mut stream: impl Read + Send + 'static) -> Collector {
        let shared = Arc::new(Shared::default());
        let ours = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let mut buffer = vec![0; 256 * 1024];
            // A terminal whose other end is gone gives an error instead of an end.
            while let Ok(count) = stream.read(&mut buffer) {
                if count == 0 {
                    break;
                }
                ours.gathered.lock().unwrap().bytes.extend_from_slice(&buffer[..count]);
                ours.more.notify_all();
            }
            ours.gathered.lock().unwrap().ended = true;
            ours.more.notify_all();
        });
        Collector { shared, thread: Some(thread) }
    }

    /// Waits until the text has come; false when the stream ended, or the time did, without it.
    pub(crate) fn wait_for(&self, text: &str, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut gathered = self.shared.gathered.lock().unwrap();
        loop {
            if String::from_utf8_lossy(&gathered.bytes).contains(text) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if gathered.ended || left.is_zero() {
                return false;
            }
            gathered = self.shared.more.wait_timeout(gathered, left).unwrap().0;
        }
    }

    /// What has come so far.
    pub(crate) fn so_far(&self) -> Vec<u8> {
        self.shared.gathered.lock().unwrap().bytes.clone()
    }

    /// Waits for the stream's end and gives everything.
    pub(crate) fn whole(mut self) -> Vec<u8> {
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
        std::mem::take(&mut self.shared.gathered.lock().unwrap().bytes)
    }
}
