"""The proof of a capture: it answers in a process that has nothing but its files."""

import json
import math
import os
import subprocess
import sys
import tempfile

from .._errors import CaptureError

_RUNNER = """
import importlib, json, sys
sys.path[:] = [p for p in sys.path if p]
sys.path.insert(0, sys.argv[1])
module, _, name = sys.argv[2].partition(":")
def plain(value):
    for way in ("tolist", "item", "_asdict"):
        if hasattr(value, way):
            return getattr(value, way)()
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError("a %s can't be an answer" % type(value).__name__)
with open(sys.argv[3]) as f:
    sample = json.load(f)
answer = getattr(importlib.import_module(module), name)(sample)
with open(sys.argv[4], "w") as f:
    json.dump(answer, f, default=plain)
"""


def plain(value):
    """What the server makes of an answer that is no JSON: arrays and scalars of NumPy."""
    for way in ("tolist", "item", "_asdict"):
        if hasattr(value, way):
            return getattr(value, way)()
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"a {type(value).__name__} can't be an answer")


def answer(staging, entry, sample, timeout):
    """What the captured function answers, in an empty folder and without this program's paths."""
    try:
        request = json.dumps(sample)
    except (TypeError, ValueError) as error:
        raise CaptureError(f"the sample is no JSON, as a request is: {error}") from None
    with tempfile.TemporaryDirectory() as empty:
        given, taken = os.path.join(empty, "sample"), os.path.join(empty, "answer")
        with open(given, "w", encoding="utf-8") as f:
            f.write(request)
        # -E: neither PYTHONPATH nor anything else that only this shell has.
        command = [sys.executable, "-E", "-B", "-c", _RUNNER, staging, entry, given, taken]
        try:
            done = subprocess.run(command, cwd=empty, capture_output=True, text=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired:
            raise CaptureError(f"`{entry}` did not answer the sample in {timeout} s") from None
        if done.returncode != 0:
            last = done.stderr.strip().split("\n")
            raise CaptureError(f"`{entry}` fails in a process of its own: {last[-1]}\n" + "\n".join(last[-12:]))
        with open(taken, encoding="utf-8") as f:
            return json.load(f)


def compare(function, sample, theirs):
    """Refuses a capture that answers anything but what the function answers here."""
    ours = json.loads(json.dumps(function(json.loads(json.dumps(sample))), default=plain))
    where = _difference(ours, theirs, "answer")
    if where is not None:
        raise CaptureError(
            f"captured, it answers something else: {where}. It depends on something that is not in its "
            "code, as a module that was changed while it ran, or on chance (`compare=False`)"
        )


def _difference(ours, theirs, at):
    """The first place where two answers differ by more than rounding; None when there is none."""
    if isinstance(ours, dict) and isinstance(theirs, dict) and ours.keys() == theirs.keys():
        pairs = ((ours[k], theirs[k], f"{at}[{k!r}]") for k in ours)
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        pairs = ((a, b, f"{at}[{n}]") for n, (a, b) in enumerate(zip(ours, theirs)))
    else:
        numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in (ours, theirs))
        if numbers:
            both_nan = ours != ours and theirs != theirs
            alike = both_nan or math.isclose(ours, theirs, rel_tol=1e-6, abs_tol=1e-12)
        else:
            alike = type(ours) is type(theirs) and ours == theirs
        return None if alike else f"{at} is {str(theirs)[:80]}, not {str(ours)[:80]}"
    return next((d for d in (_difference(*pair) for pair in pairs) if d), None)
