#!/usr/bin/env python3
"""Figures of releases: cold layers of packages against `uv pip install --target`, warm, and after a change of code.

    tests/release_bench.py target/release/modelv [--docker]

Needs a network for the first run of all (packages from the index), `uv` on the PATH or from PyPI, and prints
one line of JSON for each figure. Every figure is the median of the runs.

With `--docker`, the same image is built by `docker build` too: on the same root file system of Debian with Python
and pip (made by mmdebstrap), the same packages from wheels that lie beside the Dockerfile, the same weights and
code. It starts an engine of its own, which takes root and Debian's docker.io and mmdebstrap.
"""

import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
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
        self.first = json.loads(self.mv("commit", "-m", "without packages", "--json"))["id"]

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


DOCKERFILE = """
FROM base
RUN python3 -m pip --version
COPY wheels /wheels
COPY requirements.txt /
RUN python3 -m pip install --quiet --no-index --find-links /wheels --target /opt/packages -r /requirements.txt
COPY models /app/models
COPY serve.py modelv.toml /app/
"""


class Engine:
    """A Docker engine of our own; it ends with the benchmark."""

    def __init__(self, root):
        self.socket = f"unix://{root}/sock"
        self.process = subprocess.Popen(
            ["dockerd", "--bridge=none", "--iptables=false", "--ip6tables=false", "--storage-driver=overlay2",
             "--data-root", root / "data", "--exec-root", root / "exec", "--pidfile", root / "pid", "-H", self.socket],
            stderr=subprocess.PIPE, text=True)
        seen = []
        for line in self.process.stderr:
            seen.append(line)
            if "API listen on" in line:
                break
        else:
            sys.exit("no Docker engine can start here:\n" + "".join(seen))
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def docker(self, *args):
        return run(["docker", "-H", self.socket, *args])

    def end(self):
        self.process.terminate()
        self.process.wait()


def beside_docker(bench):
    """The image that we release, built by Docker with pip: anew from the same wheels, and after a change of code."""
    root = bench.root
    system, context = root / "system.tar", root / "context"
    run(["mmdebstrap", "--variant=minbase", "--include=python3,python3-pip", "bookworm", system])
    (context / "wheels").mkdir(parents=True)
    freeze = run([bench.uv, "pip", "freeze", "--python", bench.work / ".venv/bin/python"])
    (context / "requirements.txt").write_text(freeze)
    run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
         "-d", context / "wheels", "-r", context / "requirements.txt"])
    (context / "Dockerfile").write_text(DOCKERFILE)
    shutil.copytree(bench.work / "models", context / "models")
    count = [0]

    def change():
        count[0] += 1
        for tree in (bench.work, context):
            (tree / "serve.py").write_text(f"def predict(x): return [x, 'docker', {count[0]}]\n")
        (context / "modelv.toml").write_text((bench.work / "modelv.toml").read_text())
        bench.mv("commit", "-m", "code")

    def ours():
        bench.mv("release", "HEAD", "--base", system, "--output", root / "image", "--compression", "zstd")

    layers, base = bench.work / ".mv/cache/layers", root / "before"
    # What is known before: the system and the weights, but no package.
    shutil.rmtree(layers)
    bench.mv("release", bench.first, "--base", system, "--output", root / "image", "--compression", "zstd")
    replace(base, layers)
    engine = Engine(root / "engine")
    try:
        engine.docker("import", system, "base")
        change()
        build = ["build", "--quiet", "--network=none", "--tag=model", context]
        engine.docker(*build)
        say("docker build, packages anew", timed(lambda: None, lambda: engine.docker(*build, "--no-cache")))
        say("docker build after a change of code", timed(change, lambda: engine.docker(*build)))
    finally:
        engine.end()
    say("release on the same system, packages anew", timed(lambda: replace(layers, base), ours))
    ours()
    say("release on the same system after a change of code", timed(change, ours))


def main():
    if len(sys.argv) not in (2, 3) or sys.argv[2:] not in ([], ["--docker"]):
        sys.exit(__doc__)
    modelv = pathlib.Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as root:
        bench = Bench(modelv, pathlib.Path(root))
        bench.packages()
        bench.writing()
        bench.code()
        if sys.argv[2:]:
            beside_docker(bench)


if __name__ == "__main__":
    main()
