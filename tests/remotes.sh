#!/usr/bin/env bash
# Remotes, the long form: the model of their protocol with more roots, then 64 processes that push to one branch, and
# to many beside a collection, through a real S3 service. `cargo test` does the same with 8.
#
#     tests/remotes.sh [WRITERS] [ROUNDS] [ROOTS]
set -euo pipefail
cd "$(dirname "$0")/.."
export MODELV_TEST_WRITERS=${1:-64} MODELV_TEST_ROUNDS=${2:-2} MODELV_TEST_ROOTS=${3:-5}
cargo test --locked --release -p modelv-store --test remote_model -- --nocapture
cargo test --locked -p modelv-cli --test e2e -- linear:: --test-threads 1 --nocapture
