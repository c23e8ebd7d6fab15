#!/usr/bin/env bash
# The Python package beside PyTorch, Lightning and Transformers as they come from PyPI. A long form:
# not part of `cargo test`, because they bring some six gigabytes.
#
#     tests/deep.sh [FOLDER]      FOLDER keeps what is installed; without it, it goes at the end
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-}
if [ -z "$folder" ]; then
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
fi
python="$folder/bin/python"
[ -x "$python" ] || python3 -m venv "$folder"
"$python" -m pip install --quiet --disable-pip-version-check \
  maturin numpy safetensors torch lightning transformers accelerate
rm -rf "$folder/wheels"
"$python" -m maturin build --locked --interpreter "$python" \
  --manifest-path crates/modelv-py/Cargo.toml --out "$folder/wheels"
"$python" -m pip install --quiet --no-deps --force-reinstall "$folder"/wheels/*.whl
cargo build --locked -p modelv-cli
binary=${CARGO_TARGET_DIR:-$PWD/target}/debug/modelv
cd crates/modelv-py/tests
MODELV_BIN="$binary" PYTHONDONTWRITEBYTECODE=1 "$python" -m unittest -v deep_torch
