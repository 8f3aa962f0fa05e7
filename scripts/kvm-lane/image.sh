#!/bin/sh
# Makes the disk, the kernel and the initramfs of the KVM lane's outer machine, once, and prints the directory they are in.
# What is there is whole: a directory is made under a hidden name and renamed. One that nobody has used for long is removed.
#
# usage: image.sh
set -eu

# Says what the result looks like beside what this file, the list of packages and the tools say.
FORMAT=1
# Sparse; the tests write to a disk of their own.
DISK_MIB=2048
# A person with two branches has two images.
UNUSED_DAYS_MAX=14
# Somebody else makes the same one: they need two minutes.
LOCK_SECONDS_MAX=900

here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-${HOME:?"HOME is not set: there is no place to keep the image in; set XDG_CACHE_HOME"}/.cache}/pyro-kvm-lane
PATH=$PATH:/usr/sbin:/sbin

# Programs that were built on this machine must find a C library that is not older.
suite() {
    # shellcheck source=/dev/null
    (. /etc/os-release && [ "$ID" = debian ] && echo "${VERSION_CODENAME:-}") 2>/dev/null || true
}
suite=$(suite)
suite=${suite:-stable}

key() {
    { echo "$FORMAT $suite" && mmdebstrap --version && cat "$here/packages" "$here/image.sh"; } | sha256sum | cut -c 1-12
}

names() { sed -e 's/#.*//' "$here/packages" | awk 'NF { printf "%s%s", comma, $1; comma = "," }'; }

# Root of a world of its own, whose processes end with us: an ordinary user's is a user namespace with all his ids.
in_a_world() {
    if [ "$(id -u)" -eq 0 ]; then
        setpriv --pdeathsig KILL -- unshare --mount --pid --fork --kill-child=KILL -- "$@"
    else
        setpriv --pdeathsig KILL -- unshare --user --map-root-user --map-auto --mount --pid --fork --kill-child=KILL -- "$@"
    fi
}

# Drivers of machines that are none of ours are most of a kernel's package; kvm_amd needs one for encryption.
paths() {
    for path in /usr/share/doc /usr/share/info /usr/share/locale /usr/share/man '/lib/modules/*/kernel/sound' \
        '/lib/modules/*/kernel/drivers'; do
        echo "--dpkgopt=path-exclude=$path/*"
    done
    for part in block char crypto vhost virtio; do
        echo "--dpkgopt=path-include=/lib/modules/*/kernel/drivers/$part/*"
    done
}

# The initramfs finds one disk, and nothing else; unpacking more takes seconds where all is emulated.
# shellcheck disable=SC2016 # "$1" is the new system, for the shells of mmdebstrap
INITRAMFS='mkdir -p "$1/etc/initramfs-tools/conf.d" "$1/usr/share/initramfs-tools/modules.d" &&
    printf "MODULES=list\nFSTYPE=ext4\nRESUME=none\nCOMPRESS=gzip\n" >"$1/etc/initramfs-tools/conf.d/lane" &&
    printf "virtio_pci\nvirtio_blk\next4\n" >"$1/usr/share/initramfs-tools/modules.d/lane"'

# The two people whom the tests know, with the rights a distribution gives.
# shellcheck disable=SC2016
PEOPLE='chroot "$1" sh -c "groupadd --force --system kvm && useradd --create-home --groups kvm lane && useradd --create-home stranger"'

# What the machine does is on its second disk, so that a change of that is no change of this.
# shellcheck disable=SC2016
INIT='printf "#!/bin/sh\nmkdir -p /payload && mount -t ext4 /dev/vdb /payload && exec /payload/init\n" >"$1/sbin/lane" && chmod 755 "$1/sbin/lane"'

# The new system's mounts stay out of a mount that does not follow them.
# shellcheck disable=SC2016
PACK='mv "$1"/boot/vmlinuz-* "$LANE_OUTPUT/vmlinuz" && mv "$1"/boot/initrd.img-* "$LANE_OUTPUT/initrd" &&
    rm -rf "$1/var/cache/apt" "$1/var/lib/apt/lists" && mkdir "$LANE_OUTPUT/tree" && mount --bind "$1" "$LANE_OUTPUT/tree" &&
    truncate -s "${LANE_DISK_MIB}M" "$LANE_OUTPUT/disk" &&
    mke2fs -q -t ext4 -O ^has_journal -d "$LANE_OUTPUT/tree" "$LANE_OUTPUT/disk" &&
    umount "$LANE_OUTPUT/tree" && rmdir "$LANE_OUTPUT/tree"'

make() {
    echo "==> Making the KVM lane's outer machine, once: Debian $suite, two minutes, 400 MB in $cache" >&2
    # The patterns are dpkg's, not the shell's.
    set -f
    # shellcheck disable=SC2046 # options without spaces
    in_a_world env TMPDIR="$1" LANE_OUTPUT="$1" LANE_DISK_MIB="$DISK_MIB" DEBIAN_FRONTEND=noninteractive \
        mmdebstrap --quiet --mode=root --variant=minbase --architectures=amd64 --components=main --format=null \
        --skip=cleanup --include="$(names)" $(paths) --essential-hook="$INITRAMFS" --customize-hook="$PEOPLE" \
        --customize-hook="$INIT" --customize-hook="$PACK" "$suite" >&2
}

# Directories of keys that have not been used for long, and what a killed one has left; under the lock.
prune() {
    find "$cache" -mindepth 1 -maxdepth 1 -type d -mtime "+$UNUSED_DAYS_MAX" -exec rm -rf {} +
    remove "$cache"/.making.*
}

# The system that is made has files of all ids of its world.
remove() {
    for place; do
        if [ -e "$place" ]; then in_a_world rm -rf "$place"; fi
    done
}

mkdir -p "$cache"
image=$cache/$(key)
exec 9>"$cache/lock"
flock --timeout "$LOCK_SECONDS_MAX" 9 || {
    echo "another run has been making the outer machine in $cache for $LOCK_SECONDS_MAX s: end it, then try again" >&2
    exit 1
}
if [ ! -d "$image" ]; then
    prune
    making=$(mktemp -d "$cache/.making.XXXXXX")
    trap 'remove "$making"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    # Its own files are for it alone; other ids of its world have to reach theirs.
    chmod 755 "$making"
    if ! (make "$making"); then
        echo "the KVM lane's outer machine could not be made: see above; its packages come from Debian's archive" >&2
        exit 1
    fi
    mv "$making" "$image"
fi
touch "$image"
echo "$image"
