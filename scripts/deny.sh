#!/bin/sh
# Checks licenses, advisories, bans and sources of the dependencies against deny.toml.
set -eu

cd "$(dirname "$0")/.."
if ! "${CARGO:-cargo}" deny --version >/dev/null 2>&1; then
    echo "cargo-deny is not installed. Install it with: cargo install --locked cargo-deny" >&2
    exit 1
fi
"${CARGO:-cargo}" deny --locked check
