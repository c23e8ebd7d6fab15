#!/usr/bin/env python3
"""Weight merges beside mergekit's, on random tensors. A long form: not part of `cargo test`.

    pip install mergekit numpy safetensors
    tests/weights.py BINARY

Ends with status 1 where a number differs by more than rounding at the size of these weights explains.
"""
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import yaml
from safetensors.torch import load_file, save_file

SHAPES = {"embed": (512, 64), "layer.0.weight": (256, 256), "layer.0.bias": (256,), "norm": (7,)}
CASES = [
    ("linear=0.3", {"merge_method": "linear"}, [0.7, 0.3], False),
    ("slerp=0.3", {"merge_method": "slerp", "parameters": {"t": 0.3}}, None, "first"),
    ("task=0.7", {"merge_method": "task_arithmetic", "parameters": {"lambda": 0.7}}, [1.0, 1.0], True),
    ("ties=0.3", {"merge_method": "ties", "parameters": {"density": 0.3, "normalize": True}}, [1.0, 1.0], True),
    ("ties=0.5,scale=0.6,weights=1:2",
     {"merge_method": "ties", "parameters": {"density": 0.5, "normalize": True, "lambda": 0.6}}, [1.0, 2.0], True),
]


def models(folder, dtype):
    """A base and two models of it."""
    generator = torch.Generator().manual_seed(11)
    draw = lambda scale: {n: scale * torch.randn(s, generator=generator) for n, s in SHAPES.items()}
    base = draw(0.05)
    for name, more in (("base", None), ("a", draw(0.01)), ("b", draw(0.01))):
        tensors = {n: (t if more is None else t + more[n]).to(dtype) for n, t in base.items()}
        save_file(tensors, folder / (name + ".safetensors"))


def theirs(folder, config, weights, base):
    """mergekit's result."""
    files = [str(folder / (n + ".safetensors")) for n in ("a", "b")]
    config = dict(config, dtype=None, models=[{"model": f} for f in files])
    for model, weight in zip(config["models"], weights or []):
        model["parameters"] = {"weight": weight}
    if base:
        config["base_model"] = files[0] if base == "first" else str(folder / "base.safetensors")
    config = {k: v for k, v in config.items() if v is not None}
    (folder / "config.yml").write_text(yaml.safe_dump(config))
    out = folder / "theirs"
    tool = Path(sys.executable).parent / "mergekit-pytorch"
    subprocess.run([tool, folder / "config.yml", out], check=True, capture_output=True)
    found = {}
    for file in sorted(out.glob("*.safetensors")):
        found.update(load_file(file))
        file.unlink()
    return found


def ours(binary, folder, method, base):
    out = folder / "ours.safetensors"
    files = [folder / "a.safetensors", folder / "b.safetensors"]
    more = ["--base", folder / "base.safetensors"] if base is True else []
    subprocess.run([binary, "-C", folder, "weights", "merge", *files, *more, "--method", method, "-o", out],
                   check=True, capture_output=True)
    return load_file(out)


def compare(a, b):
    """Largest absolute difference, how many numbers differ, and how many there are."""
    gap = np.abs(a.to(torch.float64).numpy() - b.to(torch.float64).numpy())
    return gap.max(), np.count_nonzero(gap), gap.size


def main():
    binary = Path(sys.argv[1]).resolve()
    failed = False
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        for method, config, weights, base in CASES:
            with tempfile.TemporaryDirectory() as folder:
                folder = Path(folder)
                subprocess.run([binary, "-C", folder, "init"], check=True, capture_output=True)
                models(folder, dtype)
                mine, other = ours(binary, folder, method, base), theirs(folder, config, weights, base)
                assert mine.keys() == other.keys(), (mine.keys(), other.keys())
                rows = [compare(mine[n], other[n]) for n in mine]
                largest = max(r[0] for r in rows)
                different, count = sum(r[1] for r in rows), sum(r[2] for r in rows)
                print(f"{str(dtype):15} {method:32} largest difference {largest:.3e}, "
                      f"{different} of {count} differ")
                # Rounding once instead of after each step may differ, a wrong formula by far more.
                failed |= largest > {torch.float32: 1e-6, torch.bfloat16: 2e-3, torch.float16: 2e-4}[dtype]
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
