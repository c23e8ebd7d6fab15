#!/usr/bin/env python3
"""How long will this image take to build? A model of modelv's own builds, trained, committed and released with it.

    python3 examples/build-time/run.py [--keep DIR] [--base BASE]

Needs Rust and Python 3 (with venv). Learns from the builds in `project/data`, which `measure.py` measures anew.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
ROWS = [
    {"requirementsTxt": "requests==2.32.0\nrich", "systemPackages": "[]"},
    {"requirementsTxt": "scikit-learn==1.1.2\npandas==2.0.1", "systemPackages": '["libgomp1"]'},
    {"requirementsTxt": "a-package-of-our-own==1.0", "systemPackages": None},
]


class Story:
    def __init__(self, work, binary, python):
        self.project, self.image, self.binary = work / "project", work / "image", binary
        self.env = dict(
            os.environ, MODELV_AUTHOR_NAME="Robin", MODELV_AUTHOR_EMAIL="robin@example.org",
            VIRTUAL_ENV=str(python.parent.parent), PATH="%s:%s" % (python.parent, os.environ["PATH"]),
        )
        leave = shutil.ignore_patterns("__pycache__", "models", "metrics.json")
        shutil.copytree(HERE / "project", self.project, ignore=leave)

    def mv(self, *args, show=True):
        print("$ mv " + " ".join(map(str, args)), flush=True)
        done = subprocess.run([self.binary, *args], cwd=self.project, env=self.env, check=True, stdout=subprocess.PIPE,
                              text=True)
        if show:
            print(done.stdout, end="", flush=True)
        return done.stdout

    def train(self):
        self.mv("init")
        self.mv("commit", "-m", "builds of images, and how long they took")
        self.mv("run", "-m", "learn how long builds take")
        metrics = json.loads(self.mv("show", "HEAD", "--json", show=False))["metrics"]
        if not metrics["mae_ms"] < min(30_000, metrics["mae_of_the_mean_ms"] / 2):
            sys.exit("error: it is not better than half the error of the mean: %s" % metrics)

    def ask(self):
        commit = self.mv("rev-parse", "HEAD", show=False).strip()
        server = subprocess.Popen([self.binary, "serve", "HEAD", "--listen", "127.0.0.1:0"], cwd=self.project,
                                  env=self.env, stderr=subprocess.PIPE, text=True)
        try:
            words = (word for line in server.stderr for word in line.split())
            address = next(word for word in words if word.startswith("http://"))
            body = json.dumps({"inputs": ROWS}).encode()
            request = urllib.request.Request(address + "/predict", body, {"content-type": "application/json"})
            with urllib.request.urlopen(request, timeout=60) as answer:
                reply = json.load(answer)
        finally:
            server.terminate()
            server.communicate()
        for row, said in zip(ROWS, reply["predictions"]):
            asked = " ".join(row["requirementsTxt"].split())
            print("%6d ms (%d to %d)  %s" % (said["estBuildTimeMs"], said["lowMs"], said["highMs"], asked))
        if reply["commit"] != commit or reply["predictions"][2]["unseen"] != ["a-package-of-our-own"]:
            sys.exit("error: this is not the answer of commit %s: %s" % (commit, reply))


def prepare(work):
    """The binary, and an interpreter with the packages of the project."""
    subprocess.run(["cargo", "build", "--release", "--locked", "-p", "modelv-cli"], cwd=ROOT, check=True)
    subprocess.run([sys.executable, "-m", "venv", work / "venv"], check=True)
    python = work / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "-q", "--disable-pip-version-check", "install", "-r",
                    HERE / "project" / "requirements.txt"], check=True)
    return ROOT / "target" / "release" / "modelv", python


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", type=Path, help="work in this new folder, and leave it")
    parser.add_argument("--base", default="python", help="what the image stands on")
    parser.add_argument("--modelv", type=Path, help="this binary, with --python; otherwise they are made")
    parser.add_argument("--python", type=Path, help="an interpreter that has the packages of the project")
    options = parser.parse_args()
    work = (options.keep or Path(tempfile.mkdtemp(prefix="modelv-build-time-"))).absolute()
    work.mkdir(parents=True, exist_ok=not options.keep)
    try:
        made = (options.modelv, options.python) if options.modelv and options.python else prepare(work)
        story = Story(work, *made)
        story.train()
        story.mv("release", "HEAD", "--base", options.base, "--output", story.image)
        story.ask()
    finally:
        if not options.keep:
            shutil.rmtree(work, ignore_errors=True)


main()
