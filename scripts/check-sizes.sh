#!/bin/sh
# Fails when the dependency tree or the guest agent has outgrown its limit.
set -eu

LOCKED_PACKAGES_MAX=350
AGENT_BYTES_MAX=$((6 * 1024 * 1024))

cd "$(dirname "$0")/.."

within() {
    echo "$1: $2 (at most $3)"
    [ "$2" -le "$3" ] || { echo "$1 are over the limit" >&2 && exit 1; }
}

agent=${CARGO_TARGET_DIR:-target}/guest/x86_64-unknown-linux-gnu/agent/pyro-agent
within "packages in Cargo.lock" "$(grep -c '^\[\[package\]\]$' Cargo.lock)" "$LOCKED_PACKAGES_MAX"
within "bytes of the guest agent" "$(wc -c <"$agent")" "$AGENT_BYTES_MAX"
