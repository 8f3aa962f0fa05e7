#!/bin/sh
# Measures this machine and writes bench/results/TIME.md; README.md here says how and why.
# Must never decide whether a figure is good: it records, people compare.
set -eu

SAMPLES=30
WARMUPS=3

cd "$(dirname "$0")/.."
program=$(cd "${CARGO_TARGET_DIR:-target}/release" && pwd)/pyro
stamp=$(date -u +%Y-%m-%dT%H%M%SZ)
results=bench/results
page=$results/$stamp.md

block() {
    printf '\n```\n'
    cat
    printf '```\n'
}

# Median, mean, spread and processor time of one whole process, in milliseconds.
whole_process() {
    name=$1
    shift
    hyperfine --shell=none --warmup "$WARMUPS" --runs "$SAMPLES" --style none \
        --export-json "$results/$stamp-$name.json" "$*" >&2
    awk -F '[:,]' -v command="$*" -v program="$program" '
        /"(mean|stddev|median|user|system|min|max)":/ { gsub(/[" ]/, "", $1); figure[$1] = $2 * 1000 }
        END {
            sub(program, "pyro", command)
            printf "%-34s %9.1f %9.1f %9.1f %9.1f %9.1f %9.1f\n", command, figure["median"], figure["mean"],
                figure["stddev"], figure["min"], figure["max"], figure["user"] + figure["system"]
        }' "$results/$stamp-$name.json"
}

whole_processes() {
    if ! command -v hyperfine >/dev/null; then
        echo "not measured: hyperfine is not installed (apt-get install hyperfine)"
        return
    fi
    printf '%-34s %9s %9s %9s %9s %9s %9s\n' "(ms)" median mean stddev min max cpu
    whole_process version "$program" --version
    whole_process run "$program" run debian:12 -- true
}

mkdir -p "$results"
trap 'rm -f "$results/$stamp.facts" "$results/$stamp.steps" "$results/$stamp.wholes"' EXIT
bench/facts.sh "$program" "$stamp" >"$results/$stamp.facts"
# Not at the left of a pipe, where its failure would go unseen.
"$program" bench --trees >"$results/$stamp.steps"
whole_processes >"$results/$stamp.wholes"
{
    echo "# pyro on this machine"
    echo
    cat "$results/$stamp.facts"
    printf '\nWhole processes, as a shell would start them:\n'
    block <"$results/$stamp.wholes"
    printf '\nThe steps inside, by pyro bench:\n'
    block <"$results/$stamp.steps"
} >"$page"
cat "$page"
echo
echo "written to $page"
