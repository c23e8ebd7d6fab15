#!/usr/bin/env bash
# Remotes, the long form: the model of their protocol with more roots, 20,000 updates through a bad network, then 64
# processes that push to one branch, and to many beside a collection, through a real S3 service. `cargo test` does the
# same with 8, and with 1,000 updates.
#
#     tests/remotes.sh [WRITERS] [ROUNDS] [ROOTS]
set -euo pipefail
cd "$(dirname "$0")/.."
export MODELV_TEST_WRITERS=${1:-64} MODELV_TEST_ROUNDS=${2:-2} MODELV_TEST_ROOTS=${3:-5}
cargo test --locked --release -p modelv-store --test remote_model -- --nocapture
MODELV_TEST_UPDATES=20000 cargo test --locked --release -p modelv-store --lib storm -- --nocapture
cargo test --locked -p modelv-cli --test e2e -- linear:: --test-threads 1 --nocapture
