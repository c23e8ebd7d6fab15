#!/bin/sh
# Runs every fuzz target for some time under libFuzzer with the address sanitizer:
#
#     tests/fuzz.sh MINUTES [TARGET...]       tests/fuzz.sh 20s pack oplog
#
# Needs a nightly compiler (`rustup toolchain install nightly`) and `cargo install cargo-fuzz`. Inputs that
# reach something new go to tests/fuzz/found/TARGET (not kept), inputs that break something to
# tests/fuzz/broken; the others go on, and the script fails in the end. Put what broke something, once it
# is mended, into tests/fuzz/corpus/TARGET: `cargo test -p modelv-fuzz` replays it for ever.
set -eu
cd "$(dirname "$0")/.."
usage() {
    echo "usage: tests/fuzz.sh MINUTES|SECONDSs [TARGET...]" >&2
    exit 2
}
[ $# -gt 0 ] || usage
case $1 in
*[!0-9]*s | *[!0-9s]* | s | '') usage ;;
*s) seconds=${1%s} ;;
*) seconds=$(($1 * 60)) ;;
esac
shift
[ $# -gt 0 ] || set -- $(ls tests/fuzz/corpus)
for name in "$@"; do
    [ -d "tests/fuzz/corpus/$name" ] || {
        echo "error: no target \`$name\`; there are: $(ls tests/fuzz/corpus | tr '\n' ' ')" >&2
        exit 2
    }
done
cargo +nightly --version >/dev/null 2>&1 || {
    echo "error: a nightly compiler is missing: rustup toolchain install nightly" >&2
    exit 1
}
cargo +nightly fuzz --version >/dev/null 2>&1 || {
    echo "error: cargo-fuzz is missing: cargo install cargo-fuzz" >&2
    exit 1
}
# What is fuzzed is what is shipped: the same versions of everything.
[ -e tests/fuzz/Cargo.lock ] || cp Cargo.lock tests/fuzz/Cargo.lock
cargo +nightly fuzz build --fuzz-dir tests/fuzz target
mkdir -p tests/fuzz/broken
failed=
for name in "$@"; do
    mkdir -p "tests/fuzz/found/$name"
    echo "== $name"
    # Two seconds for an input; memory far below what a bomb would need.
    MODELV_FUZZ=$name cargo +nightly fuzz run --fuzz-dir tests/fuzz target \
        "tests/fuzz/found/$name" "tests/fuzz/corpus/$name" -- \
        -max_total_time="$seconds" -timeout=2 -rss_limit_mb=2048 -malloc_limit_mb=256 \
        -max_len=8192 -print_final_stats=1 -artifact_prefix="tests/fuzz/broken/$name-" ||
        failed="$failed $name"
done
[ -z "$failed" ] || {
    echo "error: these broke:$failed; the inputs are in tests/fuzz/broken" >&2
    exit 1
}
