#!/usr/bin/env python3
"""Measures builds of images, for the model to learn from: writes `builds.csv` and `packages.csv`.

    python3 examples/build-time/measure.py --output DIR [--builds 300] [--seed 1]

Needs the release build of modelv (`cargo build --release -p modelv-cli`), Python 3 with venv, and an index. Each
build is of a real environment: some of the packages below with all that they demand, from one pool of wheels
that is fetched once (about 600 MB). No layer comes from a cache, that of the interpreter neither.
"""
import argparse
import csv
import email
import os
import random
import resource
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "project"))
from requirements import normal  # noqa: E402

ASKED = """
aiohttp altair beautifulsoup4 boto3 catboost click cryptography django duckdb fastapi flask gensim h5py httpx jinja2
joblib lightgbm lxml matplotlib networkx nltk numba numpy onnx opencv-python-headless pandas pillow plotly polars
psycopg2-binary pyarrow pydantic pyyaml redis requests rich safetensors scikit-image scikit-learn scipy seaborn
sentencepiece shapely sqlalchemy statsmodels sympy tokenizers tqdm uvicorn zarr
""".split()
SERVE = "def predict(inputs):\n    return inputs\n"


def run(*command, **options):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, **options)
    if done.returncode != 0:
        sys.exit("error: %s\n%s%s" % (" ".join(map(str, command)), done.stdout, done.stderr))
    return done.stdout


def read_pool(pool):
    """Name, version, sizes and demands of every wheel."""
    from packaging.requirements import Requirement

    out = {}
    for path in sorted(pool.glob("*.whl")):
        with zipfile.ZipFile(path) as wheel:
            infos = wheel.infolist()
            meta = next(i for i in infos if i.filename.endswith(".dist-info/METADATA") and i.filename.count("/") == 1)
            head = email.message_from_bytes(wheel.read(meta))
        needs = [Requirement(text) for text in head.get_all("Requires-Dist") or []]
        holds = [r for r in needs if r.marker is None or r.marker.evaluate({"extra": ""})]
        out[normal(head["Name"])] = {
            "name": normal(head["Name"]), "version": head["Version"], "bytes": path.stat().st_size,
            "unpackedBytes": sum(i.file_size for i in infos), "files": len(infos),
            "requires": sorted({normal(r.name) for r in holds}),
        }
    return out


def closure(pool, names):
    out, open_ = set(), list(names)
    while open_:
        name = open_.pop()
        if name in pool and name not in out:
            out.add(name)
            open_.extend(pool[name]["requires"])
    return sorted(out)


class Bench:
    def __init__(self, work, binary, python, compression):
        self.work, self.binary, self.python, self.compression = work, binary, python, compression
        self.repo, self.venv, self.pool = work / "repo", work / "venv", work / "pool"
        self.env = dict(os.environ, MODELV_AUTHOR_NAME="Robin", MODELV_AUTHOR_EMAIL="robin@example.org")
        self.env.update(VIRTUAL_ENV=str(self.venv), PATH="%s:%s" % (self.venv / "bin", os.environ["PATH"]))

    def mv(self, *args):
        return run(self.binary, *args, cwd=self.repo, env=self.env)

    def begin(self):
        """A repository that finds all wheels in its cache."""
        self.repo.mkdir(parents=True)
        (self.repo / "serve.py").write_text(SERVE)
        (self.repo / "modelv.toml").write_text('[serve]\nentry = "serve:predict"\n')
        self.mv("init")
        wheels = self.repo / ".mv" / "cache" / "wheels"
        wheels.mkdir(parents=True, exist_ok=True)
        for wheel in self.pool.glob("*.whl"):
            os.link(wheel, wheels / wheel.name)

    def install(self, specs):
        uv = self.python.parent / "uv"
        shutil.rmtree(self.venv, ignore_errors=True)
        run(uv, "venv", "-q", "--python", self.python, self.venv)
        if specs:
            run(uv, "pip", "install", "-q", "--offline", "--no-index", "--no-deps", "--find-links", self.pool, *specs,
                env=self.env)

    def build(self, asked, pool):
        specs = ["%s==%s" % (n, pool[n]["version"]) for n in closure(pool, asked)]
        self.install(specs)
        text = "\n".join("%s==%s" % (n, pool[n]["version"]) for n in asked)
        (self.repo / "requirements.txt").write_text(text + "\n")
        self.mv("commit", "-m", " ".join(asked))
        shutil.rmtree(self.repo / ".mv" / "cache" / "layers", ignore_errors=True)
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        self.mv("release", "HEAD", "--compression", self.compression, "--output", self.work / "image")
        took, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return {"requirementsTxt": text, "systemPackages": "[]", "buildTimeMs": round(took * 1000),
                "cpuMs": round(cpu * 1000)}


def tools(work):
    """An interpreter with what this script needs; started with it if it is another one."""
    python = work / "tools" / "bin" / "python"
    if not python.exists():
        run(sys.executable, "-m", "venv", work / "tools")
        run(python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "uv", "packaging")
    if Path(sys.prefix).resolve() != (work / "tools").resolve():
        os.execv(str(python), [str(python), *sys.argv])
    return python


def write(path, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        out = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        out.writeheader()
        out.writerows(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="folder for the tables and all that it takes")
    parser.add_argument("--builds", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--compression", default="gzip", help="how layers are packed: gzip or zstd")
    parser.add_argument("--modelv", type=Path, default=HERE.parent.parent / "target/release/modelv")
    options = parser.parse_args()
    work = options.output.resolve()
    work.mkdir(parents=True, exist_ok=True)
    python = tools(work)
    if not (work / "pool").exists():
        run(python, "-m", "pip", "download", "-q", "--only-binary", ":all:", "-d", work / "pool.part", *ASKED)
        (work / "pool.part").rename(work / "pool")
    pool = read_pool(work / "pool")
    shutil.rmtree(work / "repo", ignore_errors=True)
    bench = Bench(work, options.modelv.resolve(), python, options.compression)
    bench.begin()
    draw, rows = random.Random(options.seed), []
    for i in range(options.builds):
        asked = sorted(draw.sample(ASKED, draw.randint(1, 8)))
        rows.append({"id": i, **bench.build(asked, pool)})
        print("%4d %7d ms %7d ms of CPU  %s" % (i, rows[-1]["buildTimeMs"], rows[-1]["cpuMs"], " ".join(asked)),
              flush=True)
        write(work / "builds.csv", rows)
    write(work / "packages.csv", [{**p, "requires": " ".join(p["requires"])} for p in pool.values()])


main()
