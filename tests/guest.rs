//! A normal Linux inside.

use crate::support::Machine;

#[test]
fn it_is_debian_with_its_own_kernel() {
    // Promise: what runs is the environment that was asked for, on a kernel that is not the host's.
    let machine = Machine::new();
    let release = machine.run(["cat", "/etc/os-release"]).finish().exits(0).out();
    assert!(release.contains("VERSION_ID=\"12\"") && release.contains("ID=debian"), "{release}");
    let guest = machine.run(["uname", "-r"]).finish().exits(0).out();
    assert!(guest.starts_with("6.1.") && guest.contains("cloud-amd64"), "{guest}");
    let manifest = std::fs::read_to_string(machine.environment().join("environment.json")).unwrap();
    let version: String = guest.trim().chars().take_while(|c| *c != '-').collect();
    assert!(manifest.contains(&version), "{version} is not in {manifest}");
    machine.run(["git", "--version"]).finish().exits(0).says("git version 2.39.5\n");
}

#[test]
fn file_systems_are_where_programs_look_for_them() {
    // Promise: /proc, /sys, /dev, devpts, /dev/shm and /tmp are what a Debian system has.
    let machine = Machine::new();
    let script = "set -e
        test -r /proc/self/status; test -d /sys/class; test -c /dev/null; test -c /dev/urandom; test -c /dev/tty
        test -L /dev/fd; test -L /dev/stdin; echo through > /dev/stdout
        stat -f -c %T /proc /sys /dev/pts /dev/shm
        stat -c %a /tmp /var/tmp /dev/shm /root; stat -c %a:%U / /etc
        test -c /dev/ptmx; touch /dev/shm/x /tmp/x /run/x
        ls /sys/fs/cgroup/cgroup.controllers";
    let expected = "through\nproc\nsysfs\ndevpts\ntmpfs\n1777\n1777\n1777\n700\n755:root\n755:root\n/sys/fs/cgroup/cgroup.controllers\n";
    machine.shell(script).finish().exits(0).says(expected);
}

#[test]
fn root_is_root() {
    // Promise: the root file system is writable everywhere, mounts and namespaces work, no sudo needed.
    let machine = Machine::new();
    let script = "set -e
        echo x > /usr/bin/mine; echo y >> /etc/hosts; mkdir /opt/d; rm /usr/share/doc/git/copyright
        mount -t tmpfs none /mnt; touch /mnt/x; mount --bind /usr /opt/d; test -x /opt/d/bin/git; umount /mnt
        unshare -r true; unshare -m -p -f --mount-proc true; unshare -n ip link 2>/dev/null || unshare -n true
        mknod /tmp/null c 1 3; echo z > /tmp/null; chown 1234 /usr/bin/mine; setfattr -h 2>/dev/null || true
        sysctl -w vm.swappiness=10 >/dev/null; echo fine";
    machine.shell(script).finish().exits(0).says("fine\n");
    machine.shell("test ! -e /usr/bin/mine && test -e /usr/share/doc/git/copyright").finish().exits(0);
}

#[test]
fn localhost_works() {
    // Promise: the loopback interface is up, and localhost and the own name resolve to it.
    let machine = Machine::new();
    let script = "cat /sys/class/net/lo/operstate /sys/class/net/lo/flags; getent hosts localhost | awk '{print $1}'
        getent ahosts localhost | grep STREAM | sort | head -1 | awk '{print $1}'; getent hosts $(hostname) | awk '{print $1}' | head -1
        ls /sys/class/net";
    let told = machine.shell(script).finish().exits(0).out();
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines[..2], ["unknown", "0x9"], "{told}");
    assert!(matches!(lines[2], "::1" | "127.0.0.1") && lines[3] == "127.0.0.1", "{told}");
    assert!(matches!(lines[4], "127.0.1.1" | "127.0.0.1" | "::1"), "{told}");
    // No way out: the loopback is the only interface.
    assert_eq!(lines[5..], ["lo"], "{told}");
    let talk = "use IO::Socket::INET; my $l = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1') or die $!;
        my $c = IO::Socket::INET->new(PeerAddr => 'localhost', PeerPort => $l->sockport) or die $!;
        my $s = $l->accept; print $s \"heard\\n\"; close $s; print <$c>;";
    machine.run(["perl", "-e", talk]).finish().exits(0).says("heard\n");
}

#[test]
fn packages_can_be_managed() {
    // Promise: dpkg knows what is installed, is consistent, and installs a package from a file.
    let machine = Machine::new();
    let script = "set -e
        dpkg -l git | tail -1 | cut -c1-6; dpkg --audit; apt-get --version | head -1 | cut -d' ' -f1
        mkdir -p /tmp/p/DEBIAN /tmp/p/usr/bin; echo 'echo from a package' > /tmp/p/usr/bin/mine; chmod 755 /tmp/p/usr/bin/mine
        printf 'Package: mine\\nVersion: 1\\nArchitecture: all\\nMaintainer: me <me@example.com>\\nDescription: x\\n' > /tmp/p/DEBIAN/control
        dpkg-deb --root-owner-group -b /tmp/p /tmp/mine.deb >/dev/null; dpkg -i /tmp/mine.deb >/dev/null 2>&1
        sh /usr/bin/mine; dpkg -r mine >/dev/null 2>&1; test ! -e /usr/bin/mine";
    machine.shell(script).finish().exits(0).says("ii  gi\napt\nfrom a package\n");
}

#[test]
fn git_works() {
    // Promise: the default environment does what agents do all day.
    let machine = Machine::new();
    let script = "set -e; cd /tmp; git init -q -b main r; cd r; git config user.email a@b; git config user.name a
        echo x > f; git add f; git commit -q -m first; git clone -q . ../c; git -C ../c log --oneline | wc -l";
    machine.shell(script).finish().exits(0).says("1\n");
}

#[test]
fn sizes_are_as_asked() {
    // Promise: the guest has the processors and the memory it was given.
    let machine = Machine::new();
    let options = ["--vcpu-count", "2", "--mem-mib", "512"];
    let told =
        machine.run_with(&options, ["sh", "-c", "nproc; grep MemTotal /proc/meminfo | tr -dc 0-9"]).finish();
    let told = told.exits(0).out();
    let (processors, memory_kib) = told.trim().split_once('\n').unwrap();
    assert_eq!(processors, "2");
    assert!((400_000..=512 * 1024).contains(&memory_kib.parse::<u32>().unwrap()), "{memory_kib} KiB");
}

#[test]
fn zombies_are_reaped() {
    // Promise: what a command leaves behind does not pile up under the first process.
    let machine = Machine::new();
    let script = "for i in 1 2 3 4 5 6 7 8; do (sleep 0.01 &) ; done; sleep 1; ps -eo stat= | grep -c Z";
    machine.shell(script).finish().exits(1).says("0\n");
}

#[test]
fn nested_virtualization_is_hidden() {
    // Promise: no guest sees vmx or svm, whatever the host has.
    let machine = Machine::new();
    machine.run(["grep", "-cwE", "vmx|svm", "/proc/cpuinfo"]).finish().exits(1).says("0\n");
}
