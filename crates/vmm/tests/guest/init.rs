//! PID 1 of the test's guest: loads the virtio modules, then answers words on the control port.
//!
//! Built by the test with `rustc` alone, as one static program.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::sync::Mutex;
use std::time::Duration;

const FINIT_MODULE: i64 = 313;
const SYNC: i64 = 162;
const POWER_OFF: i32 = 0x4321_fedc;
const RESTART: i32 = 0x0123_4567;
const MODULES: [&str; 5] = ["virtio_ring", "virtio", "virtio_mmio", "virtio_console", "virtio_blk"];

unsafe extern "C" {
    fn syscall(number: i64, ...) -> i64;
    fn mount(what: *const i8, at: *const i8, kind: *const i8, flags: u64, data: *const i8) -> i32;
    fn reboot(how: i32) -> i32;
}

fn mount_at(what: &str, at: &str, kind: &str) -> i32 {
    fs::create_dir_all(at).expect("mount point");
    let [what, at, kind] = [what, at, kind].map(|text| CString::new(text).expect("no NUL"));
    unsafe { mount(what.as_ptr().cast(), at.as_ptr().cast(), kind.as_ptr().cast(), 0, std::ptr::null()) }
}

fn load_modules() {
    for name in MODULES {
        let file = File::open(format!("/{name}.ko")).expect(name);
        let done = unsafe { syscall(FINIT_MODULE, i64::from(file.as_raw_fd()), c"".as_ptr(), 0_i64) };
        assert_eq!(done, 0, "{name}");
    }
}

fn find(directory: &str, attribute: &str, value: &str) -> Option<String> {
    let entries = fs::read_dir(directory).ok()?.flatten();
    let mut found = entries.filter(|entry| {
        fs::read_to_string(entry.path().join(attribute)).is_ok_and(|text| text.trim() == value)
    });
    Some(format!("/dev/{}", found.next()?.file_name().to_string_lossy()))
}

fn open_port(name: &str) -> File {
    loop {
        if let Some(device) = find("/sys/class/virtio-ports", "name", name) {
            return OpenOptions::new().read(true).write(true).open(device).expect("port");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What this process was told, in memory and nowhere else.
static TOLD: Mutex<String> = Mutex::new(String::new());

/// Fills so many MiB of memory, and keeps them.
fn fill(mib: &str) -> String {
    let bytes = mib.parse::<usize>().unwrap_or_default() << 20;
    Box::leak(vec![7_u8; bytes].into_boxed_slice()).len().to_string()
}

fn tell(text: &str) -> String {
    match TOLD.lock() {
        Ok(mut told) => text.clone_into(&mut *told),
        Err(error) => return error.to_string(),
    }
    "understood".to_owned()
}

/// Writes a file to the disk, as far as the disk says.
fn write(path: &str, text: &str) -> String {
    let written = fs::write(path, text);
    unsafe { syscall(SYNC) };
    written.map_or_else(|e| e.to_string(), |()| "written".to_owned())
}

fn answer(word: &str, bulk: &mut File) -> String {
    match word.split_once(' ') {
        Some(("write", text)) => return write("/mnt/kept", text),
        Some(("write-other", text)) => return write("/mnt/other", text),
        Some(("tell", text)) => return tell(text),
        Some(("fill", mib)) => return fill(mib),
        _ => {}
    }
    match word {
        "panic" => fs::write("/proc/sysrq-trigger", "c").map_or_else(|e| e.to_string(), |()| String::new()),
        "power-off" => unsafe { reboot(POWER_OFF) }.to_string(),
        "restart" => unsafe { reboot(RESTART) }.to_string(),
        "bulk" => bulk.write_all(&[7; 1 << 20]).map_or_else(|e| e.to_string(), |()| "sent".to_owned()),
        "mount" => match find("/sys/block", "serial", "scratch") {
            Some(device) => mount_at(&device, "/mnt", "ext4").to_string(),
            None => "no scratch".to_owned(),
        },
        "base" => match find("/sys/block", "serial", "base") {
            Some(device) => OpenOptions::new()
                .write(true)
                .open(device)
                .and_then(|mut file| file.write_all(&[0; 512]).and_then(|()| file.sync_all()))
                .map_or_else(|e| e.to_string(), |()| "written".to_owned()),
            None => "no base".to_owned(),
        },
        "read" => read("/mnt/kept"),
        "read-other" => read("/mnt/other"),
        "told" => TOLD.lock().map_or_else(|e| e.to_string(), |told| told.clone()),
        word => format!("echo {word}"),
    }
}

fn read(path: &str) -> String {
    // From the disk, not from what is kept of it in memory.
    let dropped = fs::write("/proc/sys/vm/drop_caches", "3");
    dropped.and_then(|()| fs::read_to_string(path)).unwrap_or_else(|e| e.to_string())
}

fn main() {
    for (kind, at) in [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev")] {
        mount_at(kind, at, kind);
    }
    load_modules();
    let (mut control, mut bulk) = (open_port("pyro.control"), open_port("pyro.bulk"));
    control.write_all(b"ready\n").expect("control");
    let mut buffer = [0; 4096];
    loop {
        let read = control.read(&mut buffer).expect("control");
        if read == 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
        for word in String::from_utf8_lossy(&buffer[..read]).lines() {
            let line = format!("{}\n", answer(word, &mut bulk));
            control.write_all(line.as_bytes()).expect("control");
        }
    }
}
