#!/bin/sh
# Everything CI runs, in phases, cheap ones first; stops at the first phase that fails. Says how many seconds
# each took. The tests get a temporary directory of their own, which must be empty again when they are done.
#
# usage: test.sh [check]      check: only the phases that run no test
set -eu

cd "$(dirname "$0")/.."
scope=${1:-all}
cargo=${CARGO:-cargo}
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
export CARGO_TARGET_DIR
# Without a terminal at the end of the pipe cargo would drop its colors.
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then export CARGO_TERM_COLOR=always; fi

scratch=$(mktemp -d "${TMPDIR:-/tmp}/pyro-test.XXXXXX")
notes=$scratch/notes
mkdir "$notes"
: >"$notes/phases"
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

phase() {
    name=$1
    shift
    printf '\n==> %s\n' "$name"
    began=$(date +%s)
    if ! "$@"; then
        printf '\n==> FAILED: %s (after %s s)\n' "$name" "$(($(date +%s) - began))" >&2
        exit 1
    fi
    printf '%6s s  %s\n' "$(($(date +%s) - began))" "$name" >>"$notes/phases"
}

# Names the files; the differences themselves are cargo's to mend.
format() { "$cargo" fmt --all -- --check -l || { echo "these files are not formatted: cargo fmt --all" && return 1; }; }

scripts() {
    for script in scripts/*.sh scripts/kvm-lane/*.sh scripts/kvm-lane/init bench/*.sh; do sh -n "$script" || return 1; done
    bash -n .ci/run
}

lints() {
    "$cargo" clippy --workspace --all-targets --locked --features pyro-vmm/real-vm,pyro-cli/conformance,pyro-cli/kvm-lane -- -D warnings
}

# The command's own pages would overwrite the library's of the same name, and it has no public items.
api_docs() { RUSTDOCFLAGS="-D warnings" "$cargo" doc --workspace --exclude pyro-cli --no-deps --locked; }

# All there is but examples in comments, of which there are none. One set of features for all that follows,
# so that nothing is built twice.
cargo_test() { "$cargo" test --workspace --locked --features pyro-vmm/real-vm --lib --bins --tests "$@"; }

build() { cargo_test --no-run; }

reports=$CARGO_TARGET_DIR/conformance/reports
cache=${PYRO_TEST_CACHE_DIR:-$CARGO_TARGET_DIR/test-cache}

# What the end-to-end tests run in, pulled once and kept beside the builds; the VMM's tests boot its kernel.
environment() {
    env PYRO_CACHE_DIR="$cache" PYRO_STATE_DIR="$scratch/state" PYRO_RUNTIME_DIR="$scratch/run" \
        PYRO_ACCELERATOR=tcg "$CARGO_TARGET_DIR/debug/pyro" env pull debian:12 || return 1
    for PYRO_TEST_KERNEL in "$cache"/kernels/*/vmlinux; do break; done
    PYRO_TEST_MODULES=$(dirname "$PYRO_TEST_KERNEL")/modules
    export PYRO_TEST_KERNEL PYRO_TEST_MODULES
}

# What a test leaves in a place of its own choosing shows, and no test reaches this person's own state.
isolate() {
    mkdir -m 1777 "$scratch/tmp" && chmod 711 "$scratch" || return 1
    export TMPDIR="$scratch/tmp" XDG_STATE_HOME="$scratch/tmp/state" XDG_CACHE_HOME="$scratch/tmp/cache" \
        XDG_RUNTIME_DIR="$scratch/tmp/run" INSTA_UPDATE=no
}

tests() {
    rm -rf "$reports"
    # A pipe has one exit status, tee's; cargo's goes around it.
    {
        (isolate && cargo_test --no-fail-fast </dev/null 2>&1) && echo yes >"$notes/passed"
    } | tee "$notes/log"
    conformance || rm -f "$notes/passed"
    totals
    if [ -e "$notes/passed" ]; then return; fi
    # What a failed test left explains at times why it failed.
    leftovers
    return 1
}

# cargo shows nothing of tests that pass: they leave what the suite said of each scenario in files.
conformance() {
    printf '\nMCP conformance\n'
    cat "$reports"/*.txt || { echo "the conformance suite has not run" && return 1; }
}

totals() {
    awk '/^test result: / { passed += $4; failed += $6; ignored += $8 }
         END { printf "\nAll test programs together:\n%d passed, %d failed, %d skipped\n", passed, failed, ignored }' "$notes/log"
}

leftovers() { scripts/check-leftovers.sh compare "$notes/before" "$scratch/tmp"; }

phase "format" format
phase "scripts" scripts
phase "papers" scripts/check-docs.sh
phase "lints" lints
phase "API docs" api_docs
if [ "$scope" = all ]; then
    scripts/check-leftovers.sh record "$notes/before"
    phase "build of the tests" build
    phase "server and suite for MCP conformance" scripts/conformance.sh
    phase "environment for the tests" environment
    phase "tests: unit, property, snapshot, end to end" tests
    phase "nothing left behind" leftovers
fi
phase "sizes" scripts/check-sizes.sh

printf '\n==> All phases passed.\n'
cat "$notes/phases"
