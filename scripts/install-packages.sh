#!/bin/sh
# Installs packages with apt-get, through sudo when not root; where there is no apt-get, says which packages
# to install and fails. Reads lines "need|what for|apt|dnf|pacman|zypper" from standard input.
# Must never change a system without saying first what it is about to run.
set -eu

LOCK_SECONDS_MAX=300

lines=$(cat)

# The packages of one column, once each, on one line.
packages() {
    echo "$lines" | cut -d '|' -f "$1" | grep -v '^-$' | sort -u | tr '\n' ' ' | sed 's/ $//'
}

# Needs that have no package in a column's main repository.
unpackaged() {
    echo "$lines" | awk -F '|' -v column="$1" '$column == "-" { printf "%s%s", comma, $1; comma = ", " }'
}

advise() {
    manager=$1 column=$2 command=$3
    if [ -n "$only" ] && [ "$only" != "$manager" ]; then return; fi
    names=$(packages "$column")
    if [ -n "$names" ]; then echo "      $command $names"; fi
    orphans=$(unpackaged "$column")
    if [ -n "$orphans" ]; then
        echo "      ($manager: its main repository has no package for: $orphans)"
    fi
}

without_apt() {
    only=
    for manager in dnf pacman zypper; do
        if command -v "$manager" >/dev/null; then
            only=$manager
            break
        fi
    done
    {
        echo "==> There is no apt-get here, so nothing was installed. Install these as root, then try again:"
        advise dnf 4 "dnf install"
        advise pacman 5 "pacman -S --needed"
        advise zypper 6 "zypper install"
    } >&2
    exit 1
}

apt_get() {
    $elevate env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq -o "DPkg::Lock::Timeout=$LOCK_SECONDS_MAX" -o Dpkg::Use-Pty=0 "$@" </dev/null
}

install() {
    # shellcheck disable=SC2086 # a list of names
    apt_get install --yes --no-install-recommends $names
}

announce() { echo "==> $1: ${elevate:+$elevate }apt-get $2"; }

update() {
    announce "Refreshing the package lists" "update"
    apt_get update
}

give_up() {
    {
        echo "==> The packages could not be installed. As root, run:"
        echo "      apt-get update && apt-get install --no-install-recommends $names"
    } >&2
    exit 1
}

command -v apt-get >/dev/null || without_apt
names=$(packages 3)
elevate=
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "==> Installing packages needs root, and there is no sudo." >&2
        give_up
    fi
    elevate=sudo
fi
announce "Installing them" "install --no-install-recommends $names"
# Asked once, here: sudo fails where it needs a password and has no terminal to ask for it.
[ -z "$elevate" ] || sudo true || give_up

# Lists that know all the names may still be old: then the download fails, and fresh lists mend it.
# shellcheck disable=SC2086 # a list of names
if apt-get install --simulate --no-install-recommends $names >/dev/null 2>&1 && install; then exit 0; fi
update || give_up
install || give_up
