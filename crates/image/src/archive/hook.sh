# Runs inside mmdebstrap, outside the new system, with the new system's directory as $1: the package lists are there
# and verified, and are removed right after.
set -eu
exec >&2
root=$1
out=$PYRO_HOOK_OUTPUT
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"

# mmdebstrap copies these two from the host: no image may tell where it was made.
rm -f "$root/etc/hostname" "$root/etc/resolv.conf"
echo localhost >"$root/etc/hostname"
: >"$root/etc/resolv.conf"
mkdir -p "$root/workspace"

cat "$root/etc/apt/sources.list" "$root/etc/apt/sources.list.d/"*.list >"$out/sources" 2>/dev/null || :
for release in "$root/var/lib/apt/lists/"*Release; do
    sed -n '/^\(Codename\|Suite\|Date\): /p; /^SHA256:/q' "$release"
    echo
done >"$out/releases"

package=$(apt-cache depends "$PYRO_HOOK_KERNEL" | sed -n 's/^ *Depends: *//p' | head -n 1)
apt-cache --no-all-versions show "$package" >"$out/kernel"
version=$(sed -n 's/^Version: *//p' "$out/kernel" | head -n 1)
digest=$(sed -n 's/^SHA256: *//p' "$out/kernel" | head -n 1)
case " $PYRO_HOOK_KERNELS_HERE " in
*" $digest "*) ;;
*)
    cd "$out/deb"
    apt-get download "$package=$version"
    ;;
esac
