"""Trees (tree.md): nodes, what inner nodes say of those below, and the split."""
from blake3 import blake3_each
from canon import body_of, derived_id, need

MODES = ("File", "Executable", "Symlink", "Tree", "External")
NODE_MAX, LEVEL_MAX, NAME_MAX, PATH_MAX, DEPTH_MAX = 4096, 30, 255, 4096, 128
SUM_MAX = (1 << 64) - 1
IGNORED = {c for a, b in (
    (0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x200B, 0x200F),
    (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0),
    (0xFFF0, 0xFFF8), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF)) for c in range(a, b + 1)}


def check_name(name, rule="TREE-2"):
    """TREE-2."""
    need(name and name not in (b".", b".."), rule, "name %r" % name)
    need(len(name) <= NAME_MAX, rule, "a name of %d bytes" % len(name))
    need(b"/" not in name and b"\0" not in name, rule, "name %r" % name)
    seen = "".join(c for c in name.decode("utf-8", "replace") if ord(c) not in IGNORED)
    seen = seen.split(":")[0].rstrip(". ").encode().lower()  # of bytes: ASCII alone
    need(seen not in (b".mv", b"mv~1", b".git", b"git~1"), rule, "name %r is a folder of the repository or of Git" % name)


def check_path(path, rule):
    """TREE-2 for every name, TREE-7."""
    names = path.split(b"/")
    need(len(path) <= PATH_MAX and len(names) <= DEPTH_MAX, rule, "a path too deep or too long")
    for name in names:
        check_name(name, rule)


def decode(data):
    """(level, rows) of a node: entries at level 0, else children."""
    w = body_of("tree", data)
    if w.variant(("Leaf", "Inner")) == "Leaf":
        level, key = 0, "name"
        rows = w.list(lambda: {"name": w.bytes(), "mode": w.variant(MODES), "size": w.uint(), "id": w.id()})
    else:
        level, key = w.byte(), "last"
        rows = w.list(lambda: {"last": w.bytes(), "id": w.id(), "entries": w.uint(), "bytes": w.uint()})
        need(1 <= level <= LEVEL_MAX, "TREE-4", "an inner node of level %d" % level)
        need(len(rows) > 1, "TREE-4", "an inner node of %d children" % len(rows))
    w.end()
    need(len(rows) <= NODE_MAX, "TREE-4", "%d rows" % len(rows))
    names = [row[key] for row in rows]
    for name in names:
        check_name(name)
    need(all(a < b for a, b in zip(names, names[1:])), "TREE-1", "names not sorted or not unique")
    return level, rows


def total(sizes):
    return min(sum(sizes), SUM_MAX)


def node_entries(load, key, above):
    """The entries below a node, each child compared with what is said of it (TREE-5)."""
    level, rows = decode(load(key))
    need(level < above, "TREE-5", "a node of level %d below one of level %d" % (level, above))
    if level == 0:
        need(rows or above > LEVEL_MAX, "TREE-5", "an empty leaf below an inner node")
        return rows
    out = []
    for child in rows:
        below = node_entries(load, child["id"], level)
        need(below[-1]["name"] == child["last"], "TREE-5", "`last` is %r, is said to be %r"
             % (below[-1]["name"], child["last"]))
        need(len(below) == child["entries"], "TREE-5", "%d entries, said to be %d"
             % (len(below), child["entries"]))
        size = total(e["size"] for e in below)
        need(size == child["bytes"], "TREE-5", "%d bytes, said to be %d" % (size, child["bytes"]))
        need(not out or out[-1]["name"] < below[0]["name"], "TREE-1", "children that overlap")
        out += below
    return out


def directory(load, root):
    """The entries of a directory; `load` gives a node's bytes, checked against its id."""
    entries = node_entries(load, root, LEVEL_MAX + 1)
    need(build(entries) == root, "TREE-3", "split in another way")
    return entries


def number(n):
    if n < 251:
        return bytes([n])
    for mark, size in ((251, 2), (252, 4), (253, 8)):
        if n < 1 << 8 * size:
            return bytes([mark]) + n.to_bytes(size, "little")
    raise ValueError(n)


def node_id(body):
    return derived_id("tree", b"MODELV\1\1" + body)


def split(rows, level):
    """TREE-3: groups of one level; each row begins with a name and the hash of the name."""
    groups, group = [], []
    for row in rows:
        group.append(row)
        if row[1][level] == 0 or len(group) == NODE_MAX:
            groups.append(group)
            group = []
    return groups + ([group] if group else [])


def leaf(entries):
    body = b"\0" + number(len(entries))
    for e in entries:
        body += number(len(e["name"])) + e["name"] + bytes([MODES.index(e["mode"])])
        body += number(e["size"]) + e["id"]
    return node_id(body)


def build(entries):
    """The root of a directory by TREE-3."""
    if not entries:
        return leaf([])
    hashes = blake3_each([e["name"] for e in entries])
    rows = []
    for group in split([(e["name"], h, e) for e, h in zip(entries, hashes)], 0):
        below = [row[2] for row in group]
        rows.append(group[-1][:2] + (leaf(below), len(below), total(e["size"] for e in below)))
    level = 1
    while len(rows) > 1:
        above = []
        for group in split(rows, level):
            if len(group) == 1:
                above += group
                continue
            body = b"\1" + bytes([level]) + number(len(group))
            for last, _, key, count, size in group:
                body += number(len(last)) + last + key + number(count) + number(size)
            above.append(group[-1][:2] + (node_id(body), sum(r[3] for r in group), total(r[4] for r in group)))
        rows, level = above, level + 1
    return rows[0][2]
