#!/bin/sh
# Builds the release binary, the one that `make demo`, `make install` and `make bench` use.
set -eu

cd "$(dirname "$0")/.."
"${CARGO:-cargo}" build --release --locked --package pyro-cli
