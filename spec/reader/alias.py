"""Aliases (alias.md): the record of each move, back to the first."""
import json

from canon import need

MOVES_MAX = 100000


def check(store, ref, key):
    """ALIAS-1 to ALIAS-3 of the record that the ref names, and of all before."""
    name = ref[len("refs/aliases/"):]
    moves = []
    while key is not None:
        need(len(moves) < MOVES_MAX, "ALIAS-1", "too many moves of %s" % name)
        record = store.object("commit", key)
        extra = dict(record["extra"])
        need(extra.get("alias") == name, "ALIAS-1", "a record of another alias than %s" % name)
        need(extra.get("alias.action") in ("set", "rollback"), "ALIAS-1", "another action")
        need(len(record["parents"]) in (1, 2) and not record["runs"], "ALIAS-1", "other parents or runs")
        commit = store.object("commit", record["parents"][0])
        same = record["recipe"] == commit["recipe"] and record["model"] == commit["model"]
        need(same, "ALIAS-1", "a record of another recipe or model")
        checks = json.loads(extra.get("alias.gate", '{"checks": []}'))["checks"]
        passed = all(c["passed"] for c in checks)
        need(passed or "alias.forced" in extra, "ALIAS-3", "a move past a gate without a reason")
        moves.append((extra["alias.action"], record["parents"][0]))
        key = record["parents"][1] if len(record["parents"]) == 2 else None
    served = []
    for action, commit in reversed(moves):
        if action == "set":
            served.append(commit)
            continue
        need(len(served) > 1, "ALIAS-2", "a rollback to nothing")
        served.pop()
        need(served[-1] == commit, "ALIAS-2", "a rollback to another commit")
