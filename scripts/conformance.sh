#!/bin/sh
# Gets ready what the tests of MCP conformance run: the command with the suite's fixtures in it, and the suite with a
# Node.js of its own. Both lie beside what cargo builds, and are made once. Quick and silent where nothing is to be done.
#
# usage: conformance.sh
set -eu

cd "$(dirname "$0")/.."
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
place=$CARGO_TARGET_DIR/conformance

# The one test is named so that cargo gives dependencies the features that they have for all tests: only what has
# fixtures is built once more. It lands in a place of its own, and the command as it ships stays where it is.
server() {
    CARGO_BUILD_BUILD_DIR=${CARGO_BUILD_BUILD_DIR:-$CARGO_TARGET_DIR} CARGO_TARGET_DIR=$place \
        "${CARGO:-cargo}" build --quiet --workspace --locked --features pyro-vmm/real-vm,pyro-cli/conformance \
        --bin pyro --test table
}

suite() {
    wanted=$(cat tests/conformance/*.json | cksum)
    if [ "$(cat "$place/suite/whole" 2>/dev/null)" = "$wanted" ]; then return; fi
    echo "==> Installing the conformance suite: npm ci"
    rm -rf "$place/suite"
    mkdir -p "$place/suite"
    cp tests/conformance/*.json "$place/suite"
    (cd "$place/suite" && npm ci --ignore-scripts --no-audit --no-fund --loglevel error --cache "$PWD/cache")
    rm -rf "$place/suite/cache"
    echo "$wanted" >"$place/suite/whole"
}

server
suite
