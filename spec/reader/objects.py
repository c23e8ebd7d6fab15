"""The kinds of objects but trees (commit.md, env.md, run.md, blob.md, oplog.md)."""
import re

from canon import OBJECT_MAX, body_of, derived_id, need
from tree import check_path

STATUS = ("Finished", "Failed", "Interrupted")
DETERMINISM = ("Unknown", "BitEqual", "Tolerance", "Different")
DOUBTS = ("Changed", "Beside")
VALUES = ("Null", "Bool", "Int", "UInt", "Float", "Str", "List", "Map")
TARGETS = ("Commit", "Symbolic", "Blob", "Run", "Text")
DEPTH_MAX = 64
CHUNK_MAX = 4 << 20
# COMMIT-2: characters with the Unicode property White_Space.
SPACE = "\t\n\x0b\x0c\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))


def person(w):
    return {"name": w.text(), "email": w.text()}


def time(w):
    return {"seconds": w.int(), "offset_minutes": w.int(16)}


def recipe(w):
    return {name: w.id() for name in ("code", "data", "config", "env")}


def commit(w):
    c = {"recipe": recipe(w)}
    c["model"] = w.optional(lambda: {"tree": w.id(), "recipe": w.id()})
    c["parents"] = w.list(w.id)
    c["author"], c["committer"], c["time"] = person(w), person(w), time(w)
    c["message"], c["runs"], c["extra"] = w.text(), w.list(w.id), w.map(w.text)
    need(len(c["parents"]) <= 16, "COMMIT-1", "%d parents" % len(c["parents"]))
    need(len(set(c["parents"])) == len(c["parents"]), "COMMIT-1", "a parent twice")
    need(c["message"].strip(SPACE), "COMMIT-2", "a blank message")
    return c


def package(w):
    p = {"name": w.text(), "version": w.text(), "archive_sha256": w.optional(w.id)}
    p["source"], p["record_sha256"], p["editable"] = w.optional(w.text), w.optional(w.id), w.bool()
    return p


def ascending(rows, key, rule):
    keys = [row[key] for row in rows]
    keys = [k.encode() if isinstance(k, str) else k for k in keys]
    need(all(a < b for a, b in zip(keys, keys[1:])), rule, "%ss not sorted or not unique" % key)


def env(w):
    e = {"os": w.text(), "arch": w.text()}
    e["interpreter"] = w.optional(lambda: {"implementation": w.text(), "version": w.text(), "abi": w.text()})
    e["packages"] = w.list(lambda: package(w))
    e["locks"] = w.list(lambda: {"path": w.bytes(), "blob": w.id()})
    ascending(e["packages"], "name", "ENV-1")
    for name in (p["name"] for p in e["packages"]):
        normal = "".join(c.lower() for c in re.sub("[-_.]+", "-", name.strip(SPACE)))
        need(name and name == normal, "ENV-2", "name `%s`" % name)
    ascending(e["locks"], "path", "ENV-3")
    for lock in e["locks"]:
        check_path(lock["path"], "ENV-4")
    if w.data[7] == 2:
        e["details"] = details(w, {p["name"] for p in e["packages"]})
    return e


def details(w, packages):
    """What only version 2 of an environment has."""
    d = {"patched": w.list(lambda: {
        "package": w.text(), "sha256": w.id(), "count": w.uint(), "files": w.list(w.text)})}
    d["extras"] = w.list(lambda: {"package": w.text(), "names": w.list(w.text)})
    d["system"] = w.list(lambda: {
        "name": w.text(), "version": w.text(), "manager": w.text(), "libraries": w.list(w.text)})
    d["libraries"] = w.list(lambda: {"name": w.text(), "sha256": w.optional(w.id)})
    need(any(d.values()), "ENV-9", "details of nothing")
    for key, name in (("patched", "package"), ("extras", "package"), ("system", "name"), ("libraries", "name")):
        ascending(d[key], name, "ENV-5")
    for row in d["patched"] + d["extras"]:
        need(row["package"] in packages, "ENV-6", "details of `%s`, which is no package" % row["package"])
    for names in [row["names"] for row in d["extras"]] + [row["libraries"] for row in d["system"]]:
        need(names, "ENV-7", "no names")
        ascending([{"name": n} for n in names], "name", "ENV-7")
    for patch in d["patched"]:
        need(patch["count"] and len(patch["files"]) == min(patch["count"], 16), "ENV-8", "files of a patch")
        ascending([{"file": n} for n in patch["files"]], "file", "ENV-8")
    return d


def value(w, depth=1):
    """VALUE-1 to VALUE-3; as [variant, content], a float as its 8 bytes."""
    need(depth <= DEPTH_MAX, "VALUE-1", "a value more than %d deep" % DEPTH_MAX)
    kind = w.variant(VALUES)
    if kind in ("List", "Map"):

        def inner():
            return value(w, depth + 1)

        return [kind, w.list(inner) if kind == "List" else w.map(inner)]
    read = {"Null": lambda: None, "Bool": w.bool, "Int": w.int, "UInt": w.uint,
            "Float": lambda: w.take(8), "Str": w.text}[kind]
    content = read()
    need(kind != "UInt" or content >> 63, "VALUE-2", "%s as UInt" % content)
    return [kind, content]


def doubt(w):
    kind = w.variant(DOUBTS)
    return [kind, w.bytes() if kind == "Changed" else None]


def run(w):
    r = {"command": w.list(w.text), "recipe": w.id(), "commit": w.optional(w.id)}
    r["params"], r["metrics"] = w.map(lambda: value(w)), w.map(lambda: value(w))
    r["series"], r["outputs"] = w.optional(w.id), w.optional(w.id)
    r["status"], r["exit_code"] = w.variant(STATUS), w.optional(lambda: w.int(32))
    r["started"], r["duration_ms"], r["host"] = time(w), w.uint(), w.map(w.text)
    r["determinism"], r["log"], r["nonce"] = w.variant(DETERMINISM), w.optional(w.id), w.take(16)
    need(r["command"], "RUN-1", "no command")
    if w.data[7] >= 2:
        need(w.at < len(w.data), "OBJ-1", "version %d without an origin" % w.data[7])
        r["origin"] = o = {"ingredients": w.optional(lambda: recipe(w)), "parent": w.optional(lambda: w.take(16))}
        o["stage"] = w.optional(lambda: {"name": w.text(), "key": w.id(), "inputs": w.id()})
        o["repeats"] = w.optional(w.id)
        if w.data[7] >= 3:
            o["doubts"] = w.list(lambda: doubt(w))
            need(o["doubts"], "RUN-14", "version 3 without a doubt")
            order = [(DOUBTS.index(d[0]), d[1] or b"") for d in o["doubts"]]
            need(all(a < b for a, b in zip(order, order[1:])), "RUN-15", "doubts not sorted or not unique")
        need(any(o.values()), "RUN-9", "an origin of nothing")
        if o["ingredients"]:
            parts = b"".join(o["ingredients"][name] for name in ("code", "data", "config", "env"))
            need(derived_id("recipe", b"MODELV\3\1" + parts) == r["recipe"], "RUN-10", "other ingredients")
    return r


def stage(w):
    s = {"command": w.text(), "env": w.id(), "inputs": w.id(), "params": w.map(lambda: value(w))}
    s["outputs"] = w.list(w.bytes)
    need(all(a < b for a, b in zip(s["outputs"], s["outputs"][1:])), "RUN-12", "outputs not sorted or not unique")
    return s


def cuts(w):
    c = {"size": w.uint(), "chunks": w.list(lambda: {"id": w.id(), "length": w.uint(32)}, OBJECT_MAX)}
    lengths = [chunk["length"] for chunk in c["chunks"]]
    need(len(lengths) > 1, "CUTS-1", "%d chunks" % len(lengths))
    need(all(0 < n <= CHUNK_MAX for n in lengths), "CUTS-2", "an empty or too large chunk")
    need(sum(lengths) == c["size"], "CUTS-3", "lengths add up to %d, not %d" % (sum(lengths), c["size"]))
    return c


def target(w):
    kind = w.variant(TARGETS)
    return [kind, w.text() if kind in ("Symbolic", "Text") else w.id()]


def operation(w):
    o = {"seq": w.uint(), "time": time(w), "actor": w.text(), "command": w.text(), "nonce": w.take(16)}
    o["worktree"], o["undoes"] = w.bool(), w.optional(w.uint)
    o["changes"] = w.list(lambda: {"name": w.text(), "old": w.optional(lambda: target(w)),
                                   "new": w.optional(lambda: target(w))})
    names = [c["name"] for c in o["changes"]]
    need(len(set(names)) == len(names), "OPLOG-6", "a name twice in one operation")
    return o


READERS = {"recipe": recipe, "commit": commit, "env": env, "run": run, "cuts": cuts, "operation": operation,
           "stage": stage}


def decode(kind, data):
    w = body_of(kind, data)
    out = READERS[kind](w)
    w.end()
    return out
