//! The jail as its inmate and its keeper see it.
//!
//! The test program starts itself once more, confined; the confined one tries what it must not do and prints
//! how each try went, while the other one looks at it through /proc.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test program, half of which reports to the other half"
)]

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pyro_jail::{Access, Answer, Grant, Jail, Limits, Namespaces, RunAs, Spec, Support};
use rustix::process::{Pid, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets, UnshareFlags};

/// Tells the program that it is the confined one, and what it was given.
const ROLE: &str = "JAIL_TABLE_INMATE";
const UID: u32 = 60_123;
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What the inmate was given: paths to try.
struct Given {
    readable: PathBuf,
    own: PathBuf,
    writable: PathBuf,
    answered: PathBuf,
    forbidden: PathBuf,
    port: u16,
    keeper: i32,
}

impl Given {
    fn to_role(&self) -> String {
        let paths = [&self.readable, &self.own, &self.writable, &self.answered, &self.forbidden];
        let paths: Vec<_> = paths.iter().map(|path| path.to_str().unwrap()).collect();
        format!("{}|{}|{}", paths.join("|"), self.port, self.keeper)
    }

    fn from_role(role: &str) -> Self {
        let parts: Vec<_> = role.split('|').collect();
        Self {
            readable: parts[0].into(),
            own: parts[1].into(),
            writable: parts[2].into(),
            answered: parts[3].into(),
            forbidden: parts[4].into(),
            port: parts[5].parse().unwrap(),
            keeper: parts[6].parse().unwrap(),
        }
    }
}

/// Prints one line for each act: its name, and `ok` or the error's number.
fn try_everything(given: &Given) {
    let read_write = |path: &Path| OpenOptions::new().read(true).write(true).open(path);
    let act = |name: &str, result: io::Result<()>| {
        let outcome =
            result.map_or_else(|e| e.raw_os_error().unwrap_or(-1).to_string(), |()| "ok".to_owned());
        println!("\nact {name} {outcome}");
    };
    act("read a granted file", File::open(&given.readable).map(drop));
    act("write a file granted for reading", OpenOptions::new().append(true).open(&given.readable).map(drop));
    act("write a granted file", read_write(&given.writable).and_then(|f| f.write_all_at(b"x", 0)));
    act(
        "write past the file limit",
        read_write(&given.writable).and_then(|f| f.write_all_at(b"x", FILE_BYTES_MAX)),
    );
    act("open an answered file for writing", read_write(&given.answered).map(drop));
    act("write an answered file", read_write(&given.answered).and_then(|f| f.write_all_at(b"x", 0)));
    act("read /etc/passwd", File::open("/etc/passwd").map(drop));
    act("read another's memory", File::open(format!("/proc/{}/mem", given.keeper)).map(drop));
    act("list a directory", fs::read_dir("/tmp").map(drop));
    act("create a file", File::create(&given.forbidden).map(drop));
    act("remove a file", fs::remove_file(&given.readable));
    for path in [&given.own, &given.readable] {
        let name = if path == &given.own { "one's own" } else { "a granted" };
        try_to_change(path, |what, result| act(&format!("{what} {name} file"), result));
    }
    act("make a file writable", fs::set_permissions(&given.readable, fs::Permissions::from_mode(0o777)));
    act("connect over TCP", std::net::TcpStream::connect(("127.0.0.1", given.port)).map(drop));
    act("make a UNIX socket", std::os::unix::net::UnixDatagram::unbound().map(drop));
    act("execute a program", Command::new("/bin/true").status().map(drop));
    act("become root", rustix::thread::set_thread_uid(Uid::ROOT).map_err(Into::into));
    let all = CapabilitySet::all();
    let sets = CapabilitySets { effective: all, permitted: all, inheritable: all };
    act("take capabilities", rustix::thread::set_capabilities(None, sets).map_err(Into::into));
    let keeper = Pid::from_raw(given.keeper).unwrap();
    act("signal another process", rustix::process::test_kill_process(keeper).map_err(Into::into));
    #[allow(deprecated, reason = "the flags open nothing that could be left inconsistent")]
    let unshared = rustix::thread::unshare(UnshareFlags::NEWUSER);
    act("make a user namespace", unshared.map_err(Into::into));
    println!("\nact done ok");
}

/// Changes that need no descriptor open for writing, so that only the filter stands against all of them on
/// every kernel.
fn try_to_change(path: &Path, act: impl Fn(&str, io::Result<()>)) {
    use rustix::fs::{AtFlags, CWD, Mode, OFlags, Timestamps, XattrFlags};
    let truncating = rustix::fs::open(path, OFlags::RDONLY | OFlags::TRUNC, Mode::empty());
    act("open and truncate", truncating.map(drop).map_err(Into::into));
    act("truncate", truncate::to_nothing(path));
    let zero = rustix::fs::Timespec { tv_sec: 0, tv_nsec: 0 };
    let times = Timestamps { last_access: zero, last_modification: zero };
    act("touch", rustix::fs::utimensat(CWD, path, &times, AtFlags::empty()).map_err(Into::into));
    let attribute = rustix::fs::setxattr(path, "user.pyro", b"x", XattrFlags::empty());
    act("set an attribute of", attribute.map_err(Into::into));
    let other = path.with_extension("other");
    act("rename", fs::rename(path, &other));
    act("link", fs::hard_link(path, &other));
}

#[allow(unsafe_code)]
mod truncate {
    use std::os::unix::ffi::OsStrExt;

    /// truncate(2), which no safe binding has.
    pub(crate) fn to_nothing(path: &std::path::Path) -> std::io::Result<()> {
        let path = std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap();
        // SAFETY: the path is a C string that outlives the call.
        match unsafe { libc::truncate(path.as_ptr(), 0) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    }
}

/// What each act must come to; `Err` holds the error numbers that are right.
fn expected() -> BTreeMap<&'static str, Result<(), &'static [i32]>> {
    use libc::{EACCES, EBADF, EFBIG, EINVAL, EPERM};
    BTreeMap::from([
        ("read a granted file", Ok(())),
        ("write a file granted for reading", Err(&[EACCES][..])),
        ("write a granted file", Ok(())),
        ("write past the file limit", Err(&[EFBIG])),
        ("open an answered file for writing", Ok(())),
        ("write an answered file", Err(&[EBADF])),
        ("read /etc/passwd", Err(&[EACCES])),
        ("read another's memory", Err(&[EACCES])),
        ("list a directory", Err(&[EACCES])),
        ("create a file", Err(&[EPERM])),
        ("remove a file", Err(&[EPERM])),
        ("open and truncate one's own file", Err(&[EPERM])),
        ("truncate one's own file", Err(&[EPERM])),
        ("touch one's own file", Err(&[EPERM])),
        ("set an attribute of one's own file", Err(&[EPERM])),
        ("rename one's own file", Err(&[EPERM])),
        ("link one's own file", Err(&[EPERM])),
        ("open and truncate a granted file", Err(&[EPERM])),
        ("truncate a granted file", Err(&[EPERM])),
        ("touch a granted file", Err(&[EPERM])),
        ("set an attribute of a granted file", Err(&[EPERM])),
        ("rename a granted file", Err(&[EPERM])),
        ("link a granted file", Err(&[EPERM])),
        ("make a file writable", Err(&[EPERM])),
        ("connect over TCP", Err(&[EPERM])),
        ("make a UNIX socket", Err(&[EPERM])),
        ("execute a program", Err(&[EACCES])),
        // Inside a user namespace root does not even exist.
        ("become root", Err(&[EPERM, EINVAL])),
        ("take capabilities", Err(&[EPERM])),
        ("signal another process", Err(&[EPERM])),
        ("make a user namespace", Err(&[EPERM])),
        ("done", Ok(())),
    ])
}

/// Acts that this machine's kernel has no layer against; `Support::missing` has named it.
fn excused(support: &Support) -> &'static [&'static str] {
    match support.landlock_abi {
        0 => {
            assert!(!support.missing().is_empty());
            &[
                "write a file granted for reading",
                "read /etc/passwd",
                "read another's memory",
                "list a directory",
                "execute a program",
                "signal another process",
            ]
        }
        1..6 if !is_root() => {
            assert!(!support.missing().is_empty());
            &["signal another process"]
        }
        _ => &[],
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A directory every user can reach, with the program and the files of the test.
struct Yard {
    directory: tempfile::TempDir,
}

impl Yard {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let yard = Self { directory };
        // Written by another process: what this one writes, the other test's child may have open when it is to be executed.
        let own = std::env::current_exe().unwrap();
        let installed = Command::new("install").args(["-m", "755"]).args([own, yard.program()]).status();
        assert!(installed.unwrap().success());
        for (name, mode) in [("readable", 0o666), ("own", 0o666), ("writable", 0o666), ("answered", 0o444)] {
            fs::write(yard.path(name), b"kept").unwrap();
            fs::set_permissions(yard.path(name), fs::Permissions::from_mode(mode)).unwrap();
            if is_root() {
                std::os::unix::fs::chown(yard.path(name), Some(UID), Some(UID)).unwrap();
            }
        }
        yard
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn program(&self) -> PathBuf {
        self.path("program")
    }

    /// Content and times of the files that nothing may change.
    fn unchanged(&self) -> Vec<(Vec<u8>, i64, i64)> {
        let look = |name: &str| {
            let meta = fs::metadata(self.path(name)).unwrap();
            (fs::read(self.path(name)).unwrap(), meta.mtime(), meta.ctime_nsec())
        };
        ["readable", "own", "answered"].map(look).to_vec()
    }

    fn grant(&self, name: &str, access: Access) -> Grant {
        Grant { file: File::open(self.path(name)).unwrap().into(), access }
    }

    fn spec(&self) -> Spec {
        let libraries = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache"];
        let answered = File::open(self.path("answered")).unwrap();
        let answered_as = self.path("answered");
        Spec {
            run_as: is_root().then(|| RunAs { uid: UID, gid: UID, groups: Vec::new() }),
            execute: vec![self.program(), "/lib64/ld-linux-x86-64.so.2".into()],
            read: libraries.iter().map(PathBuf::from).collect(),
            grants: vec![self.grant("readable", Access::Read), self.grant("writable", Access::ReadWrite)],
            answers: vec![Answer { path: answered_as, file: answered.into() }],
            inherit: vec![File::open(self.path("readable")).unwrap().into()],
            limits: Limits {
                file_bytes_max: FILE_BYTES_MAX,
                address_space_bytes_max: Some(4 << 30),
                open_files_max: 64,
                task_count_max: None,
            },
        }
    }

    /// Starts the program confined, in the role of one test.
    fn confine(&self, test: &str, role: &str) -> (Child, Vec<i32>) {
        let spec = self.spec();
        let inherited = spec.inherit.iter().map(|fd| fd.as_raw_fd()).collect();
        let jail = Jail::prepare(spec, &Support::probe()).unwrap();
        let mut command = Command::new(self.program());
        command.args(["--exact", test, "--nocapture"]).env(ROLE, role);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let attendant = jail.apply(&mut command);
        let child = command.spawn().unwrap();
        drop(command);
        attendant.attend().unwrap();
        (child, inherited)
    }
}

/// The value of one line of /proc/PID/status.
fn status(pid: u32, name: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name}")).split_whitespace().collect::<Vec<_>>().join(" ")
}

fn limit(pid: u32, name: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

fn namespace(pid: u32, name: &str) -> PathBuf {
    fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap()
}

fn check_from_outside(pid: u32, inherited: &[i32]) {
    if is_root() {
        assert_eq!(status(pid, "Uid"), [UID.to_string().as_str(); 4].join(" "));
        assert_eq!(status(pid, "Gid"), [UID.to_string().as_str(); 4].join(" "));
        assert_eq!(status(pid, "Groups"), "");
        assert_eq!(status(pid, "CapBnd"), "0000000000000000");
    }
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(status(pid, set), "0000000000000000", "{set}");
    }
    assert_eq!((status(pid, "NoNewPrivs").as_str(), status(pid, "Seccomp").as_str()), ("1", "2"));
    assert_eq!(limit(pid, "Max core file size"), "0 0");
    assert_eq!(limit(pid, "Max locked memory"), "0 0");
    assert_eq!(limit(pid, "Max open files"), "64 64");
    assert_eq!(limit(pid, "Max file size"), format!("{FILE_BYTES_MAX} {FILE_BYTES_MAX}"));
    assert_eq!(limit(pid, "Max address space"), format!("{0} {0}", 4u64 << 30));
    check_namespaces(pid);
    check_descriptors(pid, inherited);
    let session = rustix::process::getsid(Pid::from_raw(pid as i32)).unwrap();
    assert_eq!(session.as_raw_nonzero().get(), pid as i32, "its own session");
}

fn check_namespaces(pid: u32) {
    if matches!(Support::probe().namespaces, Namespaces::Refused { .. }) {
        return;
    }
    for name in ["net", "ipc", "uts"] {
        assert_ne!(namespace(pid, name), namespace(std::process::id(), name), "{name}");
    }
    let devices = fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap();
    let names: Vec<_> = devices.lines().filter_map(|line| Some(line.split_once(':')?.0.trim())).collect();
    assert_eq!(names, ["lo"]);
}

/// The standard three and what was passed; nothing the keeper happens to have open.
fn check_descriptors(pid: u32, inherited: &[i32]) {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let mut open: Vec<i32> =
        open.map(|e| e.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect();
    open.sort_unstable();
    let mut right = vec![0, 1, 2];
    right.extend(inherited);
    assert_eq!(open, right);
}

#[test]
fn nothing_forbidden_succeeds() {
    // Promise: a VMM that was taken over reaches no file, process, network or privilege beyond its own.
    if let Ok(role) = std::env::var(ROLE) {
        try_everything(&Given::from_role(&role));
        let _wait_for_the_keeper = io::stdin().read_to_end(&mut Vec::new());
        return;
    }
    let support = Support::probe();
    let yard = Yard::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let leaked = File::open("/dev/null").unwrap();
    rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).unwrap();
    let given = Given {
        readable: yard.path("readable"),
        own: yard.path("own"),
        writable: yard.path("writable"),
        answered: yard.path("answered"),
        forbidden: "/tmp/pyro-jail-forbidden".into(),
        port: listener.local_addr().unwrap().port(),
        keeper: std::process::id() as i32,
    };
    let before = yard.unchanged();
    let (mut child, inherited) = yard.confine("nothing_forbidden_succeeds", &given.to_role());
    let acts = read_acts(&mut child);
    check_from_outside(child.id(), &inherited);
    drop(child.stdin.take());
    child.wait().unwrap();
    for (name, right) in expected() {
        if excused(&support).contains(&name) {
            continue;
        }
        let outcome = acts.get(name).unwrap_or_else(|| panic!("{name}: not tried")).as_str();
        match right {
            Ok(()) => assert_eq!(outcome, "ok", "{name}"),
            Err(numbers) => {
                assert!(outcome.parse().is_ok_and(|n: i32| numbers.contains(&n)), "{name}: {outcome}");
            }
        }
    }
    assert_eq!(acts.len(), expected().len());
    assert_eq!(yard.unchanged(), before);
    drop(leaked);
}

fn read_acts(child: &mut Child) -> BTreeMap<String, String> {
    let mut acts = BTreeMap::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let Some((name, outcome)) = line.strip_prefix("act ").and_then(|act| act.rsplit_once(' ')) else {
            continue;
        };
        acts.insert(name.to_owned(), outcome.to_owned());
        if name == "done" {
            break;
        }
    }
    acts
}

#[test]
fn the_child_dies_with_the_thread_that_started_it() {
    // Promise: no VMM outlives its supervisor.
    if std::env::var(ROLE).is_ok() {
        println!("\nact done ok");
        let _until_killed = io::stdin().read_to_end(&mut Vec::new());
        return;
    }
    let yard = Yard::new();
    let test = "the_child_dies_with_the_thread_that_started_it";
    let started = std::thread::scope(|scope| {
        scope
            .spawn(|| {
                let (mut child, _) = yard.confine(test, "wait");
                read_acts(&mut child);
                child
            })
            .join()
            .unwrap()
    });
    let mut child = started;
    let deadline = Instant::now() + Duration::from_secs(10);
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "still there");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.stdin.take().unwrap().flush().unwrap();
}
