#!/bin/sh
# Fails when a test run has left something behind: a process, a mount, a socket, a file, a half-made piece in
# the shared cache. Names each. Tells ours from a stranger's, so that it holds on a busy machine.
#
# usage: check-leftovers.sh record NOTE              before the run
#        check-leftovers.sh compare NOTE DIRECTORY   after it; DIRECTORY was the run's temporary directory
set -eu
LC_ALL=C
export LC_ALL

# A VM whose client was killed needs a moment to be gone.
SETTLE_SECONDS_MAX=10

verb=${1:?"usage: check-leftovers.sh record|compare NOTE [DIRECTORY]"}
note=${2:?"which file holds the state before the run?"}
# The kernel names files by their real paths.
mkdir -p "${CARGO_TARGET_DIR:-target}"
target=$(cd "${CARGO_TARGET_DIR:-target}" && pwd -P)
# The environment that the end-to-end tests share.
cache=${PYRO_TEST_CACHE_DIR:-$target/test-cache}

every_process() { find /proc -maxdepth 1 -name '[0-9]*' -printf '%f\n' | sort; }

# Entries of the shared temporary directories that carry the product's name. A test suite at work elsewhere
# on this machine has its own directory, which is no concern of this one.
stray_files() {
    find /tmp /var/tmp /dev/shm -maxdepth 1 -name '*pyro*' -not -name 'pyro-test[.-]*' 2>/dev/null | sort
}

# Processes that run a program of ours, or have a file of the run open or as their place, or its environment.
our_processes() {
    {
        find /proc/[0-9]*/exe -maxdepth 0 -lname "$target/*" 2>/dev/null
        find /proc/[0-9]*/exe /proc/[0-9]*/cwd /proc/[0-9]*/root -maxdepth 0 -lname "$directory*" 2>/dev/null
        find /proc/[0-9]*/fd -maxdepth 1 \( -lname "$directory/*" -o -lname "$cache/*" \) 2>/dev/null
        grep -l -s -a -F "TMPDIR=$directory" /proc/[0-9]*/environ
    } | cut -d / -f 3 | sort -u || true
}

# A VMM gives up its privileges, so that an ordinary user cannot see what it has open: the name must do.
sealed_vmms() {
    grep -l -s '^qemu-system' /proc/[0-9]*/comm | cut -d / -f 3 | while read -r process; do
        if [ -r "/proc/$process/fd" ]; then continue; fi
        if grep -q -s "^Uid:[[:space:]]*$(id -u)[[:space:]]" "/proc/$process/status"; then echo "$process"; fi
    done
}

new_processes() {
    { our_processes && sealed_vmms; } | sort -u | comm -13 "$note.processes" - | grep -v -x "$$" || true
}

describe() {
    for process; do
        [ -e "/proc/$process" ] || continue
        echo "process $process: $(tr '\0' ' ' <"/proc/$process/cmdline" 2>/dev/null | cut -c 1-160)"
    done
}

leftovers() {
    # shellcheck disable=SC2046 # a list of numbers
    describe $(new_processes)
    grep -s -o "${directory}[^ ]*" /proc/mounts | sed 's/^/mount /' || true
    grep -s -o "@\{0,1\}${directory}[^ ]*" /proc/net/unix | sed 's/^/socket /' || true
    find "$directory" -mindepth 1 -printf '%y %p\n' 2>/dev/null | sed -e 's/^s /socket /' -e 's/^d /directory /' -e 's/^. /file /'
    stray_files | comm -13 "$note.files" - | sed 's/^/file /'
    # Half-made things have hidden names until they are whole; locks are hidden and stay.
    find "$cache" -name '.*' -not -name '*.lock' -printf 'half-made %p\n' 2>/dev/null || true
}

record() {
    every_process >"$note.processes"
    stray_files >"$note.files"
}

compare() {
    seconds=0
    while found=$(leftovers) && [ -n "$found" ]; do
        if [ "$seconds" -ge "$SETTLE_SECONDS_MAX" ]; then
            echo "$found" | sed 's/^/left behind: /' >&2
            exit 1
        fi
        sleep 1
        seconds=$((seconds + 1))
    done
    echo "no process, mount, socket or file is left"
}

case $verb in
record) record ;;
compare)
    directory=$(cd "${3:?"which directory was the run's own?"}" && pwd -P)
    compare
    ;;
*)
    echo "check-leftovers.sh: unknown verb $verb" >&2
    exit 2
    ;;
esac
