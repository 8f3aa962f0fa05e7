#!/bin/sh
# Puts pyro and its completions under PREFIX, or removes them.
#
# usage: install.sh install|uninstall      environment: PREFIX, DESTDIR
set -eu

cd "$(dirname "$0")/.."
verb=${1:?"usage: install.sh install|uninstall"}
program=${CARGO_TARGET_DIR:-target}/release/pyro
prefix=${PREFIX:?"PREFIX is not set"}
root=${DESTDIR:-}$prefix

# shell:place, where each shell looks by itself
completions() {
    echo "bash:share/bash-completion/completions/pyro"
    echo "zsh:share/zsh/site-functions/_pyro"
    echo "fish:share/fish/vendor_completions.d/pyro.fish"
}

# `sudo make install` after `make build` must not leave root's files in a person's target directory.
build() {
    if [ -n "${SUDO_UID:-}" ] && [ -x "$program" ]; then return; fi
    scripts/prerequisites.sh build
    scripts/build.sh
}

put() {
    install -D -m 0755 "$program" "$root/bin/pyro"
    echo "installed $root/bin/pyro"
    for entry in $(completions); do
        place=$root/${entry#*:}
        mkdir -p "$(dirname "$place")"
        "$program" completions "${entry%%:*}" >"$place"
        chmod 0644 "$place"
        echo "installed $place"
    done
}

mention_path() {
    case :$PATH: in
    *:"$prefix/bin":*) ;;
    *) echo "$prefix/bin is not on your PATH; add it: export PATH=\"$prefix/bin:\$PATH\"" ;;
    esac
}

take_away() {
    for place in bin/pyro $(completions | cut -d : -f 2); do
        if [ -e "$root/$place" ]; then rm -f "$root/$place" && echo "removed $root/$place"; fi
    done
}

case $verb in
install)
    # One by one: in a chain of && the shell would not stop at a failure inside one of them.
    build
    put
    mention_path
    ;;
uninstall) take_away ;;
*)
    echo "install.sh: unknown verb $verb" >&2
    exit 2
    ;;
esac
