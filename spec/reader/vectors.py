"""The vectors of spec/vectors: what is valid must be read as said, what is hostile refused by its rule."""
import json
import re
import struct
import tempfile
from pathlib import Path

import blake3 as module
import cut
import external
import gc_state
import layout
import merge_state
import objects
import oplog
import pack
import tree
from blake3 import BATCH, blake3, blake3_each
from canon import KINDS, Refused, derived_id, need


def expand(parts):
    """The bytes that a vector describes (vectors/README.md)."""
    out = bytearray()
    for part in parts:
        if isinstance(part, str):
            out += bytes.fromhex(part)
        elif "repeat" in part:
            out += bytes.fromhex(part["repeat"]) * part["times"]
        elif "xof" in part:
            out += blake3(part["xof"].encode(), None, part["length"])
        else:
            before, after = bytes.fromhex(part["before"]), bytes.fromhex(part["after"])
            for n in range(*part["numbers"]):
                out += before + b"%05d" % n + after
    return bytes(out)


def plain(value):
    """A decoded value in JSON's words: bytes as hexadecimal digits."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value


def read_object(kind, data):
    if kind == "tree":
        level, rows = tree.decode(data)
        return {"level": level, "rows": rows}
    return objects.decode(kind, data)


def read_directory(vector):
    nodes = {}
    for parts in vector["nodes"]:
        data = expand(parts)
        nodes[derived_id("tree", data)] = data

    def load(key):
        need(key in nodes, "OPLOG-9", "tree %s is missing" % key.hex())
        return nodes[key]

    entries = tree.directory(load, bytes.fromhex(vector["root"]))
    return {"entries": len(entries), "bytes": tree.total(e["size"] for e in entries)}


def read_store(vector):
    with tempfile.TemporaryDirectory() as folder:
        for name, parts in vector["files"].items():
            (Path(folder) / name).write_bytes(expand(parts))
        store = pack.Store(Path(folder))
        try:
            store.check()
        finally:
            for p in store.packs:
                p.file.close()
        return {"entries": store.entries}


def read(vector):
    """What a vector says, read from its bytes; Refused where a rule is broken."""
    kind = vector["kind"]
    if kind == "directory":
        return read_directory(vector)
    if kind == "store":
        return read_store(vector)
    if kind == "names":
        names = [b"%05d" % n for n in range(2 * vector["count"])]
        if vector.get("without_borders"):
            names = [n for n, h in zip(names, blake3_each(names)) if h[0]]
        entries = [{"name": n, "mode": "File", "size": int(n), "id": bytes(32)} for n in names[:vector["count"]]]
        return {"id": tree.build(entries).hex()}
    if kind == "gear":
        return {"blake3": blake3(struct.pack("<256Q", *cut.GEAR)).hex(), "first": "%016x" % cut.GEAR[0]}
    data = expand(vector["bytes"])
    if kind == "path":
        names = data.split(b"/")
        for name in names:
            tree.check_name(name)
        tree.check_path(data, "TREE-7")
        return {"names": len(names)}
    if kind == "text-id":
        need(re.fullmatch(b"[0-9a-f]{64}", data), "ID-4", "no id")
        return {"id": data.decode()}
    if kind in ("blob", "chunk"):
        return {"id": blake3(data).hex()}
    if kind == "borders":
        return {"lengths": cut.lengths(data, getattr(cut, vector["sizes"]))}
    if kind == "layout":
        return {"parts": [list(p[:3]) for p in layout.parts(data)], "lengths": layout.lengths(data)}
    if kind == "oplog":
        operations, refs, tail = oplog.read(data)
        return {"operations": len(operations), "refs": plain(refs), "tail": tail}
    if kind == "merge-state":
        return merge_state.decode(data)
    if kind == "external":
        return external.decode(data)
    if kind == "gc":
        epoch, horizon = gc_state.decode(data)
        return {"epoch": epoch, "horizon": horizon}
    found = {"value": plain(read_object(kind, data))}
    if kind != "cuts":
        found["id"] = derived_id(kind, data).hex()
    return found


def check(vector):
    """None, or what is wrong."""
    try:
        found = read(vector)
    except Refused as e:
        if e.rule == vector.get("breaks"):
            return None
        return "refused by %s, expected %s" % (e, vector.get("breaks", "to be read"))
    if "breaks" in vector:
        return "read, but it breaks %s" % vector["breaks"]
    for key, want in vector["expect"].items():
        if found[key] != want:
            return "%s is %r, expected %r" % (key, found[key], want)
    return None


def check_all(root):
    """(valid, hostile, problems) of every index below a folder."""
    valid, hostile, problems = 0, 0, []
    for path in sorted(root.glob("*/index.json")):
        for vector in json.loads(path.read_text())["vectors"]:
            hostile += "breaks" in vector
            valid += "breaks" not in vector
            problem = check(vector)
            if problem:
                problems.append("%s/%s: %s" % (path.parent.name, vector["name"], problem))
    return valid, hostile, problems


def check_blake3(root):
    """The official vectors of BLAKE3: input byte i is i mod 251."""
    rows = json.loads((root / "blake3.json").read_text())
    problems = []
    for batch in (BATCH, 2048):  # the smaller one, so that inputs of a few KiB are many batches
        module.BATCH = batch
        for row in rows["cases"]:
            data = bytes(i % 251 for i in range(row["input_len"]))
            for field, context in (("hash", None), ("derive_key", rows["context_string"])):
                want = bytes.fromhex(row[field])
                if blake3(data, context, len(want)) != want:
                    problems.append("blake3 of %d bytes, %s" % (len(data), field))
    module.BATCH = BATCH
    return len(rows["cases"]), problems


assert set(KINDS) == set(objects.READERS) | {"tree"}
