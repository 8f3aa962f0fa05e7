#!/bin/sh
# The first minutes with pyro as a transcript: every command is shown before it runs.
# Stops at the first one that fails.
set -eu

cd "$(dirname "$0")/.."
program=${CARGO_TARGET_DIR:-target}/release/pyro

pyro() {
    printf '\n$ pyro %s\n' "$*"
    "$program" "$@"
}

pyro doctor
pyro env pull debian:12
pyro run debian:12 -- git --version
pyro demo
printf '\nThose were real virtual machines, each made for one command and gone. To put pyro on your PATH: make install\n'
