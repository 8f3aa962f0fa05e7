#!/bin/sh
# The KVM lane: runs pyro's tests under real KVM and over vsock on a machine that has neither. Outer machines are emulated by
# QEMU's TCG, AMD's virtualization included; in them guests run under KVM. It proves function; it says nothing of speed.
# There is one for each transport, with one processor: with two, QEMU 7.2's emulation of virtualization lets the outer kernel
# crash now and then. They are thrown away, whatever becomes of them; nothing of a run is left.
#
# usage: kvm-lane.sh [FILTER...]      FILTER: only tests with this in their names; those the lane leaves out, too
# environment: PYRO_KVM_LANE_SECONDS_MAX, for a machine that is busy otherwise
set -eu

TRANSPORTS="vsock serial"
# The whole stay of an outer machine, on a core that nobody else uses.
MACHINE_SECONDS_MAX=${PYRO_KVM_LANE_SECONDS_MAX:-1020}
# The kernel, the tests and some guests at a time; the emulator's translations are beside it.
MACHINE_MIB=3072
TRANSLATIONS_MIB=768
MEMORY_MIB_MIN=$((2 * (MACHINE_MIB + TRANSLATIONS_MIB + 256)))
# Without what costs time where it is emulated: a fifth level of page tables, string instructions a byte at a time, checks
# of a kernel that trusts everybody here anyway. The clock that is emulated best is not to be doubted.
CPU=max,la57=off,erms=off,fsrm=off,smap=off,smep=off
KERNEL_OPTIONS="mitigations=off init_on_alloc=0 randomize_kstack_offset=off lsm=landlock audit=0 nowatchdog tsc=reliable no_timer_check"
# Sparse; of the tests' files no more than a fifth exists at a time.
DISK_MIB=16384
DISK_MIB_MIN=6144
CONSOLE_LINES_SHOWN=20
# What the init of the outer machine tells; see there.
STATUS_PASSED=33
STATUS_FAILED=35

cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
case $CARGO_TARGET_DIR in
/*) ;;
*) CARGO_TARGET_DIR=$PWD/$CARGO_TARGET_DIR ;;
esac
export CARGO_TARGET_DIR
# An ordinary user's PATH often leaves out the system's own directories.
PATH=$PATH:/usr/sbin:/sbin
cache=${PYRO_TEST_CACHE_DIR:-$CARGO_TARGET_DIR/test-cache}
program=$CARGO_TARGET_DIR/debug/pyro

scratch=$(mktemp -d "${TMPDIR:-/tmp}/pyro-test-kvm.XXXXXX")
machines=
tail=
clean() {
    for process in $machines $tail; do kill "$process" 2>/dev/null || true; done
    wait
    rm -rf "$scratch"
}
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

fail() {
    echo "kvm-lane.sh: $*" >&2
    exit 1
}

phase() {
    name=$1
    shift
    printf '\n==> %s\n' "$name"
    began=$(date +%s)
    "$@" || fail "FAILED: $name (after $(($(date +%s) - began)) s)"
    printf '%6s s  %s\n' "$(($(date +%s) - began))" "$name" >>"$scratch/phases"
}

room() {
    memory=$(awk '$1 == "MemAvailable:" { print int($2 / 1024) }' /proc/meminfo)
    [ "$memory" -ge "$MEMORY_MIB_MIN" ] ||
        fail "the outer machines need $MEMORY_MIB_MIN MiB of memory, $memory are available: end something, or use a larger machine"
    disk=$(df -Pm "$scratch" | awk 'NR == 2 { print $4 }')
    [ "$disk" -ge "$DISK_MIB_MIN" ] ||
        fail "the outer machines need $DISK_MIB_MIN MiB in $scratch, $disk are free: free some, or point TMPDIR elsewhere"
}

image() { image=$(scripts/kvm-lane/image.sh); }

# The features are those of the other tests, so that dependencies are built once for both.
build() {
    "$cargo" test --workspace --locked --features pyro-vmm/real-vm,pyro-cli/kvm-lane --test kvm_lane --no-run \
        --message-format json-render-diagnostics >"$scratch/built" || return 1
    tests=$(sed -n 's/.*"executable":"\([^"]*\/kvm_lane-[^"]*\)".*/\1/p' "$scratch/built")
    [ -x "$tests" ]
}

environment() {
    env PYRO_CACHE_DIR="$cache" PYRO_STATE_DIR="$scratch/state" PYRO_RUNTIME_DIR="$scratch/run" \
        PYRO_ACCELERATOR=tcg "$program" env pull debian:12
}

# Templates stay here: they are of this host, and the other one makes its own.
payload() {
    files=$scratch/files
    mkdir -p "$files/bin" "$files/cache" || return 1
    strip -o "$files/bin/pyro" "$program" && strip -o "$files/bin/kvm_lane" "$tests" || return 1
    for part in environments kernels guest blank; do
        [ ! -e "$cache/$part" ] || cp -a --reflink=auto --sparse=always "$cache/$part" "$files/cache" || return 1
    done
    cp scripts/kvm-lane/init scripts/kvm-lane/tests "$files" || return 1
    printf "PROGRAM='%s'\nTEMPORARY='%s'\nFILTERS='%s'\n" "$program" "$CARGO_TARGET_DIR/tmp" "$filters" >"$files/settings"
    truncate -s "${DISK_MIB}M" "$scratch/payload" &&
        mke2fs -q -t ext4 -E root_owner=0:0 -O ^has_journal -m 0 -d "$files" "$scratch/payload" || return 1
    rm -rf "$files"
}

# What it writes to its disks goes to files that have no name; see TMPDIR. It ends with this script, however that ends.
start() {
    : >"$scratch/$1.output"
    TMPDIR=$scratch setpriv --pdeathsig TERM -- timeout --kill-after 10 "$MACHINE_SECONDS_MAX" \
        qemu-system-x86_64 -nodefaults -no-user-config -no-reboot -display none -monitor none \
        -machine q35 -accel "tcg,tb-size=$TRANSLATIONS_MIB" -cpu "$CPU" -smp 1 -m "$MACHINE_MIB" \
        -kernel "$image/vmlinuz" -initrd "$image/initrd" \
        -append "root=/dev/vda rw console=ttyS0 panic=-1 $KERNEL_OPTIONS lane.transport=$1 init=/sbin/lane" \
        -drive "file=$image/disk,format=raw,if=none,id=system,snapshot=on,cache=unsafe" -device virtio-blk-pci,drive=system \
        -drive "file=$scratch/payload,format=raw,if=none,id=payload,snapshot=on,cache=unsafe,discard=unmap" \
        -device virtio-blk-pci,drive=payload \
        -serial "file:$scratch/$1.console" -serial "file:$scratch/$1.output" -device isa-debug-exit,iobase=0xf4,iosize=4 \
        </dev/null 2>"$scratch/$1.errors" &
    machines="$machines $!"
}

console() {
    {
        echo "The last that its kernel said:"
        tail -n "$CONSOLE_LINES_SHOWN" "$scratch/$1.console" | tr -d '\r'
    } >&2
}

# Shows what a machine has said and says, to its end: follow TRANSPORT PROCESS
follow() {
    tail -n +1 -f --pid="$2" "$scratch/$1.output" &
    tail=$!
    # A signal ends waiting, and then this script.
    status=0
    wait "$2" || status=$?
    wait "$tail" || true
    tail=
    case $status in
    "$STATUS_PASSED") return 0 ;;
    "$STATUS_FAILED") ;;
    124 | 137)
        echo "the outer machine for $1 was not done after $MACHINE_SECONDS_MAX s and was ended" >&2
        console "$1"
        ;;
    *)
        echo "the outer machine for $1 ended without a verdict: QEMU's exit status is $status" >&2
        cat "$scratch/$1.errors" >&2
        console "$1"
        ;;
    esac
    return 1
}

tests() {
    failed=
    for transport in $TRANSPORTS; do start "$transport"; done
    # shellcheck disable=SC2086 # one process for each transport, in their order
    set -- $machines
    for transport in $TRANSPORTS; do
        follow "$transport" "$1" || failed=yes
        shift
    done
    machines=
    [ -z "$failed" ]
}

filters=$*
phase "room for the outer machines" room
phase "image of the outer machines" image
phase "build of the tests" build
phase "environment for the tests" environment
phase "payload" payload
phase "tests in the outer machines" tests

printf '\n==> The KVM lane passed.\n'
cat "$scratch/phases"
