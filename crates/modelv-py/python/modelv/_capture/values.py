"""Values as source: literals, and data in files that are safe to read.

Nothing is pickled but, where the caller says so, a fitted estimator by joblib.
"""

import dataclasses
import enum
import io
import json
import logging
import math
import os
import pickle
import re
import sys
import types

from .._errors import CaptureError
from . import modules

_LITERAL_MAX = 2000
_PLAIN = (bool, int, str, bytes, type(None), type(Ellipsis))

# What people capture by accident, in words.
_KINDS = (
    ("io", "IOBase", "an open file"),
    ("_thread", "LockType", "a lock"),
    ("_thread", "RLock", "a lock"),
    ("threading", "Event", "an event of threads"),
    ("threading", "Condition", "a lock"),
    ("threading", "Thread", "a thread"),
    ("socket", "socket", "an open connection"),
    ("sqlite3", "Connection", "an open database"),
    ("concurrent.futures", "Executor", "a pool of workers"),
    ("types", "GeneratorType", "a generator"),
    ("types", "CoroutineType", "a coroutine"),
    ("types", "FrameType", "a frame"),
    ("weakref", "ref", "a weak reference"),
    ("subprocess", "Popen", "a running process"),
    ("pathlib", "PurePath", "a path of this machine"),
)


class Values:
    """Writes values for a `Writer`."""

    def __init__(self, writer, joblib):
        self.writer, self.joblib = writer, joblib
        self.names = set()

    def expression(self, value, what, name):
        """Source that gives a value; `name` is for its file."""
        kind = type(value)
        if kind in _PLAIN:
            return repr(value)
        if kind is float:
            return repr(value) if math.isfinite(value) else f'float("{value}")'
        if kind is complex:
            parts = (self.expression(p, what, name) for p in (value.real, value.imag))
            return f"complex({', '.join(parts)})"
        if kind in (list, tuple, set, frozenset, dict):
            return self._container(value, what, name)
        if kind in (range, slice):
            return repr(value)
        for make in (self._array, self._object, self._library):
            found = make(value, what, name)
            if found is not None:
                return found
        raise CaptureError(f"{what} is {_word(value)}: that can't be stored")

    def file(self, name, ending):
        """A path for data whose name no other has, whatever the case of its letters."""
        base = "".join(c if c.isalnum() or c == "_" else "_" for c in name)[:60] or "value"
        n, found = 1, f"{base}{ending}"
        while found.lower() in self.names:
            n += 1
            found = f"{base}-{n}{ending}"
        self.names.add(found.lower())
        self.writer.helpers.add("_mv_data")
        folder = os.path.join(self.writer.folder, "data")
        os.makedirs(folder, exist_ok=True)
        return found, os.path.join(folder, found)

    def _container(self, value, what, name):
        if _is_json(value) and len(text := json.dumps(value, ensure_ascii=False)) > _LITERAL_MAX:
            found, path = self.file(name, ".json")
            with open(path, "w", encoding="utf-8") as f:
                f.write(text)
            self.writer.helpers.add("_mv_json")
            return f"_mv_json({found!r})"
        inner = self.writer.expression
        if type(value) is dict:
            pairs = (f"{inner(k, f'a key of {what}')}: {inner(v, f'{_at(k)} of {what}')}" for k, v in value.items())
            return f"{{{', '.join(pairs)}}}"
        # A set has no order of its own that two processes share.
        items = value if type(value) in (list, tuple) else sorted(value, key=lambda v: (str(type(v)), repr(v)))
        parts = [inner(v, f"item {n} of {what}") for n, v in enumerate(items)]
        if type(value) is tuple:
            return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"
        if type(value) is list:
            return f"[{', '.join(parts)}]"
        return f"{type(value).__name__}([{', '.join(parts)}])"

    def _array(self, value, what, name):
        numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
        if torch is not None and type(value) is torch.Tensor:
            try:
                array = value.detach().cpu().numpy()
            except TypeError:
                raise CaptureError(f"{what} is a tensor of {value.dtype}, which NumPy does not have") from None
            alias = self.writer._alias("torch")
            self.writer._import(alias, torch, what)
            return f"{alias}.from_numpy({self._array(array, what, name)}.copy())"
        if numpy is None or not isinstance(value, (numpy.ndarray, numpy.generic)):
            return None
        if value.dtype.hasobject or isinstance(value, numpy.ndarray) and type(value) is not numpy.ndarray:
            raise CaptureError(f"{what} is an array of Python objects, or of a kind of its own: that can't be stored")
        found, path = self.file(name, ".npy")
        with open(path, "wb") as f:
            numpy.lib.format.write_array(f, numpy.asarray(value), allow_pickle=False)
        self.writer.helpers.add("_mv_array")
        return f"_mv_array({found!r})" + ("[()]" if isinstance(value, numpy.generic) else "")

    def _object(self, value, what, _name):
        inner = self.writer.expression
        if isinstance(value, enum.Enum):
            return f"{inner(type(value), f'the class of {what}')}[{value.name!r}]"
        if type(value) is re.Pattern:
            return f"{self.writer._standard('re')}.compile({value.pattern!r}, {int(value.flags)})"
        if type(value) is logging.Logger:
            return f"{self.writer._standard('logging')}.getLogger({value.name!r})"
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            parts = [inner(v, f"`{f}` of {what}") for f, v in zip(value._fields, value)]
            return f"{inner(type(value), f'the class of {what}')}({', '.join(parts)})"
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = dataclasses.fields(value)
            names = {f.name for f in fields}
            if all(f.init for f in fields) and set(getattr(value, "__dict__", names)) == names:
                parts = [f"{n}={inner(getattr(value, n), f'`{n}` of {what}')}" for n in (f.name for f in fields)]
                return f"{inner(type(value), f'the class of {what}')}({', '.join(parts)})"
        return None

    def _library(self, value, what, name):
        """Models of libraries that have a format of their own, and estimators."""
        xgboost, lightgbm = sys.modules.get("xgboost"), sys.modules.get("lightgbm")
        if xgboost is not None and isinstance(value, (xgboost.Booster, getattr(xgboost, "XGBModel", ()))):
            found, path = self.file(name, ".ubj")
            value.save_model(path)
            made = f"{self.writer.expression(type(value), f'the class of {what}')}()"
            loader = "(lambda m: (m.load_model(_mv_data({!r})), m)[1])({})"
            return loader.format(found, made)
        if lightgbm is not None and type(value) is lightgbm.Booster:
            found, path = self.file(name, ".txt")
            value.save_model(path)
            return f"{self.writer.expression(lightgbm.Booster, what)}(model_file=_mv_data({found!r}))"
        if hasattr(value, "get_params") and hasattr(value, "fit"):
            return self._estimator(value, what, name)
        return None

    def _estimator(self, value, what, name):
        if not self.joblib:
            raise CaptureError(
                f"{what} is a fitted {type(value).__name__}: only joblib, a pickle, can store it; say `joblib=True`"
            )
        import joblib

        for module in sorted(_modules_of(value, what)):
            if module == "__main__" or modules.is_local(module) is not False:
                raise CaptureError(f"{what} holds something of `{module}`, which is not installed: a pickle of it has no code")
        found, path = self.file(name, ".joblib")
        joblib.dump(value, path)
        alias = self.writer._alias("joblib")
        self.writer._import(alias, joblib, what)
        return f"{alias}.load(_mv_data({found!r}))"


def _modules_of(value, what):
    """Modules of all that a pickle of the value would name."""
    found = set()

    class Look(pickle.Pickler):
        """Sees every object on the way."""

        def persistent_id(self, one):
            owner = one if isinstance(one, (type, types.FunctionType, types.BuiltinFunctionType)) else type(one)
            found.add(getattr(owner, "__module__", None) or "builtins")

    try:
        Look(io.BytesIO()).dump(value)
    except (pickle.PicklingError, TypeError, AttributeError, RecursionError) as error:
        raise CaptureError(f"{what} can't be stored: {error}") from None
    return found


def _is_json(value, depth=50):
    """Whether JSON gives back just this value."""
    if type(value) in (bool, int, str, type(None)):
        return True
    if type(value) is float:
        return math.isfinite(value)
    if depth == 0:
        return False
    if type(value) is list:
        return all(_is_json(v, depth - 1) for v in value)
    return type(value) is dict and all(type(k) is str and _is_json(v, depth - 1) for k, v in value.items())


def _at(key):
    return f"`{key}`" if isinstance(key, str) else f"the value at {str(key)[:40]}"


def _word(value):
    for module, name, word in _KINDS:
        kind = getattr(sys.modules.get(module), name, None)
        if isinstance(kind, type) and isinstance(value, kind):
            told = getattr(value, "name", None)
            return f"{word} ({told})" if isinstance(told, str) else word
    return f"an object of {type(value).__module__}.{type(value).__qualname__}"
