#!/usr/bin/env bash
# The long form of the differential tests: a hundred times the cases of `cargo test`, about an hour.
# An argument is another factor. Every disagreement's class is printed.
set -euo pipefail
cd "$(dirname "$0")/.."
MODELV_DIFFERENTIAL="${1:-100}" cargo test --release -p modelv-core --locked --test differential -- --nocapture --test-threads 1
