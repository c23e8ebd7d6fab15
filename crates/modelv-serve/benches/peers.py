"""Requests per second and latency beside other servers, on the same scikit-learn model.

    apt-get install wrk
    pip install scikit-learn flask gunicorn litserve bentoml skl2onnx onnxruntime
    pip install mlserver mlserver-sklearn 'uvloop<0.22'   # --mlserver PATH, of an environment of its own; workers of 1.7.1 don't start with a newer uvloop
    cargo build --release -p modelv-cli
    python crates/modelv-serve/benches/peers.py --modelv target/release/modelv [--workers 2] [--seconds 5]

Every server has the same number of workers, the same body and the same connections; each is started,
asked until it answers, warmed, then loaded by wrk; medians of the repetitions, which take turns. With
`--onnx` the model is exported: ours runs it itself, the others ask onnxruntime. A peer
that is not installed or does not start is left out, and that is said. The overhead of our front is
what one connection waits for a function that gives back what it gets; with `--onnx`, for a model
that does, which the front itself runs.
"""

import argparse
import contextlib
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

MODEL = """
import joblib, json
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
x, y = load_digits(return_X_y=True)
model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(x, y)
joblib.dump(model, "model.joblib")
json.dump(x[:1].tolist(), open("row.json", "w"))
"""
ONNX = """
import joblib
from skl2onnx import to_onnx
from sklearn.datasets import load_digits
x = load_digits(return_X_y=True)[0].astype("float32")
open("model.onnx", "wb").write(to_onnx(joblib.load("model.joblib"), x[:1], options={"zipmap": False}).SerializeToString())
"""
IDENTITY = """
from onnx import TensorProto, helper
from onnx.helper import make_tensor_value_info as value
graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "same",
    [value("x", TensorProto.FLOAT, [None])], [value("y", TensorProto.FLOAT, [None])])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
open("same.onnx", "wb").write(model.SerializeToString())
"""
# What has `predict` of scikit-learn, for the same code.
RUNTIME = """
import numpy, onnxruntime
class Model:
    def __init__(self):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession("model.onnx", options)
    def predict(self, rows):
        return self.session.run([self.session.get_outputs()[0].name], {"X": numpy.asarray(rows, dtype=numpy.float32)})[0]
"""
MLSERVER = """
import numpy
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse
from runtime import Model
class Runtime(MLModel):
    async def load(self):
        self.model = Model()
        return True
    async def predict(self, payload):
        rows = NumpyCodec.decode_input(payload.inputs[0])
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("label", self.model.predict(rows))])
"""
OURS = "import joblib\nmodel = joblib.load('models/model.joblib')\ndef predict(inputs):\n    return model.predict(inputs).tolist()\n"
ECHO = "def predict(inputs):\n    return inputs\n"
FLASK = """
import joblib
from flask import Flask, jsonify, request
app, model = Flask("x"), joblib.load("model.joblib")
@app.post("/predict")
def predict():
    return jsonify(predictions=model.predict(request.get_json()["inputs"]).tolist())
"""
LITSERVE = """
import sys, joblib, litserve as ls
BATCH = int(sys.argv[3])
class Api(ls.LitAPI):
    def setup(self, device): self.model = joblib.load("model.joblib")
    def decode_request(self, request): return request["inputs"][0] if BATCH > 1 else request["inputs"]
    def batch(self, inputs): return list(inputs)
    def unbatch(self, output): return [[y] for y in output]
    def predict(self, x): return self.model.predict(x).tolist()
    def encode_response(self, output): return {"predictions": output}
if __name__ == "__main__":
    api = Api(max_batch_size=BATCH, batch_timeout=0.001) if BATCH > 1 else Api()
    ls.LitServer(api, accelerator="cpu", workers_per_device=int(sys.argv[2])).run(
        host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", generate_client_file=False)
"""
BENTO = """
import os, bentoml, joblib
@bentoml.service(workers=int(os.environ["WORKERS"]), logging={"access": {"enabled": False}})
class Digits:
    def __init__(self): self.model = joblib.load("model.joblib")
    @bentoml.api
    def predict(self, inputs: list) -> list: return self.model.predict(inputs).tolist()
"""


def servers(args, here, row):
    """Name, command, folder, variables, path, body of each."""
    python, plain = sys.executable, json.dumps({"inputs": row})
    beside = os.path.dirname(python)
    name, kind = ("X", "FP32") if args.onnx else ("x", "FP64")
    tensor = {"inputs": [{"name": name, "shape": [1, len(row[0])], "datatype": kind, "data": row[0]}]}
    n, port = str(args.workers), "{port}"
    ours = [args.modelv, "serve", "HEAD", "--python", python, "--workers", n, "--listen", "127.0.0.1:" + port]
    yield "modelv", ours, here + "/ours", {}, "/predict", plain
    yield "modelv, OIP", ours, here + "/ours", {}, "/v2/models/HEAD/infer", json.dumps(tensor)
    yield ("Flask, gunicorn", [beside + "/gunicorn", "-w", n, "-k", "gthread", "--threads", "8", "-b", "127.0.0.1:" + port,
                               "flask_app:app"], here, {}, "/predict", plain)
    for batch in ("1", "64"):
        yield ("LitServe, batch " + batch, [python, "lit_app.py", port, n, batch], here, {}, "/predict", plain)
    yield ("BentoML", [beside + "/bentoml", "serve", "bento_app:Digits", "--port", port, "--host", "127.0.0.1"], here,
           {"WORKERS": n, "BENTOML_DO_NOT_TRACK": "1"}, "/predict", plain)
    yield "MLServer", [args.mlserver or beside + "/mlserver", "start", "."], here + "/mlserver", {}, "/v2/models/digits/infer", json.dumps(tensor)


def write(here, args):
    """The model, and what each server wants beside it."""
    subprocess.run([sys.executable, "-c", MODEL], cwd=here, check=True)
    for name, text in (("flask_app.py", FLASK), ("lit_app.py", LITSERVE), ("bento_app.py", BENTO)):
        open(os.path.join(here, name), "w").write(text)
    os.mkdir(here + "/mlserver")
    settings = {"name": "digits", "implementation": "mlserver_sklearn.SKLearnModel", "parameters": {"uri": "../model.joblib"}}
    if args.onnx:
        for script in (ONNX, IDENTITY):
            subprocess.run([sys.executable, "-c", script], cwd=here, check=True)
        for folder in (here, here + "/mlserver"):
            open(folder + "/runtime.py", "w").write(RUNTIME)
        open(here + "/mlserver/served.py", "w").write(MLSERVER)
        os.link(here + "/model.onnx", here + "/mlserver/model.onnx")
        settings = {"name": "digits", "implementation": "served.Runtime"}
        for name in ("flask_app.py", "lit_app.py", "bento_app.py"):
            path = os.path.join(here, name)
            text = open(path).read().replace('joblib.load("model.joblib")', "__import__('runtime').Model()")
            open(path, "w").write(text)
    json.dump(settings, open(here + "/mlserver/model-settings.json", "w"))
    for folder, code in (("ours", OURS), ("echo", ECHO)):
        root = os.path.join(here, folder)
        os.makedirs(root + "/models")
        open(root + "/serve.py", "w").write(code)
        entry = 'model = "models/%s.onnx"' % {"ours": "model", "echo": "same"}[folder] if args.onnx else 'entry = "serve:predict"'
        open(root + "/modelv.toml", "w").write('[env]\ncapture = "none"\n[serve]\n%s\nbatch = 64\n' % entry)
        for name in ("model.joblib", "model.onnx", "same.onnx"):
            if os.path.exists(here + "/" + name):
                os.link(here + "/" + name, root + "/models/" + name)
        env = dict(os.environ, MODELV_AUTHOR_NAME="x", MODELV_AUTHOR_EMAIL="x@example.org")
        for command in (["init"], ["commit", "-m", "bench"]):
            subprocess.run([args.modelv] + command, cwd=root, env=env, check=True, capture_output=True)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextlib.contextmanager
def running(command, folder, variables, path, body, workers):
    """A server that answers; gives its address."""
    port = free_port()
    command = [word.replace("{port}", str(port)) for word in command]
    if folder.endswith("mlserver"):
        settings = {"http_port": port, "grpc_port": free_port(), "metrics_port": free_port(), "parallel_workers": workers,
                    "host": "127.0.0.1", "debug": False}
        json.dump(settings, open(folder + "/settings.json", "w"))
    log = open(os.path.join(os.path.dirname(folder.rstrip("/")), "bench.log"), "wb")
    server = subprocess.Popen(command, cwd=folder, env=dict(os.environ, **variables), stdout=log, stderr=log,
                              start_new_session=True)
    try:
        address, end = "http://127.0.0.1:%d%s" % (port, path), time.time() + 90
        while True:
            try:
                request = urllib.request.Request(address, body.encode(), {"content-type": "application/json"})
                urllib.request.urlopen(request, timeout=5).read()
                break
            except OSError as e:
                if server.poll() is not None or time.time() > end:
                    raise RuntimeError("it does not answer: %s" % e) from e
                time.sleep(0.2)
        yield address
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def load(address, body, connections, seconds, here):
    """Requests per second, p50 and p99 in milliseconds, failures."""
    script = os.path.join(here, "post.lua")
    with open(script, "w") as f:
        f.write("wrk.method = 'POST'\nwrk.headers['content-type'] = 'application/json'\nwrk.body = %s\n" % lua(body))
    command = ["wrk", "-t1", "-c%d" % connections, "-d%gs" % seconds, "--latency", "--timeout", "20s", "-s", script, address]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", text).group(1))
    found = {p: milliseconds(v) for p, v in re.findall(r"\s(50|99)%\s+(\S+)", text)}
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    broken = re.search(r"Socket errors: (.*)", text)
    return rate, found["50"], found["99"], (failed.group(1) if failed else "0") + (", " + broken.group(1) if broken else "")


def lua(text):
    return "[=[" + text + "]=]"


def milliseconds(text):
    number, unit = re.match(r"([\d.]+)(us|ms|s)", text).groups()
    return float(number) * {"us": 1e-3, "ms": 1, "s": 1e3}[unit]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--modelv", default="target/release/modelv", type=os.path.abspath)
    parser.add_argument("--mlserver", type=os.path.abspath, help="of another environment: its packages fit few others")
    parser.add_argument("--onnx", action="store_true", help="the same model as ONNX")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as here:
        write(here, args)
        row = json.load(open(here + "/row.json"))
        found, gone = {}, set()
        for _ in range(args.repeat):
            for name, command, folder, variables, path, body in servers(args, here, row):
                if name in gone:
                    continue
                try:
                    with running(command, folder, variables, path, body, args.workers) as address:
                        load(address, body, args.connections, 1, here)
                        result = load(address, body, args.connections, args.seconds, here)
                        found.setdefault(name, []).append(result)
                except (RuntimeError, OSError) as e:
                    gone.add(name)
                    print("%s is left out: %s" % (name, e), file=sys.stderr)
        print("%d workers, %d connections, median of %d" % (args.workers, args.connections, args.repeat))
        print("%-20s %12s %9s %9s  failed" % ("", "requests/s", "p50 ms", "p99 ms"))
        for name, results in found.items():
            rate, p50, p99 = (statistics.median(r[i] for r in results) for i in range(3))
            print("%-20s %12.0f %9.2f %9.2f  %s" % (name, rate, p50, p99, results[-1][3]))
        ours = [args.modelv, "serve", "HEAD", "--python", sys.executable, "--listen", "127.0.0.1:{port}"]
        with running(ours, here + "/echo", {}, "/predict", "[1]", 1) as address:
            p50 = [load(address, "[1]", 1, args.seconds, here)[1] for _ in range(args.repeat)]
            what = "front" if args.onnx else "front and worker protocol"
            print("%s, one connection: %.0f us at p50" % (what, statistics.median(p50) * 1000))


if __name__ == "__main__":
    main()
