"""What recording costs: a metric call, a whole run, and MLflow's local tracking beside it.

    pip install ./crates/modelv-py            # and mlflow, for the comparison
    python crates/modelv-py/benches/logging.py [--points 20000] [--peer-points 1000] [--repeat 5]

The same script logs the same points with both; medians of the repetitions. MLflow is left out, and
that is said, where it is not installed.
"""

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time

OURS = """
import sys, time
import modelv as mv
points = int(sys.argv[1])
with mv.run("bench") as run:
    start = time.perf_counter()
    for step in range(points):
        run.metric("loss", 1.0 / (step + 1), step)
    print((time.perf_counter() - start) / points * 1e6)
"""

THEIRS = """
import logging, sys, time
logging.disable(logging.CRITICAL)
import mlflow
mlflow.set_tracking_uri(sys.argv[2])
points = int(sys.argv[1])
with mlflow.start_run():
    start = time.perf_counter()
    for step in range(points):
        mlflow.log_metric("loss", 1.0 / (step + 1), step=step)
    print((time.perf_counter() - start) / points * 1e6)
"""

PLAIN = "import time\ntime.sleep(1)\n"
RECORDED = "import time\nimport modelv as mv\nwith mv.run('bench'):\n    time.sleep(1)\n"


def script(text, *args):
    """Seconds that a script takes, and what it printed."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", text, *map(str, args)], check=True, stdout=subprocess.PIPE, text=True
    )
    return time.perf_counter() - start, done.stdout


def call(text, repeat, *args):
    """Median of the microseconds that a call took."""
    return statistics.median(float(script(text, *args)[1]) for _ in range(repeat))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=20_000)
    parser.add_argument("--peer-points", type=int, default=1_000)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    import modelv as mv

    # MLflow asks for this before it writes files.
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    os.environ.setdefault("MODELV_AUTHOR_NAME", "bench")
    os.environ.setdefault("MODELV_AUTHOR_EMAIL", "bench@example.org")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        repo = mv.init()
        with open("train.py", "w") as f:
            f.write(RECORDED)
        ours = call(OURS, options.repeat, options.points)
        print(f"run.metric                 {ours:9.2f} us a call ({options.points} points)")
        plain = statistics.median(script(PLAIN)[0] for _ in range(options.repeat))
        recorded = statistics.median(script(RECORDED)[0] for _ in range(options.repeat))
        print(f"mv.run around a second     {(recorded - plain) * 1e3:9.1f} ms more")
        run = max(repo.runs(), key=lambda r: len(repo.series(r["id"])))
        start = time.perf_counter()
        count = len(repo.series(run["id"]))
        print(f"reading {count} points      {(time.perf_counter() - start) * 1e3:9.1f} ms")
        start = time.perf_counter()
        repo.series(run["id"], columns=True)
        print(f"the same as columns        {(time.perf_counter() - start) * 1e3:9.1f} ms")
        if importlib.util.find_spec("mlflow") is None:
            print("mlflow is not installed: left out")
            return
        for name, uri in (("files", f"file://{folder}/mlruns"), ("SQLite", f"sqlite:///{folder}/m.db")):
            try:
                theirs = call(THEIRS, min(options.repeat, 3), options.peer_points, uri)
            except subprocess.CalledProcessError:
                print(f"mlflow with {name}: it does not work here, left out")
                continue
            print(
                f"mlflow, {name:8s}           {theirs:9.2f} us a call "
                f"({options.peer_points} points): {theirs / ours:.0f} times ours"
            )


if __name__ == "__main__":
    main()
