#!/usr/bin/env bash
# The Python package beside PyTorch, Lightning and Transformers as they come from PyPI, and a model of PyTorch made
# again from its commit id alone. A long form: not part of `cargo test`, because they bring some gigabytes.
#
#     tests/deep.sh [FOLDER]              FOLDER keeps what is installed; without it, it goes at the end
#     tests/deep.sh --recreate [FOLDER]   the model that is made again, and nothing else: see below
set -euo pipefail
cd "$(dirname "$0")/.."
only=
[ "${1:-}" = --recreate ] && only=1 && shift
folder=${1:-}
if [ -z "$folder" ]; then
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
fi

# Makes an environment, once: a name, then packages.
environment() {
  local python="$folder/$1/bin/python"
  shift
  [ -x "$python" ] || python3 -m venv "${python%/bin/python}"
  "$python" -m pip install --quiet --disable-pip-version-check "$@"
}

environment build maturin
cargo build --locked --release -p modelv-cli -p modelv-py
target=${CARGO_TARGET_DIR:-$PWD/target}
rm -rf "$folder/wheels"
"$folder/build/bin/python" -m maturin build --locked --release --manifest-path crates/modelv-py/Cargo.toml \
  --out "$folder/wheels"

# Runs a module of tests in an environment.
passes() {
  local python="$folder/$1/bin/python"
  "$python" -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall "$folder"/wheels/*.whl
  (cd crates/modelv-py/tests && MODELV_BIN="$target/release/modelv" PYTHONDONTWRITEBYTECODE=1 "$python" -m unittest -v "$2")
}

# The smallest PyTorch that PyPI has for this: 1.8 GB to fetch, 3.2 GB installed, because its wheels for Linux on
# x86-64 all come with what an accelerator needs. It goes into the store, and out of it again.
environment small torch==1.13.1 numpy==1.26.4
passes small deep_recreate
[ -z "$only" ] || exit 0

environment deep numpy safetensors torch lightning transformers accelerate
passes deep deep_torch
