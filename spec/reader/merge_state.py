"""The state of an unfinished merge (merge-state.md)."""
import json
import re

import tree
from canon import Refused, need

ACTIONS = ("merge", "cherry-pick", "revert", "rebase")


def an_id(text):
    need(isinstance(text, str) and re.fullmatch("[0-9a-f]{64}", text), "STATE-4", "no id: %r" % (text,))
    return text


def field(record, key, form):
    need(isinstance(record, dict) and key in record, "STATE-4", "`%s` is missing" % key)
    value = record[key]
    # A truth value is a number to Python.
    need(isinstance(value, form) and (form is bool or not isinstance(value, bool)), "STATE-4", "`%s` is %r" % (key, value))
    return value


def conflict(record):
    """Whether it is open, and the contents that it takes to decide it."""
    for key in ("item", "kind", "path"):
        field(record, key, str)
    if record["kind"] != "env":
        try:
            path = bytes(field(record, "path_bytes", list))
            for name in path.split(b"/"):
                tree.check_name(name)
            tree.check_path(path, "STATE-4")
        except (Refused, TypeError, ValueError) as e:
            raise Refused("STATE-4", "path of a conflict: %s" % e)
    sides = [record.get("%s_file" % side) for side in ("base", "ours", "theirs")]
    return not field(record, "resolved", bool), [an_id(field(s, "blob", str)) for s in sides if s is not None]


def decode(data):
    """What it takes to finish it."""
    try:
        state = json.loads(data.decode("utf-8"))
    except ValueError as e:
        raise Refused("STATE-4", "no JSON: %s" % e)
    need(isinstance(state, dict), "STATE-4", "no JSON object")
    version = field(state, "version", int) if "version" in state else 1
    need(version <= 2, "STATE-1", "version %d" % version)
    action = state.get("action", "merge")
    need(action in ACTIONS, "STATE-4", "`action` is %r" % (action,))
    for key in ("label", "message"):
        field(state, key, str)
    commits = [an_id(state["theirs"])] if state.get("theirs") is not None else []
    sequence = state.get("sequence")
    if sequence is not None:
        steps = [field(sequence, "current", dict)] + field(sequence, "todo", list)
        field(sequence, "total", int)
        commits.append(an_id(field(sequence, "start", str)))
        commits += [an_id(field(step, "commit", str)) for step in steps]
    found = [conflict(c) for c in field(state, "conflicts", list)]
    return {"version": version, "action": action, "open": sum(is_open for is_open, _ in found),
            "conflicts": len(found), "commits": commits, "env": an_id(field(state, "env", str)),
            "blobs": [blob for _, blobs in found for blob in blobs]}
