"""A whole repository: every byte of its packs, its log, and everything its refs lead to."""
import alias
import gc_state
import wheels
import oplog
import tree
from canon import need
from pack import Store

LOG_MAX = 1 << 30


class Repository:
    def __init__(self, root):
        """`root` is the `.mv` folder."""
        self.store = Store(root / "packs", sorted(root.glob("condemned/*/*.pack")))
        self.horizon = gc_state.read(root / "gc")[1]
        path = root / "oplog"
        need(path.stat().st_size <= LOG_MAX, "OPLOG-8", "a log above 1 GiB is not read by this program")
        self.operations, self.refs, self.tail = oplog.read(path.read_bytes())
        self.commits, self.sizes, self.runs, self.overlays = set(), {}, set(), set()

    def check(self):
        """Raises Refused at the first broken rule; returns what was checked, as text."""
        self.store.check()
        waiting = []
        kept = [operation for operation in self.operations if operation["seq"] >= self.horizon]
        changes = [change for operation in kept for change in operation["changes"]]
        targets = {tuple(c[side]) for c in changes for side in ("old", "new") if c[side]}
        targets |= {tuple(target) for target in self.refs.values()}
        for kind, target in sorted(targets, key=str):
            if kind == "Commit":
                waiting.append(target)
            elif kind == "Run":
                self.run(target)
            elif kind == "Blob":
                self.store.blob_size(target)
        for name, (kind, target) in self.refs.items():
            if name.startswith("refs/wheels/"):
                need(kind == "Commit", "WHEELS-1", "%s is no commit" % name)
                wheels.check(self.store, name, target)
            if name.startswith("refs/aliases/"):
                need(kind == "Commit", "ALIAS-1", "%s is no commit" % name)
                alias.check(self.store, name, target)
        while waiting:
            key = waiting.pop()
            if key not in self.commits:
                self.commits.add(key)
                waiting += self.commit(key)
        said = "%d commits, %d runs, %d directories, %d operations, %d refs, %d packs, %d entries" % (
            len(self.commits), len(self.runs), len(self.sizes), len(self.operations), len(self.refs),
            len(self.store.packs), self.store.entries)
        missing = len(self.store.packs) - self.store.indexes
        said += ", %d packs without an index" % missing if missing else ""
        return said + (", %d bytes of an unfinished append" % self.tail if self.tail else "")

    def commit(self, key):
        commit = self.store.object("commit", key)
        self.store.object("env", commit["recipe"]["env"])
        for name in ("code", "data", "config"):
            self.directory(commit["recipe"][name], 1, 0)
        if commit["model"]:
            self.directory(commit["model"]["tree"], 1, 0)
        roots = [commit["recipe"][name] for name in ("code", "data", "config")]
        self.overlay(roots + ([commit["model"]["tree"]] if commit["model"] else []))
        for run in commit["runs"]:
            self.run(run)
        return commit["parents"]

    def overlay(self, roots):
        """COMMIT-4."""
        if tuple(roots) in self.overlays:
            return
        self.overlays.add(tuple(roots))
        named = {}
        for root in roots:
            for entry in tree.directory(self.store.load_node, root):
                named.setdefault(entry["name"], []).append(entry)
        for name, entries in named.items():
            if len(entries) > 1:
                need(all(e["mode"] == "Tree" for e in entries), "COMMIT-4", "%r is in two ingredients" % name)
                self.overlay([e["id"] for e in entries])

    def run(self, key):
        if key in self.runs:
            return
        self.runs.add(key)
        run = self.store.object("run", key)
        for blob in (run["log"], run["series"]):
            if blob:
                self.store.blob_size(blob)
        origin = run.get("origin") or {"ingredients": None, "stage": None}
        if origin["ingredients"]:
            self.store.object("env", origin["ingredients"]["env"])
            for name in ("code", "data", "config"):
                self.directory(origin["ingredients"][name], 1, 0)
        for root in (origin["stage"] and origin["stage"]["inputs"], run["outputs"]):
            if root:
                self.directory(root, 1, 0)

    def directory(self, root, depth, prefix):
        """Checks a directory and all below; returns the sum of sizes (TREE-6, TREE-7).

        `prefix` is the length of the path so far with its `/`. What was checked is checked again only
        where it stands deeper, which matters for the limits of paths alone.
        """
        known = self.sizes.get(root)
        if known and depth <= known[1] and prefix <= known[2]:
            return known[0]
        entries = tree.directory(self.store.load_node, root)
        for entry in entries:
            length = prefix + len(entry["name"])
            need(depth <= tree.DEPTH_MAX and length <= tree.PATH_MAX, "TREE-7", "a path too deep or too long")
            if entry["mode"] == "Tree":
                size = self.directory(entry["id"], depth + 1, length + 1)
            else:
                size = self.store.blob_size(entry["id"])
            need(size == entry["size"], "TREE-6", "%r has %d bytes, said to be %d"
                 % (entry["name"], size, entry["size"]))
        size = tree.total(e["size"] for e in entries)
        deepest = max(depth, known[1] if known else 0), max(prefix, known[2] if known else 0)
        self.sizes[root] = (size,) + deepest
        return size
