"""Worker of the prediction server: frames on two private pipes, one request at a time.

A frame is a little-endian u32 length and that many bytes. An answer begins with one byte:
"k" and the result as JSON, or "e" and {"message", "trace"}.
"""
import json
import os
import struct
import sys
import traceback


def main():
    inbox = os.fdopen(os.dup(0), "rb")
    outbox = os.fdopen(os.dup(1), "wb")
    # What the user's code prints must not get between the frames.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    sys.stdout = sys.stderr

    def send(kind, value):
        body = kind + json.dumps(value, allow_nan=False, default=plain).encode()
        outbox.write(struct.pack("<I", len(body)) + body)
        outbox.flush()

    try:
        predict = load(json.loads(os.environ["MODELV_WORKER"]))
    except BaseException as e:
        send(b"e", {"message": "%s: %s" % (type(e).__name__, e), "trace": traceback.format_exc()})
        return
    send(b"k", None)
    while True:
        head = inbox.read(4)
        if len(head) < 4:
            return
        body = inbox.read(struct.unpack("<I", head)[0])
        try:
            request = json.loads(body)
            if isinstance(request, dict) and "inputs" in request:
                request = request["inputs"]
            send(b"k", predict(request))
        except Exception as e:
            trace = traceback.format_exc()
            send(b"e", {"message": "%s: %s" % (type(e).__name__, e), "trace": trace})


def load(options):
    import importlib
    import site

    os.chdir(options["app_dir"])
    for folder in options["site_dirs"]:
        site.addsitedir(folder)
    sys.path.insert(0, options["app_dir"])
    module, _, name = options["entry"].partition(":")
    return getattr(importlib.import_module(module), name or "predict")


def plain(value):
    """numpy arrays and scalars, and whatever else says how it becomes a list or a number."""
    for method in ("tolist", "item"):
        if hasattr(value, method):
            return getattr(value, method)()
    raise TypeError("predict returned a %s, which is no JSON" % type(value).__name__)


main()
