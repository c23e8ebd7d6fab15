"""Worker of the prediction server: answers frames on a private socket.

A frame is a little-endian u32 length and that many bytes. A question is a list of bodies, each behind its
length. An answer is a list of parts in the same order: a kind, a length, a text. Kinds: "k" the result as
JSON, "e" {"message", "trace"}, "u" the same for a body that the function does not take, "s" results follow
one by one ("k", then "z" at the end), each after a byte of the front: "g" go on, "x" stop. "x" is answered
by a "z" and nothing else.
"""
import json
import os
import signal
import socket
import struct
import sys
import traceback

LENGTH = struct.Struct("<I")


class Unfit(Exception):
    """A body that the function does not take."""


def main():
    channel = socket.socket(fileno=os.dup(0))
    inbox = channel.makefile("rb", 1 << 16)
    # What the user's code prints must not get between the frames.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    outlive_signals()
    end_with_front()
    try:
        function = Function(json.loads(os.environ["MODELV_WORKER"]))
        hello = part(b"k", dumps(function.about()))
    except BaseException as e:
        channel.sendall(frame([part(b"e", failure(e))]))
        return
    channel.sendall(frame([hello]))
    while True:
        head = inbox.read(4)
        if len(head) < 4:
            return
        data = inbox.read(LENGTH.unpack(head)[0])
        bodies, at = [], 0
        while at < len(data):
            end = at + 4 + LENGTH.unpack_from(data, at)[0]
            bodies.append(data[at + 4:end])
            at = end
        if function.streams:
            stream(function, bodies[0], channel, inbox)
        else:
            channel.sendall(frame(function.answer(bodies)))


def outlive_signals():
    """Leaves it to the front when this ends: it first answers what is under way, and whoever ends a service may
    tell all its processes. What the user's code starts ends as it always does."""
    for number in (signal.SIGTERM, signal.SIGINT):
        before = signal.signal(number, lambda *_: None)
        os.register_at_fork(after_in_child=lambda n=number, b=before: signal.signal(n, b))


def end_with_front():
    """Also where the front is killed while the function works: nobody else would end this."""
    set_parent_death_signal = 1
    try:
        import ctypes

        ctypes.CDLL(None).prctl(set_parent_death_signal, int(signal.SIGKILL))
    except Exception:
        # No such system, or a Python without `ctypes`: it ends with what it is at.
        pass


def stream(function, body, channel, inbox):
    """Sends results as the front asks for them."""
    try:
        results = function.call(function.read(body))
    except Exception as e:
        channel.sendall(frame([part(b"u" if isinstance(e, Unfit) else b"e", failure(e))]))
        return
    channel.sendall(frame([part(b"s", b"")]))
    while inbox.read(1) == b"g":
        try:
            text = part(b"k", dumps(next(results)))
        except StopIteration:
            text = part(b"z", b"")
        except Exception as e:
            text = part(b"e", failure(e))
        channel.sendall(frame([text]))
        if text[:1] != b"k":
            return
    # What the function raises while it is closed is an answer to nobody: a frame that was not asked for
    # would be taken for the answer to the next request.
    try:
        results.close()
    except Exception:
        traceback.print_exc()
    channel.sendall(frame([part(b"z", b"")]))


class Function:
    """The user's function, and how it is called."""

    def __init__(self, options):
        import importlib
        import inspect
        import site

        os.chdir(options["app_dir"])
        for folder in options["site_dirs"]:
            site.addsitedir(folder)
        sys.path.insert(0, options["app_dir"])
        module, _, name = options["entry"].partition(":")
        self.predict = getattr(importlib.import_module(module), name or "predict")
        if not callable(self.predict):
            raise TypeError("it is no function: %r" % (self.predict,))
        self.frame = options["frame"]
        self.batch = options["batch"]
        self.streams = inspect.isgeneratorfunction(self.predict)
        self.hints, self.names = hints(self.predict)
        self.makers = {n: maker(h) for n, h in self.hints.items() if n != "return" and maker(h)}

    def about(self):
        """What the front has to know."""
        properties = {n: schema(self.hints.get(n)) for n in self.names}
        one = schema(self.hints.get(self.names[0])) if self.names else {}
        whole = {"type": "object", "properties": properties, "required": self.names}
        return {
            "stream": self.streams,
            "schema": one if len(self.names) < 2 else whole,
            "returns": schema(self.hints.get("return")),
            "doc": (self.predict.__doc__ or "").strip(),
        }

    def read(self, body):
        """The request behind a body. Clients choose it: whatever is wrong with it is no end of this process."""
        try:
            request = json.loads(body)
            if isinstance(request, dict) and "inputs" in request:
                request = request["inputs"]
            return data_frame_rows(request) if self.frame else request
        except Unfit:
            raise
        except Exception as e:
            raise Unfit("%s: %s" % (type(e).__name__, e)) from e

    def call(self, request):
        if self.frame:
            import pandas

            result = self.predict(pandas.DataFrame(request))
            return result.to_dict("records") if hasattr(result, "to_dict") and hasattr(result, "columns") else result
        if len(self.names) > 1:
            return self.predict(**{n: self.made(n, request[n]) for n in self.names})
        return self.predict(self.made(self.names[0], request) if self.names else request)

    def made(self, name, value):
        make = self.makers.get(name)
        try:
            return make(value) if make else value
        except Exception as e:
            raise Unfit("%s: %s" % (name, e)) from e

    def answer(self, bodies):
        requests = []
        for body in bodies:
            try:
                requests.append(self.read(body))
            except Unfit as e:
                requests.append(e)
        if all(isinstance(r, list) for r in requests):
            return self.split(requests)
        return [self.alone(request) for request in requests]

    def split(self, requests):
        """All in one call, or each half in one: a bad one costs no other, and few calls more."""
        if len(requests) == 1:
            return [self.alone(requests[0])]
        half = len(requests) // 2
        return self.together(requests) or self.split(requests[:half]) + self.split(requests[half:])

    def together(self, requests):
        """All in one call; None where that fails."""
        joined = [one for request in requests for one in request]
        try:
            result = self.call(joined)
            result = result.tolist() if hasattr(result, "tolist") else result
            if not isinstance(result, list) or len(result) != len(joined):
                return None
            parts, at = [], 0
            for request in requests:
                parts.append(part(b"k", dumps(result[at:at + len(request)])))
                at += len(request)
            return parts
        except Exception:
            return None

    def alone(self, request):
        try:
            if isinstance(request, Unfit):
                raise request
            return part(b"k", dumps(self.call(request)))
        except Unfit as e:
            return part(b"u", failure(e))
        except Exception as e:
            return part(b"e", failure(e))


def data_frame_rows(request):
    """Rows of a data frame: records, a split frame, or either under MLflow's names."""
    if isinstance(request, dict):
        request = request.get("dataframe_split", request.get("dataframe_records", request))
    if isinstance(request, dict) and "columns" in request:
        if not isinstance(request["columns"], list) or not isinstance(request.get("data"), list):
            raise Unfit("no rows: columns and data are lists")
        return [dict(zip(request["columns"], row)) for row in request["data"]]
    if isinstance(request, dict):
        return [request]
    if isinstance(request, list) and all(isinstance(row, dict) for row in request):
        return request
    raise Unfit("no rows: expected a list of objects, or an object with columns and data")


def hints(function):
    """Types of the parameters and of the result, and the parameters that must be given."""
    import inspect
    import typing

    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return {}, []
    try:
        found = typing.get_type_hints(function if inspect.isroutine(function) else function.__call__)
    except Exception:
        found = {}
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    wanted = [p for p in signature.parameters.values() if p.kind in kinds]
    names = [p.name for p in wanted if p.default is p.empty] or [p.name for p in wanted[:1]]
    return found, names


def schema(hint):
    """JSON Schema of a type; an empty one where nothing is known of it."""
    import collections.abc
    import dataclasses
    import typing

    plain_types = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
    if hint in plain_types:
        return {"type": plain_types[hint]}
    if hasattr(hint, "model_json_schema"):
        return hint.model_json_schema()
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (list, set, frozenset, collections.abc.Sequence, collections.abc.Iterable,
                  collections.abc.Iterator, collections.abc.Generator) and args:
        return {"type": "array", "items": schema(args[0])}
    if hint is list or origin is tuple:
        return {"type": "array"}
    if origin is dict and len(args) == 2:
        return {"type": "object", "additionalProperties": schema(args[1])}
    if hint is dict:
        return {"type": "object"}
    if origin is typing.Literal:
        return {"enum": list(args)}
    if origin is typing.Union or type(hint).__name__ == "UnionType":
        return {"anyOf": [schema(a) for a in args]}
    if isinstance(hint, type) and (dataclasses.is_dataclass(hint) or hasattr(hint, "__required_keys__")):
        fields = typing.get_type_hints(hint)
        needed = getattr(hint, "__required_keys__", None)
        if needed is None:
            missing = dataclasses.MISSING
            needed = [f.name for f in dataclasses.fields(hint)
                      if f.default is missing and f.default_factory is missing]
        return {"type": "object", "properties": {n: schema(t) for n, t in fields.items()},
                "required": sorted(needed)}
    return {}


def maker(hint):
    """What makes a value of the type from JSON, for types that JSON has not."""
    import dataclasses
    import typing

    if hasattr(hint, "model_validate"):
        return hint.model_validate
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return lambda value: hint(**value)
    args = typing.get_args(hint)
    if typing.get_origin(hint) is list and args and maker(args[0]):
        inner = maker(args[0])
        return lambda values: [inner(value) for value in values]
    return None


def frame(parts):
    body = b"".join(parts)
    return LENGTH.pack(len(body)) + body


def part(kind, text):
    return kind + LENGTH.pack(len(text)) + text


def failure(e):
    text = {"message": "%s: %s" % (type(e).__name__, e), "trace": traceback.format_exc()}
    return json.dumps(text).encode()


def dumps(value):
    return json.dumps(value, allow_nan=False, default=plain).encode()


def plain(value):
    """numpy arrays and scalars, and whatever else says how it becomes a list or a number."""
    for method in ("tolist", "item", "isoformat"):
        if hasattr(value, method):
            return getattr(value, method)()
    raise TypeError("predict returned a %s, which is no JSON" % type(value).__name__)


main()
