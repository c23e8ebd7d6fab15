"""Collects the vectors of one folder, and writes them."""
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT.parent / "reader"))
from blake3 import blake3  # noqa: E402

MARK = b"<<<the long part>>>"


def derived(kind, data):
    return blake3(data, "modelv 2026-11 %s v1" % kind)


def parts(data, *long_parts):
    """Bytes as a vector describes them; each MARK stands for the next long part."""
    if not isinstance(data, bytes):
        return data
    pieces = data.split(MARK)
    assert len(pieces) == len(long_parts) + 1
    out = [pieces[0].hex()] if pieces[0] else []
    for part, piece in zip(long_parts, pieces[1:]):
        out += [part] + ([piece.hex()] if piece else [])
    return out


def content(described):
    """The bytes that a description means."""
    out = b""
    for part in described:
        if isinstance(part, str):
            out += bytes.fromhex(part)
        elif "repeat" in part:
            out += bytes.fromhex(part["repeat"]) * part["times"]
        elif "xof" in part:
            out += blake3(part["xof"].encode(), None, part["length"])
        else:
            ends = bytes.fromhex(part["before"]), bytes.fromhex(part["after"])
            out += b"".join(ends[0] + b"%05d" % n + ends[1] for n in range(*part["numbers"]))
    return out


class Folder:
    def __init__(self, name):
        self.name, self.vectors, self.names = name, [], set()

    def add(self, name, kind, fields):
        assert name not in self.names, name
        self.names.add(name)
        self.vectors.append(dict(fields, name=name, kind=kind))

    def object(self, name, kind, data, value=None, long_parts=()):
        """A valid object, with its id."""
        described = parts(data, *long_parts)
        expect = {} if value is None else {"value": value}
        if kind not in ("cuts", "operation"):
            expect["id"] = derived(kind, content(described)).hex()
        self.add(name, kind, {"bytes": described, "expect": expect})

    def valid(self, name, kind, expect, **fields):
        self.add(name, kind, dict(fields, expect=expect))

    def hostile(self, name, kind, rule, data, *long_parts):
        self.add(name, kind, {"bytes": parts(data, *long_parts), "breaks": rule})

    def refuse(self, name, kind, rule, **fields):
        self.add(name, kind, dict(fields, breaks=rule))

    def text(self):
        return json.dumps({"vectors": self.vectors}, indent=1, sort_keys=True) + "\n"

    def checksums(self):
        """BLAKE3 of each vector as compact JSON with sorted keys, and its name."""
        out = {}
        for vector in self.vectors:
            compact = json.dumps(vector, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
            out["%s/%s" % (self.name, vector["name"])] = blake3(compact).hex()
        return out
