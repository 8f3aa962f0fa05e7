#!/bin/sh
# Sees to it that this machine has what a task needs: looks, and installs only what is missing.
# Quick and silent where nothing is. Must never call a package manager when nothing is missing.
#
# usage: prerequisites.sh build|check|run|test|test-kvm
set -eu

here=$(dirname "$0")
task=${1:?"usage: prerequisites.sh build|check|run|test|test-kvm"}

# need | what for | apt | dnf | pacman | zypper ("-": its main repository has none)
table() {
    cat <<'TABLE'
cc|compiles and links|gcc|gcc|gcc|gcc
libc.a|makes the guest agent a static program|libc6-dev|glibc-static|glibc|glibc-devel-static
qemu-system-x86_64|runs virtual machines|qemu-system-x86|qemu-system-x86-core|qemu-system-x86|qemu-x86
mmdebstrap|makes environments from Debian's archive|mmdebstrap|mmdebstrap|mmdebstrap|-
keyring|checks the archive's signatures|debian-archive-keyring|debian-keyring|debian-archive-keyring|-
dpkg-deb|reads Debian's packages|dpkg|dpkg|dpkg|dpkg
mke2fs|makes ext4 images|e2fsprogs|e2fsprogs|e2fsprogs|e2fsprogs
unshare|starts programs in namespaces|util-linux|util-linux|util-linux|util-linux
newuidmap|lets an ordinary user make environments|uidmap|shadow-utils|shadow|shadow
setpriv|ends what a script has started when that is gone|util-linux|util-linux|util-linux|util-linux
strip|makes programs small enough to carry|binutils|binutils|binutils|binutils
tmux|a terminal that tests sit at|tmux|tmux|tmux|tmux
npm|installs the MCP conformance suite|npm|nodejs-npm|npm|npm-default
python3|a client of the MCP server that tests speak with|python3|python3|python|python3
venv|keeps that client apart from the system's Python|python3-venv|python3|python|python3
TABLE
}

needs() {
    echo "cc libc.a"
    case $task in
    build | check) return ;;
    esac
    echo "qemu-system-x86_64 mmdebstrap keyring dpkg-deb mke2fs unshare"
    if [ "$(id -u)" -ne 0 ]; then echo newuidmap; fi
    if [ "$task" = test ]; then echo "tmux npm python3 venv"; fi
    if [ "$task" = test-kvm ]; then echo "setpriv strip"; fi
}

is_here() {
    case $1 in
    libc.a)
        case $(cc -print-file-name=libc.a 2>/dev/null) in
        /*) return 0 ;;
        *) return 1 ;;
        esac
        ;;
    keyring) [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] ;;
    venv) python3 -c 'import ensurepip, venv' 2>/dev/null ;;
    # An ordinary user's PATH often leaves out the system's own directories; pyro looks there too.
    *) (PATH=$PATH:/usr/sbin:/sbin && command -v "$1" >/dev/null) ;;
    esac
}

# Lines of the table whose need is not met.
missing() {
    for need in $(needs); do
        is_here "$need" || table | grep "^$need|"
    done
}

platform() {
    machine=$(uname -sm)
    if [ "$machine" != "Linux x86_64" ]; then
        echo "pyro runs on Linux x86_64; this machine is $machine." >&2
        exit 1
    fi
}

rust() {
    if ! command -v "${CARGO:-cargo}" >/dev/null; then
        echo "Rust is not installed: there is no cargo on PATH. Install it as https://rustup.rs says, then try again." >&2
        exit 1
    fi
    case $task in
    check | test) component rustfmt fmt && component clippy clippy ;;
    esac
}

# A component of the toolchain that a minimal installation leaves out.
component() {
    if "${CARGO:-cargo}" "$2" --version >/dev/null 2>&1; then return; fi
    if ! command -v rustup >/dev/null; then
        echo "cargo $2 is missing: install $1 for your Rust (Debian: apt-get install rustfmt rust-clippy)." >&2
        exit 1
    fi
    echo "==> Installing the Rust component $1, which this toolchain lacks: rustup component add $1"
    rustup component add "$1"
}

platform
rust
lacking=$(missing)
[ -n "$lacking" ] || exit 0

echo "==> This machine lacks what pyro needs:"
echo "$lacking" | awk -F '|' '{ printf "      %-20s %s\n", $1, $2 }'
echo "$lacking" | "$here/install-packages.sh"

lacking=$(missing)
[ -n "$lacking" ] || exit 0
echo "Still missing after the installation: $(echo "$lacking" | cut -d '|' -f 1 | tr '\n' ' ')" >&2
exit 1
