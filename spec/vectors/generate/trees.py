"""tree: nodes, and directories whose nodes say wrong things of one another."""
from .collect import MARK, Folder, blake3, derived
from .encode import CHILD, ENTRY, INNER, LEAF, changed, head, long, u

ID = "11" * 32


def entry(name, size=1, mode="File", key=ID):
    name = name if isinstance(name, bytes) else name.encode()
    return {"name": name.hex(), "mode": mode, "size": size, "id": key}


def leaf(entries):
    return head("tree") + LEAF({"Leaf": None, "entries": entries})


def inner(level, children):
    return head("tree") + INNER({"Inner": None, "level": level, "children": children})


def child(last, key=ID, entries=1, size=1):
    return {"last": last.encode().hex(), "id": key, "entries": entries, "bytes": size}


OWN = {
    "": b".mv .MV .Mv .mV mv~1 MV~1 Mv~1".split(),
    "windows": [b".mv.", b".mv ", b".mv. . ", b".mv:", b".mv::$INDEX_ALLOCATION", b".mv :x", b".MV...:x",
                b"mv~1.", b"MV~1 ", b"mv~1. .", b"mv~1:", b"mv~1::$DATA", b"mV~1 .:x"],
    "hfs": [name.encode() for name in (
        ".m\u200cv", "\u200d.mv", ".mv\u200e", ".\u200fmv", ".m\u202av", ".m\u202ev", ".m\u206av", ".M\u206fV",
        "\ufeff.mv", ".mv\ufeff", ".m\u200cv.", ".mv\u200c:x", ".mv.\u200c", "m\u200cv~1", "mv\ufeff~1", "mv~1\u200d",
        "\u202dMV~1 ")]}
FINE = [b"mv", b".mvignore", b".mvx", b"x.mv", b"..mv", b" .mv", b".m v", b"mv~2", b"mv~10", b"mv~", b"xmv~1", b":.mv",
        b".mv\xff", b"\xff.mv", b".m\xe2\x80v", b"...", b"..a", b" ", b"~", b"a\\b", b"\x01", b"x" * 255,
        ".m\u00advv".encode(), "\uff2dv~1".encode(), b"a:b", b"trailing.", b"COM1"]


def nodes(f):
    two = [entry("a", 3), entry("b", 1, "Symlink", "22" * 32)]

    def good(name, entries):
        rows = [{k: e[k] for k in ("name", "mode", "size", "id")} for e in entries]
        f.object(name, "tree", leaf(entries), {"level": 0, "rows": rows})

    good("leaf-empty", [])
    good("leaf-two", two)
    good("leaf-modes", [entry("a%d" % n, n, m) for n, m in enumerate(
        ("File", "Executable", "Symlink", "Tree", "External"))])
    good("leaf-sizes", [entry(str(n), s) for n, s in enumerate((0, 250, 251, 1 << 32, (1 << 64) - 1))])
    good("leaf-order-is-by-bytes", [entry(n) for n in (b"A", b"a", b"a-", b"a/"[:1] + b"0", b"\xc3\xa9", b"\xff")])
    for n, name in enumerate(FINE):
        good("name-fine-%02d" % n, [entry(name)])
    rows = [child("a"), child("b", "22" * 32, 7, 1 << 40)]
    for level in (1, 30):
        f.object("inner-level-%d" % level, "tree", inner(level, rows), {"level": level, "rows": rows})
    many = ENTRY(entry("@")).split(b"\x01@")
    f.object("leaf-of-4096", "tree", leaf(u(4096) + MARK), None, [
        {"numbers": [0, 4096], "before": (many[0] + b"\5").hex(), "after": many[1].hex()}])


def hostile_nodes(f):
    for group, names in OWN.items():
        for n, name in enumerate(names):
            f.hostile("name-own-folder-%s%02d" % (group and group + "-", n), "tree", "TREE-2", leaf([entry(name)]))
    for label, name in (("empty", b""), ("dot", b"."), ("dot-dot", b".."), ("slash", b"a/b"), ("slash-first", b"/a"),
                        ("slash-last", b"a/"), ("nul", b"a\0"), ("nul-alone", b"\0"), ("256-bytes", b"x" * 256)):
        f.hostile("name-" + label, "tree", "TREE-2", leaf([entry(name)]))
        if name:
            f.hostile("last-" + label, "tree", "TREE-2", inner(1, [child("!"), dict(child("b"), last=name.hex())]))
    f.hostile("last-own-folder", "tree", "TREE-2", inner(1, [child(".MV"), child("b")]))
    f.hostile("second-name-own-folder", "tree", "TREE-2", leaf([entry(".a"), entry(".mv ")]))
    for label, names in (("descending", "ba"), ("twice", "aa"), ("last-one-lower", "acb"), ("longer-first", ("aa", "a")),
                         ("signed-bytes", (b"\xff", b"a")), ("by-utf16", ("\U0001f600", "\uffff"))):
        f.hostile("entries-" + label, "tree", "TREE-1", leaf([entry(n) for n in names]))
    for label, names in (("descending", "ba"), ("twice", "aa"), ("longer-first", ("aa", "a"))):
        f.hostile("children-" + label, "tree", "TREE-1", inner(1, [child(n) for n in names]))
    for level in (0, 31, 255):
        f.hostile("inner-level-%d" % level, "tree", "TREE-4", inner(level, [child("a"), child("b")]))
    f.hostile("inner-without-children", "tree", "TREE-4", inner(1, []))
    f.hostile("inner-of-one-child", "tree", "TREE-4", inner(1, [child("a")]))
    for label, made, row in (("leaf", leaf, ENTRY(entry("@"))), ("inner", lambda r: inner(1, r), CHILD(child("@")))):
        before, after = row.split(b"\x01@")
        part = {"numbers": [0, 4097], "before": (before + b"\5").hex(), "after": after.hex()}
        f.hostile(label + "-of-4097", "tree", "TREE-4", made(u(4097) + MARK), part)
        part = dict(part, numbers=[0, 65537])
        f.hostile(label + "-of-65537", "tree", "WIRE-8", made(u(65537) + MARK), part)
    f.hostile("mode-5", "tree", "WIRE-4", leaf([entry("a", mode=u(5))]))
    f.hostile("node-2", "tree", "WIRE-4", head("tree") + b"\2\0")
    f.hostile("mode-in-2-bytes", "tree", "WIRE-1", leaf([entry("a", mode=long(0, 2))]))
    f.hostile("node-in-2-bytes", "tree", "WIRE-1", head("tree") + long(0, 2) + b"\0")
    f.hostile("size-in-8-bytes", "tree", "WIRE-1", leaf([entry("a", size=long(1, 8))]))
    f.hostile("leaf-cut", "tree", "WIRE-7", leaf([entry("a")])[:-1])
    f.hostile("leaf-of-more", "tree", "WIRE-7", leaf(u(2) + ENTRY(entry("a"))))
    f.hostile("leaf-then-a-byte", "tree", "OBJ-1", leaf([entry("a")]) + b"\0")
    f.hostile("name-of-2-64-less-1", "tree", "WIRE-7", leaf(u(1) + long((1 << 64) - 1, 8)))


def names_with(*zeros):
    """Names in order whose hash has 0 in exactly these of its first three bytes."""
    n = 0
    while True:
        hashed = blake3(b"n%d" % n)
        if all((hashed[at] == 0) == (at in zeros) for at in range(3)):
            yield "n%d" % n
        n += 1


class Directory:
    """Nodes of a directory, built from the leaves up; each step can lie."""

    def __init__(self):
        self.nodes = []

    def put(self, data):
        self.nodes.append(data)
        return derived("tree", data).hex()

    def leaf(self, names, **lies):
        key = self.put(leaf([entry(n, 10) for n in names]))
        row = {"last": names[-1].encode().hex() if names else "7e", "id": key, "entries": len(names),
               "bytes": 10 * len(names)}
        return changed(row, **lies)

    def inner(self, level, rows, **lies):
        key = self.put(inner(level, rows))
        row = {"last": rows[-1]["last"], "id": key, "entries": sum(r["entries"] for r in rows),
               "bytes": sum(r["bytes"] for r in rows)}
        return changed(row, **lies)

    def vector(self, root):
        return {"nodes": [[n.hex()] for n in self.nodes], "root": root["id"]}


def directories(f):
    border = names_with(0)
    ends = sorted(next(border) for _ in range(3))  # each ends a leaf, and no group of level 1
    common = names_with()
    others = sorted(next(common) for _ in range(12))
    all_names = sorted(ends + others)
    leaves, now = [], []
    for name in all_names:
        now.append(name)
        if name in ends:
            leaves.append(now)
            now = []
    leaves += [now] if now else []
    assert len(leaves) > 2 and all(len(group) > 1 for group in leaves)

    def build(**lies):
        d = Directory()
        rows = [d.leaf(group) for group in leaves]
        rows[1] = changed(rows[1], **lies)
        return d, d.inner(1, rows)

    d, root = build()
    f.valid("directory-of-two-levels", "directory", {"entries": 15, "bytes": 150}, **d.vector(root))
    d = Directory()
    f.valid("directory-empty", "directory", {"entries": 0, "bytes": 0}, **d.vector(d.leaf([])))
    greater = (leaves[1][-1] + "~").encode().hex()
    for name, lies in (("last-greater", {"last": greater}), ("last-lower", {"last": leaves[1][0].encode().hex()}),
                       ("entries-more", {"entries": len(leaves[1]) + 1}), ("entries-fewer", {"entries": 1}),
                       ("entries-0", {"entries": 0}), ("entries-2-64-less-1", {"entries": (1 << 64) - 1}),
                       ("bytes-more", {"bytes": 10 * len(leaves[1]) + 1}), ("bytes-0", {"bytes": 0}),
                       ("bytes-2-64-less-1", {"bytes": (1 << 64) - 1})):
        d, root = build(**lies)
        f.refuse("directory-" + name, "directory", "TREE-5", **d.vector(root))
    lying_directories(f, leaves)
    deep_directories(f)


def lying_directories(f, leaves):
    d = Directory()
    rows = [d.leaf(group) for group in leaves]
    root = d.inner(1, rows)
    f.refuse("directory-without-a-node", "directory", "OPLOG-9", nodes=[[n.hex()] for n in d.nodes[1:]], root=root["id"])
    d = Directory()
    rows = [d.leaf(leaves[0]), d.leaf(leaves[0] + leaves[1])]
    f.refuse("directory-overlap", "directory", "TREE-1", **d.vector(d.inner(1, rows)))
    d = Directory()
    rows = [d.leaf(group) for group in leaves]
    rows[2] = dict(rows[1], last=rows[2]["last"])
    f.refuse("directory-child-twice", "directory", "TREE-5", **d.vector(d.inner(1, rows)))
    d = Directory()
    rows = [d.leaf(group) for group in leaves[:2]] + [d.leaf([])]
    f.refuse("directory-empty-leaf", "directory", "TREE-5", **d.vector(d.inner(1, rows)))
    for level in (1, 2):
        d = Directory()
        rows = [d.leaf(group) for group in leaves]
        rows = [d.inner(level, rows[:2]), rows[2]]
        f.refuse("directory-level-%d-below-1" % level, "directory", "TREE-5", **d.vector(d.inner(1, rows)))
    d = Directory()
    rows = [d.leaf(group) for group in leaves]
    f.refuse("directory-level-2-for-1", "directory", "TREE-3", **d.vector(d.inner(2, rows)))
    d = Directory()
    rows = [d.leaf(leaves[0][:1]), d.leaf(leaves[0][1:])] + [d.leaf(group) for group in leaves[1:]]
    f.refuse("directory-cut-without-a-border", "directory", "TREE-3", **d.vector(d.inner(1, rows)))
    d = Directory()
    rows = [d.leaf(leaves[0] + leaves[1])] + [d.leaf(group) for group in leaves[2:]]
    f.refuse("directory-not-cut-at-a-border", "directory", "TREE-3", **d.vector(d.inner(1, rows)))
    d = Directory()
    f.refuse("directory-one-leaf-for-all", "directory", "TREE-3", **d.vector(d.leaf(sum(leaves, []))))
    d = Directory()
    rows = [d.leaf(group) for group in leaves]
    rows = [d.inner(1, rows[:2])] + rows[2:]
    f.refuse("directory-group-without-a-border", "directory", "TREE-3", **d.vector(d.inner(2, rows)))


def deep_directories(f):
    """Directories of three levels, and one whose first group of level 1 is a single leaf."""
    group_end, leaf_ends = next(names_with(0, 1)), names_with(0)
    before = next(n for n in leaf_ends if n < group_end)
    after = next(n for n in leaf_ends if n > group_end)
    first, second = [["a", before], ["n", group_end]], [[after], ["y", "z"]]
    first[1] = sorted(n for n in first[1] if n > before)
    for name, groups in (("of-three-levels", (first, second)), ("group-of-one", ([["a", group_end]], second))):
        d = Directory()
        rows = [[d.leaf(names) for names in group] for group in groups]
        root = d.inner(2, [g[0] if len(g) == 1 else d.inner(1, g) for g in rows])
        count = sum(len(names) for group in groups for names in group)
        f.valid("directory-" + name, "directory", {"entries": count, "bytes": 10 * count}, **d.vector(root))
    d = Directory()
    rows = [d.leaf(names) for names in first + second]
    f.refuse("directory-not-grouped-at-a-border", "directory", "TREE-3", **d.vector(d.inner(1, rows)))
    d = Directory()
    rows = [d.inner(1, [d.leaf(["a", group_end])]), d.inner(1, [d.leaf(names) for names in second])]
    f.refuse("directory-node-of-one-child", "directory", "TREE-4", **d.vector(d.inner(2, rows)))


def splits(f):
    """Roots of directories named by five digits: file NNNNN has NNNNN bytes and the id 0."""
    for count in (0, 1, 300, 5000):
        f.valid("root-of-%d" % count, "names", {"id": root_of(["%05d" % n for n in range(count)])}, count=count)
    plain = [n for n in ("%05d" % n for n in range(9200)) if blake3(n.encode())[0]][:9000]
    f.valid("root-of-9000-without-a-border", "names", {"id": root_of(plain)}, count=9000, without_borders=True)


def root_of(names):
    """TREE-3 once more, written apart from the reader."""
    rows = [{"name": n.encode().hex(), "mode": "File", "size": int(n), "id": "00" * 32} for n in names]
    level, key, most = 0, "name", 4096
    while True:
        groups = [[]]
        for row in rows:
            groups[-1].append(row)
            if blake3(bytes.fromhex(row[key]))[level] == 0 or len(groups[-1]) == most:
                groups.append([])
        groups = [g for g in groups if g] or [[]]
        above = []
        for g in groups:
            if level and len(g) == 1:
                above += g
                continue
            data = inner(level, g) if level else leaf(g)
            above.append({"last": g[-1][key] if g else "", "id": derived("tree", data).hex(),
                          "entries": sum(r["entries"] for r in g) if level else len(g),
                          "bytes": sum(r["bytes" if level else "size"] for r in g)})
        if len(above) == 1:
            return above[0]["id"]
        rows, level, key = above, level + 1, "last"


def trees():
    f = Folder("tree")
    for part in (nodes, hostile_nodes, directories, splits):
        part(f)
    return f

