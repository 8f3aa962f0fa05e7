#!/bin/sh
# Fails when the papers and the tree have drifted apart: a paper that is missing, a link that leads nowhere,
# a make target that does not exist, a crate that the architecture does not mention.
set -eu

cd "$(dirname "$0")/.."
faults=0

fault() {
    echo "$*" >&2
    faults=$((faults + 1))
}

papers() {
    for paper in README.md ARCHITECTURE.md CONTRIBUTING.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE; do
        [ -s "$paper" ] || fault "$paper is missing or empty"
    done
}

pages() { find . -name '*.md' -not -path './target/*' -not -path './.git/*' -not -path './bench/results/*'; }

# Targets of Markdown links to files of the tree, anchors cut off.
links() { grep -o '](<\{0,1\}[^)> ]*' "$1" | sed -e 's/^](<\{0,1\}//' -e 's/#.*//' | grep -v -e '^$' -e '^[a-z]*:' || true; }

links_lead_somewhere() {
    for page in $(pages); do
        for target in $(links "$page"); do
            [ -e "$(dirname "$page")/$target" ] || fault "$page links to $target, which does not exist"
        done
    done
}

make_targets_exist() {
    for page in $(pages); do
        # Only where it is set as code: "make" is also a verb.
        # shellcheck disable=SC2016 # Markdown's backquotes
        for target in $(grep -o -e '`make [a-z-]*`' -e '^ *\(\$ \)\{0,1\}make [a-z-]*$' "$page" | tr -d '`$' | awk '{ print $2 }' | sort -u); do
            grep -q "^$target:" Makefile || fault "$page names make $target, which does not exist"
        done
    done
}

crates_are_on_the_map() {
    for crate in crates/*/; do
        name=$(basename "$crate")
        grep -q -e "crates/$name" -e "\`$name\`" -e "^ *$name/" ARCHITECTURE.md 2>/dev/null ||
            fault "ARCHITECTURE.md does not mention crates/$name"
    done
}

papers
links_lead_somewhere
make_targets_exist
crates_are_on_the_map
[ "$faults" -eq 0 ] || exit 1
echo "papers, links, make targets and crates agree"
