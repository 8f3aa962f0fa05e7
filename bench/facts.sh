#!/bin/sh
# What kind of machine this is, for whoever reads the figures on another one: one fact a line.
#
# usage: facts.sh PROGRAM STAMP      PROGRAM: the pyro that is measured; STAMP: when the measuring began
set -eu

program=${1:?"which pyro?"}
stamp=${2:?"when?"}

cd "$(dirname "$0")/.."
echo "- date: $stamp"
echo "- source: $(git describe --always --dirty --tags 2>/dev/null || echo unknown)"
echo "- pyro: $("$program" --version)"
echo "- processor: $(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | head -n 1), $(nproc) usable"
echo "- memory: $(awk '/^MemTotal/ { printf "%.1f GiB", $2 / 1048576 }' /proc/meminfo)"
echo "- kernel: $(uname -r)"
echo "- system: $(sed -n 's/^PRETTY_NAME="\(.*\)"$/\1/p' /etc/os-release)"
echo "- load before: $(cut -d ' ' -f 1-3 /proc/loadavg)"
"$program" doctor | sed -n -e 's/^Accelerator: /- accelerator: /p' -e 's/^VMM: /- VMM: /p'
