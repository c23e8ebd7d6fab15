#!/bin/sh
# Runs every fuzz target for some minutes under libFuzzer with the address sanitizer:
#
#     tests/fuzz.sh MINUTES [TARGET...]
#
# Needs a nightly compiler and `cargo install cargo-fuzz`. Inputs that reach something new go to
# tests/fuzz/found/TARGET (not kept), inputs that break something to tests/fuzz/broken. Put the
# latter, once mended, into tests/fuzz/corpus/TARGET: `cargo test -p modelv-fuzz` replays them for ever.
set -eu
cd "$(dirname "$0")/.."
minutes=${1:?usage: tests/fuzz.sh MINUTES [TARGET...]}
shift
cargo fuzz --version >/dev/null 2>&1 || {
    echo "error: cargo-fuzz is missing: cargo install cargo-fuzz" >&2
    exit 1
}
cargo +nightly fuzz build --fuzz-dir tests/fuzz target
[ $# -gt 0 ] || set -- $(ls tests/fuzz/corpus)
mkdir -p tests/fuzz/broken
for name in "$@"; do
    mkdir -p "tests/fuzz/found/$name"
    echo "== $name"
    # One second for an input; memory far below what a bomb would need.
    MODELV_FUZZ=$name cargo +nightly fuzz run --fuzz-dir tests/fuzz target \
        "tests/fuzz/found/$name" "tests/fuzz/corpus/$name" -- \
        -max_total_time=$((minutes * 60)) -timeout=2 -rss_limit_mb=2048 -malloc_limit_mb=256 \
        -max_len=8192 -print_final_stats=1 -artifact_prefix="tests/fuzz/broken/$name-"
done
