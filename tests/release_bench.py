#!/usr/bin/env python3
"""Figures of releases: cold layers of packages against `uv pip install --target`, warm, and after a change of code.

    tests/release_bench.py target/release/modelv

Needs a network for the first run of all (packages from the index), `uv` on the PATH or from PyPI, and prints
one line of JSON for each figure. Every figure is the median of the runs.
"""

import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

PACKAGES = ["scikit-learn==1.5.2", "pandas==2.2.3", "scipy==1.14.1", "fastapi==0.115.6"]
RUNS = 3


def run(args, cwd=None, env=None):
    done = subprocess.run([str(a) for a in args], cwd=cwd, env=env, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{args}: {done.stdout}{done.stderr}")
    return done.stdout


def timed(prepare, work):
    took = []
    for _ in range(RUNS):
        prepare()
        start = time.perf_counter()
        work()
        took.append(time.perf_counter() - start)
    return statistics.median(took)


def say(name, seconds, **more):
    print(json.dumps({"figure": name, "seconds": round(seconds, 3), **more}), flush=True)


def replace(tree, by):
    shutil.rmtree(tree, ignore_errors=True)
    if by.exists():
        shutil.copytree(by, tree)


class Bench:
    def __init__(self, modelv, root):
        self.modelv, self.root, self.work = modelv, root, root / "work"
        self.env = {**os.environ, "MODELV_AUTHOR_NAME": "Ada", "MODELV_AUTHOR_EMAIL": "ada@example.org"}
        run([sys.executable, "-m", "venv", root / "tools"])
        self.uv = shutil.which("uv")
        if not self.uv:
            run([root / "tools/bin/python", "-m", "pip", "install", "--quiet", "uv"])
            self.uv = root / "tools/bin/uv"
        self.work.mkdir()
        run([sys.executable, "-m", "venv", self.work / ".venv"])
        self.mv("init")
        self.put("modelv.toml", '[serve]\nentry = "serve:predict"\n')
        self.put("serve.py", "def predict(x): return x\n")
        (self.work / "models").mkdir()
        with open(self.work / "models/weights.bin", "wb") as f:
            f.write(os.urandom(90 << 20))
        self.put(".mvignore", "/.venv\n")
        self.mv("commit", "-m", "without packages")

    def put(self, name, text):
        (self.work / name).write_text(text)

    def mv(self, *args):
        return run([self.modelv, *args], cwd=self.work, env=self.env)

    def release(self):
        said = self.mv("release", "HEAD", "--output", self.root / "image", "--compression", "zstd", "--json")
        return json.loads(said)["layers"]

    def packages(self):
        """Layers of packages from wheels that are there, and uv with the same wheels in its cache."""
        layers, base = self.work / ".mv/cache/layers", self.root / "base"
        self.release()
        replace(base, layers)
        python = self.work / ".venv/bin/python"
        run([self.uv, "pip", "install", "--quiet", "--python", python, *PACKAGES])
        self.mv("commit", "-m", "with packages")
        freeze = run([self.uv, "pip", "freeze", "--python", python]).split()
        self.release()
        warm = timed(lambda: None, self.release)
        cold = timed(lambda: replace(layers, base), self.release)
        # What a release costs without any package to pack: copying base, server and weights.
        say("cold layers of packages", cold, packages=len(freeze), whole_release=True)
        target = self.root / "target"
        install = [self.uv, "pip", "install", "--quiet", "--no-deps", "--target", target, "--python", python,
                   "--link-mode", "copy", *freeze]
        run(install)
        uv = timed(lambda: shutil.rmtree(target), lambda: run(install))
        say("uv pip install --target", uv, packages=len(freeze))
        say("warm release", warm, weights=90 << 20)

    def writing(self):
        """What writing the same bytes costs alone, which no release can do without."""
        image = self.root / "image/blobs/sha256"
        size = sum(f.stat().st_size for f in image.iterdir())

        def copy():
            with open(self.root / "copy", "wb") as out:
                for f in image.iterdir():
                    with open(f, "rb") as source:
                        shutil.copyfileobj(source, out, 1 << 20)

        say("writing the image's bytes", timed(lambda: None, copy), bytes=size)

    def code(self):
        before = {layer["digest"] for layer in self.release()}
        count = [0]

        def change():
            count[0] += 1
            self.put("serve.py", f"def predict(x): return [x, {count[0]}]\n")
            self.mv("commit", "-m", "code")

        after = []
        took = timed(change, lambda: after.append(self.release()))
        moved = [layer for layer in after[-1] if layer["digest"] not in before]
        say("release after a change of code", took, layers=[layer["name"] for layer in moved],
            bytes=sum(layer["size"] for layer in moved))


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    modelv = pathlib.Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as root:
        bench = Bench(modelv, pathlib.Path(root))
        bench.packages()
        bench.writing()
        bench.code()


if __name__ == "__main__":
    main()
