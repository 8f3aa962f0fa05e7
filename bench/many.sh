#!/bin/sh
# Makes many workspaces that live at once, has each answer, and deletes them: how long that takes, and what memory.
# Must leave nothing: its state is a directory of its own, which goes with it.
#
# usage: many.sh [COUNT]
set -eu

COUNT=${1:-100}
# As many at once as there are processors: more only wait for one another.
JOBS=$(nproc)
ENVIRONMENT=debian:12

cd "$(dirname "$0")/.."
program=$(cd "${CARGO_TARGET_DIR:-target}/release" && pwd)/pyro
# Short, for sockets lie in it; passable, for the VMM that gives up its user looks through it.
scratch=$(mktemp -d "${TMPDIR:-/tmp}/pyro-many.XXXXXX")
chmod 711 "$scratch"
export PYRO_STATE_DIR="$scratch/state" PYRO_RUNTIME_DIR="$scratch/run" PYRO_POOL=0

clean() {
    "$program" workspace list --id-only 2>/dev/null | xargs -r "$program" workspace delete --yes >/dev/null 2>&1 || true
    rm -rf "$scratch"
}
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

now_ms() { date +%s%3N; }

# Seconds with one decimal, of milliseconds.
seconds() { awk -v ms="$1" 'BEGIN { printf "%.1f", ms / 1000 }'; }

timed() {
    what=$1
    shift
    began=$(now_ms)
    "$@"
    echo "$what: $(seconds "$(($(now_ms) - began))") s"
}

create() {
    seq "$COUNT" | xargs -P "$JOBS" -I {} "$program" workspace create "$ENVIRONMENT" --name many-{} --id-only >/dev/null
}

# Every one says its own name: an answer of another's would show.
answer() {
    seq "$COUNT" | xargs -P "$JOBS" -I {} "$program" workspace exec many-{} -- hostname 2>/dev/null | sort -u | wc -l >"$scratch/answers"
}

delete() { "$program" workspace list --id-only | xargs "$program" workspace delete --yes >/dev/null; }

# What the VMMs of this machine have to themselves, in MiB: where nothing else runs, those of these workspaces.
private_mib() {
    for pid in $(pgrep -f 'qemu-system-x86_64 -nodefaults' || true); do
        awk '/^(Private_Dirty|Swap):/ { print $2 }' "/proc/$pid/smaps_rollup" 2>/dev/null || true
    done | awk '{ kib += $1 } END { printf "%d", kib / 1024 }'
}

# The first use of a shape boots it; that is not what is measured.
"$program" run "$ENVIRONMENT" -- true >/dev/null 2>&1
timed "$COUNT workspaces created, $JOBS at a time" create
echo "alive: $("$program" workspace list 2>/dev/null | grep -c '\[started\]')"
timed "one command in each" answer
echo "different answers: $(cat "$scratch/answers")"
echo "private memory of all VMMs: $(private_mib) MiB"
timed "deleted" delete
"$program" workspace list >/dev/null 2>&1
left=$(find "$scratch/state/vms" "$scratch/state/workspaces" "$scratch/state/layers" "$scratch/run/vms" -mindepth 1 2>/dev/null | wc -l)
echo "files left: $left"
