#!/bin/sh
# Measures `true` in a fresh pyro VM against other ways to run it, in turn, and writes
# bench/results/TIME-compare.{md,csv,svg}; README.md here says how and why.
# Must never leave a process, mount, network or container, and must leave this person's VMs and containers alone.
#
# usage: compare.sh [--samples COUNT] [--warmups COUNT]
set -eu

SAMPLES=50
SAMPLES_MIN=30
WARMUPS=2
ENVIRONMENT=debian:12
SUITE=bookworm
IMAGE=pyro-compare-$SUITE
# init.c's: QEMU ends with it only after the guest's `true` has.
COLD_BOOT_STATUS=33
# pyro's own translation cache and sizes; crates/vmm/src/arguments has the reasons for the rest of the list.
TRANSLATION_CACHE_MIB=128
MEMORY_MIB=1024

while [ $# -gt 0 ]; do
    case $1 in
    --samples) SAMPLES=${2:?"how many samples?"} ;;
    --warmups) WARMUPS=${2:?"how many warm-up runs?"} ;;
    *)
        echo "usage: compare.sh [--samples COUNT] [--warmups COUNT]" >&2
        exit 2
        ;;
    esac
    shift 2
done
if [ "$SAMPLES" -lt "$SAMPLES_MIN" ]; then
    echo "==> $SAMPLES samples are a trial; figures to keep take $SAMPLES_MIN or more." >&2
fi

cd "$(dirname "$0")/.."
target=$(cd "${CARGO_TARGET_DIR:-target}" && pwd)
program=$target/release/pyro
kept=$target/compare
stamp=$(date -u +%Y-%m-%dT%H%M%SZ)
results=bench/results
output=$results/$stamp-compare
qemu=${PYRO_QEMU:-qemu-system-x86_64}
measuring=
# An ordinary user's PATH often leaves out the system's own directories.
PATH=$PATH:/usr/sbin:/sbin
# Mounts, bridges and rules of a network go with the namespaces they are made in, however this ends. Podman makes
# namespaces itself where it is not root's.
apart=
if [ "$(id -u)" -eq 0 ] && unshare --mount --net true 2>/dev/null; then apart="unshare --mount"; fi

# Short, for sockets lie in it; passable, for the VMM that gives up its user looks through it.
scratch=$(mktemp -d "${TMPDIR:-/tmp}/pyro-compare.XXXXXX")
chmod 711 "$scratch"
mkdir -m 1777 "$scratch/tmp"
mkdir -p "$kept" "$results"
plan=$scratch/plan
leftout=$scratch/leftout
: >"$plan" && : >"$leftout"
# The environments as they are, but no VM, workspace or parked VM of this person's; none is parked but to measure it.
export PYRO_STATE_DIR="$scratch/state" PYRO_RUNTIME_DIR="$scratch/run" PYRO_POOL=0
# Nor a cache of Python's in the tree.
export PYTHONDONTWRITEBYTECODE=1

clean_up() {
    if [ -n "$measuring" ]; then
        kill -TERM "$measuring" 2>/dev/null || true
        wait "$measuring" || true
    fi
    rm -rf "$scratch" "$kept/run"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
# A reader that has seen enough.
trap 'exit 141' PIPE

leave_out() {
    echo "==> Left out: $1: $2" >&2
    echo "- $1: $2" >>"$leftout"
}

# name, command, and if need be the command before it and the status it ends with
contender() { printf '%s\t%s\t%s%s\n' "$1" "${4:-0}" "$2" "${3:+	$3}" >>"$plan"; }

# The contenders' lines of the package table; the columns are those of scripts/prerequisites.sh.
packages() {
    grep "^$1|" <<'TABLE'
python3|measures and draws|python3|python3|python|python3
podman|runs containers|podman|podman|podman|podman
runc|starts podman's containers|runc|runc|runc|runc
runsc|gVisor: runs programs on a kernel in user space|runsc|-|-|-
bwrap|runs programs in namespaces|bubblewrap|bubblewrap|bubblewrap|bubblewrap
TABLE
}

# Whether the programs are there, after an attempt to install what is not.
have() {
    lacking=
    for need; do
        command -v "$need" >/dev/null || lacking="$lacking $need"
    done
    [ -n "$lacking" ] || return 0
    echo "==> This machine lacks what the comparison needs:$lacking"
    for need in $lacking; do packages "$need"; done | scripts/install-packages.sh
}

pyro_contenders() {
    if "$program" pool --help >/dev/null 2>&1; then
        contender "pyro, parked VM" "PYRO_POOL=1 $program run $ENVIRONMENT -- true" "PYRO_POOL=1 $program pool fill"
    else
        leave_out "pyro, parked VM" "this pyro has no command pool"
    fi
    contender "pyro" "PYRO_POOL=0 $program run $ENVIRONMENT -- true"
}

# Storage of its own. The options are explained in README.md here.
podman_line() {
    echo "podman --root $kept/containers --runroot $kept/run/containers --tmpdir $kept/run/libpod" \
        "--runtime=runc --cgroup-manager=cgroupfs"
}

# A tarball of the same release from the same sources as pyro's environment, made once.
root_tarball() {
    if [ -e "$kept/root.tar" ]; then return; fi
    echo "==> Making podman's image: mmdebstrap --variant=minbase $SUITE"
    sed -n 's/^ *"\(deb .*\)",\{0,1\}$/\1/p' "$scratch/environment" >"$scratch/sources"
    mmdebstrap --quiet --variant=minbase "$SUITE" "$kept/partial.tar" - <"$scratch/sources" &&
        mv "$kept/partial.tar" "$kept/root.tar"
}

import() {
    root_tarball || return 1
    podman="$apart $(podman_line)"
    if $podman image exists "$IMAGE" 2>/dev/null; then return; fi
    # Storage that was cut short while it was made, or moved with the tree, is of no use to podman.
    rm -rf "$kept/containers"
    $podman import --quiet "$kept/root.tar" "$IMAGE" >/dev/null
}

podman_contenders() {
    if ! have podman runc; then leave_out podman "not installed, and could not be"; return; fi
    # Nothing there outlives a reboot, and podman takes a missing directory for one.
    rm -rf "$kept/run"
    if ! import; then leave_out podman "its image could not be made"; return; fi
    run="run --rm --ulimit nofile=1024:1024 --ulimit nproc=1024:1024"
    contender "podman" "$(podman_line) $run --network=none $IMAGE true"
    contender "podman, with a network" "$(podman_line) $run $IMAGE true"
}

runsc_contender() {
    if ! have runsc; then leave_out runsc "not installed, and could not be"; return; fi
    rootless=
    if [ "$(id -u)" -ne 0 ]; then rootless=--rootless; fi
    contender "runsc" "runsc $rootless --network=none --ignore-cgroups do true"
}

bwrap_contender() {
    if ! have bwrap; then leave_out bwrap "not installed, and could not be"; return; fi
    contender "bwrap" "bwrap --unshare-all --ro-bind / / true"
}

accelerator() { "$program" doctor | sed -n 's/^Accelerator: \([a-z]*\).*/\1/p'; }

# The first value of a key in what is known of the environment.
fact() { sed -n "s/^ *\"$1\": \"\(.*\)\",\{0,1\}\$/\1/p" "$scratch/environment" | head -n 1; }

cold_boot_initramfs() {
    cc -static -O2 -o "$scratch/init" bench/cold-boot/init.c || return 1
    modules=$(fact cache_dir)/../kernels/$(fact key)/modules
    # In words, for init.c names them too.
    python3 bench/cold-boot/initramfs.py "$scratch/initramfs" "$scratch/init" "$modules/virtio_ring.ko" \
        "$modules/virtio.ko" "$modules/virtio_mmio.ko" "$modules/virtio_blk.ko"
}

# The machine that pyro makes, and its kernel's own command line, which has this host's clock in it.
cold_boot_line() {
    case $(accelerator) in
    kvm) machine="" accel=kvm cpu=host ;;
    *) machine=,pit=on,pic=on accel="tcg,thread=multi,tb-size=$TRANSLATION_CACHE_MIB" cpu=max,erms=off,fsrm=off ;;
    esac
    echo "$qemu -nodefaults -no-user-config -no-reboot -display none" \
        "-machine microvm,memory-backend=ram,acpi=on,rtc=on,isa-serial=on,pcie=off,usb=off$machine" \
        "-accel $accel -cpu $cpu,vmx=off,svm=off -smp cpus=1 -global virtio-mmio.force-legacy=false" \
        "-m ${MEMORY_MIB}M -object memory-backend-ram,id=ram,share=off,size=${MEMORY_MIB}M,dump=off,merge=off" \
        "-kernel $(fact kernel_image) -initrd $scratch/initramfs -append '$guest_line' -serial stdio" \
        "-blockdev driver=raw,node-name=root,read-only=on,file.driver=file,file.filename=$(fact rootfs_image)" \
        "-device virtio-blk-device,drive=root -device isa-debug-exit,iobase=0xf4,iosize=4"
}

cold_boot_contender() {
    if ! cold_boot_initramfs; then
        leave_out "QEMU, cold boot" "its initramfs could not be made"
        return
    fi
    guest_line=$("$program" run "$ENVIRONMENT" -- cat /proc/cmdline 2>/dev/null) || guest_line=
    if [ -z "$guest_line" ]; then
        leave_out "QEMU, cold boot" "pyro's kernel command line could not be read"
        return
    fi
    contender "QEMU, cold boot" "$(cold_boot_line)" "" "$COLD_BOOT_STATUS"
}

# In the background and waited for, so that a signal to this shell is heeded at once.
measure() {
    TMPDIR=$scratch/tmp ${apart:+$apart --net} python3 bench/interleave.py "$plan" "$scratch/samples.csv" "$leftout" \
        --samples "$SAMPLES" --warmups "$WARMUPS" &
    measuring=$!
    wait "$measuring"
    measuring=
}

version() {
    if command -v "$1" >/dev/null; then echo "- $1: $("$@" 2>&1 | head -n 1)"; fi
}

versions() {
    version podman --version
    version runc --version
    version runsc --version
    version bwrap --version
    version "$qemu" --version
}

commands() {
    # Names first, then what is run, without this machine's directories.
    awk -F '\t' '{ print $1 ": " $3 }' "$plan" |
        sed -e "s#$program#pyro#g" -e "s#$kept#KEPT#g" -e "s#$scratch#SCRATCH#g" \
            -e "s#$(fact cache_dir)#ENVIRONMENTS#g" -e "s/  */ /g"
}

page() {
    echo "# true in a fresh VM, and elsewhere"
    echo
    cat "$scratch/facts"
    printf '\n%s samples each, in turn, whole processes. CPU is user and system time of all processes that\n' "$SAMPLES"
    printf 'a run started, with a parked VM that of parking the next one too.\n\n'
    cat "$scratch/summary"
    printf '\n![every sample](%s-compare.svg)\n' "$stamp"
    if [ -s "$leftout" ]; then printf '\nLeft out:\n\n' && cat "$leftout"; fi
    printf '\nThe commands:\n\n```\n'
    commands
    printf '```\n'
}

case $program$scratch in
*[[:space:]]*)
    echo "compare.sh: blanks in $program or $scratch would part the words of a command" >&2
    exit 1
    ;;
esac
have python3
"$program" env pull "$ENVIRONMENT" >/dev/null
"$program" env inspect "$ENVIRONMENT" --json >"$scratch/environment"
pyro_contenders
podman_contenders
runsc_contender
cold_boot_contender
bwrap_contender
{ bench/facts.sh "$program" "$stamp" && versions; } >"$scratch/facts"
measure
mv "$scratch/samples.csv" "$output.csv"
python3 bench/summary.py "$output.csv" "pyro, parked VM / podman" "pyro, parked VM / runsc" "pyro / podman" \
    "pyro / runsc" "pyro, parked VM / QEMU, cold boot" "pyro / QEMU, cold boot" >"$scratch/summary"
python3 bench/plot.py "$output.csv" "$output.svg"
page >"$output.md"
cat "$output.md"
echo
echo "written to $output.md, .csv and .svg"
