"""merge-state."""
import json

from .collect import Folder

A, B, C, D = "aa" * 32, "bb" * 32, "cc" * 32, "dd" * 32
MERGE_1 = {"theirs": A, "label": "side", "message": "merge side into main", "env": B, "conflicts": []}
SEQUENCE = {"start": A, "branch": "refs/heads/main", "current": {"commit": B}, "todo": [{"commit": C, "mainline": 2}],
            "total": 3, "note_source": False}
REBASE = dict(MERGE_1, version=2, action="rebase", theirs=None, sequence=SEQUENCE)


def side(blob, mode=0):
    return {"mode": mode, "size": 3, "blob": blob}


def conflict(path="params.toml", **fields):
    return dict({"item": path, "kind": "text", "path": path, "part": None, "base": None, "ours": None, "theirs": None,
                 "path_bytes": list(path.encode()), "base_file": side(A), "ours_file": side(B, 1),
                 "theirs_file": side(C, 2), "resolved": False}, **fields)


KEY = conflict(item="params.toml:lr", kind="key", part="lr", base="0.1", ours="0.2", theirs="0.3", resolved=True)
ENV = conflict("", item="env:torch", kind="env", part="torch", base="2.0", ours="2.1", theirs=None, base_file=None,
               ours_file=None, theirs_file=None)
GONE = conflict("weights/a\u00e4.bin", kind="delete/modify", theirs_file=None)


def merge(**fields):
    return dict(MERGE_1, version=2, action="merge", **fields)


def without(record, key):
    return {k: v for k, v in record.items() if k != key}


def data(state):
    return json.dumps(state, separators=(",", ":")).encode()


def states():
    f = Folder("merge-state")

    def valid(name, state, **expect):
        want = {"version": 2, "action": "merge", "conflicts": 0, "open": 0, "commits": [A], "env": B, "blobs": []}
        f.valid(name, "merge-state", dict(want, **expect), bytes=[data(state).hex()])

    valid("version-1", MERGE_1, version=1)
    valid("version-1-conflicts", dict(MERGE_1, conflicts=[conflict(), KEY]), version=1, conflicts=2, open=1,
          blobs=[A, B, C, A, B, C])
    valid("merge", merge())
    valid("conflicts", merge(conflicts=[conflict(), KEY, ENV, GONE]), conflicts=4, open=3,
          blobs=[A, B, C, A, B, C, A, B])
    valid("made-and-weights", merge(made=[[97, 255]], weights={"m.safetensors": "linear=0.5"}))
    valid("unknown-keys", merge(later={"a": [1]}, conflicts=[conflict(later=1)]), conflicts=1, open=1, blobs=[A, B, C])
    valid("rebase", REBASE, action="rebase", commits=[A, B, C])
    valid("cherry-pick", dict(REBASE, action="cherry-pick", sequence=dict(without(SEQUENCE, "branch"), todo=[],
                                                                       note_source=True)),
          action="cherry-pick", commits=[A, B])
    valid("revert-a-merge", dict(REBASE, action="revert",
                                 sequence=dict(SEQUENCE, current={"commit": D, "mainline": 1}, todo=[])),
          action="revert", commits=[A, D])

    def refuse(name, state, rule="STATE-4"):
        f.hostile(name, "merge-state", rule, state if isinstance(state, bytes) else data(state))

    refuse("version-3", dict(merge(), version=3), "STATE-1")
    refuse("empty", b"")
    refuse("cut", data(merge())[:-1])
    refuse("a-byte-behind", data(merge()) + b"}")
    refuse("no-utf8", data(merge()).replace(b"side", b"si\xff\xfe", 1))
    refuse("another-document", b"[1]")
    for key in ("label", "message", "env", "conflicts"):
        refuse("without-" + key, without(merge(), key))
    refuse("action-unknown", dict(merge(), action="squash"))
    refuse("theirs-no-id", dict(merge(), theirs=A[:-1]))
    refuse("theirs-upper-case", dict(merge(), theirs=A.upper()))
    refuse("env-no-id", dict(merge(), env="x"))
    refuse("blob-no-id", merge(conflicts=[conflict(base_file=side("00"))]))
    refuse("path-absolute", merge(conflicts=[conflict(path_bytes=list(b"/etc/passwd"))]))
    refuse("path-upwards", merge(conflicts=[conflict(path_bytes=list(b"../x"))]))
    refuse("path-empty", merge(conflicts=[conflict(path_bytes=[])]))
    refuse("path-no-byte", merge(conflicts=[conflict(path_bytes=[256])]))
    refuse("resolved-a-number", merge(conflicts=[conflict(resolved=1)]))
    refuse("step-without-commit", dict(REBASE, sequence=dict(SEQUENCE, current={"mainline": 1})))
    refuse("step-no-id", dict(REBASE, sequence=dict(SEQUENCE, todo=[{"commit": "HEAD"}])))
    return f
