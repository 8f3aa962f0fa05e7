//! A terminal with somebody at it: a pty pair, the client on one end, the test on the other.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus};
use std::time::Instant;

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use super::collector::Collector;
use super::{Call, HANG_SECONDS_MAX, wait_until};

/// A client on a terminal.
#[derive(Debug)]
pub(crate) struct Terminal {
    master: File,
    slave: Option<OwnedFd>,
    child: Child,
    screen: Option<Collector>,
}

impl Terminal {
    /// Starts the call with all three standard streams on a new terminal that is its controlling one.
    pub(crate) fn start(call: Call, columns: u16, rows: u16) -> Terminal {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave = rustix::fs::open(&name, flags, Mode::empty()).unwrap();
        tcsetwinsize(&master, size(columns, rows)).unwrap();
        let stream = || slave.try_clone().unwrap();
        // setsid(1) makes the terminal the controlling one, and becomes the program.
        let mut command = on_its_terminal(call.into_command());
        let child = command.stdin(stream()).stdout(stream()).stderr(stream()).spawn().unwrap();
        let master = File::from(master);
        let screen = Some(Collector::start(master.try_clone().unwrap()));
        Terminal { master, slave: Some(slave), child, screen }
    }

    /// Types.
    pub(crate) fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Makes the window another size; the client gets its signal from the kernel.
    pub(crate) fn resize(&self, columns: u16, rows: u16) {
        tcsetwinsize(&self.master, size(columns, rows)).unwrap();
    }

    /// Waits until text is on the screen.
    pub(crate) fn wait_for(&self, text: &str) {
        let screen = self.screen.as_ref().unwrap();
        assert!(screen.wait_for(text, HANG_SECONDS_MAX), "{text:?} never came: {:?}", self.shown());
    }

    /// Whether keys go to the program as they are.
    pub(crate) fn is_raw(&self) -> bool {
        let modes = tcgetattr(self.slave.as_ref().unwrap()).unwrap().local_modes;
        !modes.intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    /// Waits until keys go to the program as they are.
    pub(crate) fn wait_until_raw(&self) {
        wait_until("the terminal is in raw mode", || self.is_raw());
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn shown(&self) -> String {
        String::from_utf8_lossy(&self.screen.as_ref().unwrap().so_far()).into_owned()
    }

    /// Waits for the client's end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + HANG_SECONDS_MAX;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the client hangs: {:?}", self.shown());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// Waits for the client's end and gives everything that was shown.
    pub(crate) fn finish(mut self) -> (ExitStatus, String) {
        let status = self.wait();
        self.slave = None;
        let shown = self.screen.take().unwrap().whole();
        (status, String::from_utf8_lossy(&shown).into_owned())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn on_its_terminal(command: Command) -> Command {
    let mut setsid = Command::new("setsid");
    setsid.arg("--ctty").arg("--wait").arg(command.get_program()).args(command.get_args());
    setsid.env_clear();
    setsid.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    setsid
}

fn size(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 }
}
