#!/usr/bin/env python3
"""Reads a repository from the pages of spec/ alone and recomputes every hash.

    check.py [REPOSITORY...]     without one: the repositories in spec/vectors
"""
import ctypes.util
import struct
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from blake3 import blake3  # noqa: E402

KINDS = {1: "tree", 2: "env", 3: "recipe", 4: "commit", 5: "run", 6: "cuts", 7: "operation"}
LIMIT = 16 << 20


class Bad(Exception):
    """The bytes break a rule."""


def need(holds, what):
    if not holds:
        raise Bad(what)


class Wire:
    """Bodies of objects (object.md, "Wire format of bodies")."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        need(0 <= n <= len(self.data) - self.at, "cut off")
        self.at += n
        return self.data[self.at - n:self.at]

    def uint(self):
        first = self.take(1)[0]
        if first < 251:
            return first
        need(first <= 253, "number")
        size = {251: 2, 252: 4, 253: 8}[first]
        n = int.from_bytes(self.take(size), "little")
        need(n >= {2: 251, 4: 1 << 16, 8: 1 << 32}[size], "OBJ-2: a long form of a small number")
        return n

    def int(self):
        n = self.uint()
        return -(n + 1) // 2 if n & 1 else n // 2

    def byte(self):
        return self.take(1)[0]

    def bool(self):
        n = self.byte()
        need(n < 2, "bool")
        return bool(n)

    def id(self):
        return self.take(32)

    def nonce(self):
        return self.take(16)

    def bytes(self):
        return self.take(self.uint())

    def text(self):
        return self.bytes().decode()

    def list(self, item):
        count = self.uint()
        need(count <= len(self.data), "OBJ-3: a length above what is there")
        return [item() for _ in range(count)]

    def map(self, value):
        pairs = self.list(lambda: (self.text(), value()))
        keys = [k.encode() for k, _ in pairs]
        need(keys == sorted(set(keys)), "map not sorted")
        return dict(pairs)

    def optional(self, item):
        return item() if self.bool() else None

    def value(self):
        kinds = [lambda: None, self.bool, self.int, self.uint, lambda: struct.unpack("<d", self.take(8))[0],
                 self.text, lambda: self.list(self.value), lambda: self.map(self.value)]
        n = self.uint()
        need(n < len(kinds), "value")
        return kinds[n]()

    def variant(self, count):
        n = self.uint()
        need(n < count, "variant")
        return n

    def time(self):
        return self.int(), self.int()

    def person(self):
        return self.text(), self.text()

    # -- the kinds ------------------------------------------------------------------------------

    def recipe(self):
        return [self.id() for _ in range(4)]

    def commit(self):
        start = self.at
        recipe = self.recipe()
        c = {"recipe": recipe, "recipe_bytes": self.data[start:self.at]}
        c["model"] = self.optional(lambda: (self.id(), self.id()))
        c["parents"] = self.list(self.id)
        c["author"], c["committer"], c["time"] = self.person(), self.person(), self.time()
        c["message"], c["runs"], c["extra"] = self.text(), self.list(self.id), self.map(self.text)
        need(len(c["parents"]) <= 16 and len(set(c["parents"])) == len(c["parents"]), "COMMIT-1")
        need(c["message"].strip(), "COMMIT-1")
        return c

    def env(self):
        os, arch = self.text(), self.text()
        python = self.optional(lambda: (self.text(), self.text(), self.text()))
        packages = self.list(lambda: (self.text(), self.text(), self.optional(self.id),
                                      self.optional(self.text), self.optional(self.id), self.bool()))
        locks = self.list(lambda: (self.bytes(), self.id()))
        for rows in (packages, locks):
            names = [r[0] for r in rows]
            need(names == sorted(set(names)), "ENV-1")
        return os, arch, python, packages, locks

    def run(self):
        command = self.list(self.text)
        need(command, "RUN-1")
        r = {"command": command, "recipe": self.id(), "commit": self.optional(self.id)}
        r["params"], r["metrics"] = self.map(self.value), self.map(self.value)
        r["series"], r["outputs"] = self.optional(self.id), self.optional(self.id)
        r["status"], r["exit_code"] = self.variant(3), self.optional(self.int)
        r["started"], r["duration_ms"], r["host"] = self.time(), self.uint(), self.map(self.text)
        r["determinism"], r["log"], r["nonce"] = self.variant(4), self.optional(self.id), self.nonce()
        return r

    def tree(self):
        if self.variant(2) == 0:
            rows = self.list(lambda: (self.bytes(), self.variant(5), self.uint(), self.id()))
            level = 0
        else:
            level = self.byte()
            need(1 <= level <= 30, "TREE-4")
            rows = self.list(lambda: (self.bytes(), self.id(), self.uint(), self.uint()))
            need(rows, "TREE-4")
        names = [r[0] for r in rows]
        need(names == sorted(set(names)) and len(rows) <= 4096, "TREE-1")
        for name in names:
            need(name and name not in (b".", b"..") and len(name) <= 255, "TREE-2")
            need(b"/" not in name and b"\0" not in name and name.lower() != b".mv", "TREE-2")
        return level, rows

    def cuts(self):
        size, chunks = self.uint(), self.list(lambda: (self.id(), self.uint()))
        need(len(chunks) > 1 and all(0 < n <= 4 << 20 for _, n in chunks), "CUTS-1")
        need(sum(n for _, n in chunks) == size, "CUTS-1")
        return size, chunks

    def target(self):
        n = self.variant(5)
        return n, self.text() if n in (1, 4) else self.id()

    def operation(self):
        o = {"seq": self.uint(), "time": self.time(), "actor": self.text(), "command": self.text()}
        o["nonce"], o["worktree"], o["undoes"] = self.nonce(), self.bool(), self.optional(self.uint)
        o["changes"] = self.list(
            lambda: (self.text(), self.optional(self.target), self.optional(self.target)))
        return o


def decode(kind, data):
    need(len(data) <= LIMIT and data[:6] == b"MODELV" and len(data) >= 8, "OBJ-1: header")
    need(KINDS.get(data[6]) == kind and data[7] == 1, "OBJ-1: kind or version")
    wire = Wire(data[8:])
    value = getattr(wire, kind)()
    need(wire.at == len(wire.data), "OBJ-1: bytes behind the end")
    return value


def derived(kind, data):
    return blake3(data, "modelv 2026-11 %s v1" % kind)


def unzstd(data, size):
    """One zstd frame, by the system's library or program: Python before 3.14 has none."""
    name = ctypes.util.find_library("zstd")
    if name:
        library = ctypes.CDLL(name)
        library.ZSTD_decompress.restype = ctypes.c_size_t
        out = ctypes.create_string_buffer(size + 1)
        n = library.ZSTD_decompress(out, ctypes.c_size_t(size + 1), data, ctypes.c_size_t(len(data)))
        need(n == size, "zstd frame")
        return out.raw[:size]
    return subprocess.run(["zstd", "-dc"], input=data, stdout=subprocess.PIPE, check=True).stdout


def planes(data, size):
    """Words rotated left by one bit and split into planes of bytes (PLANE-1)."""
    width, skip = data[0], data[1]
    need(width in (2, 4, 8) and skip < width and skip <= size, "PLANE-1: header")
    n = (size - skip) // width
    at = 2 + 5 * width
    loose = data[at:at + size - n * width]
    at += len(loose)
    found = []
    for i in range(width):
        how, length = struct.unpack("<BI", data[2 + 5 * i:7 + 5 * i])
        plane = data[at:at + length]
        need(how < 2, "PLANE-1: unknown way")
        found.append(plane if how == 0 else unzstd(plane, n))
        need(len(found[-1]) == n, "PLANE-1: length")
        at += length
    need(at == len(data), "PLANE-1: end")
    words, bits = bytearray(n * width), 8 * width
    for i, plane_bytes in enumerate(zip(*found)):
        word = int.from_bytes(bytes(plane_bytes), "big")
        word = word >> 1 | (word & 1) << bits - 1
        words[i * width:(i + 1) * width] = word.to_bytes(width, "little")
    return loose[:skip] + bytes(words) + loose[skip:]


def decode(codec, data, size):
    need(codec < 3, "unknown codec")
    return (lambda d, _: d, unzstd, planes)[codec](data, size)


class Repository:
    def __init__(self, root):
        self.root, self.entries, self.checked = Path(root), {}, 0

    def read(self):
        for path in sorted((self.root / "packs").glob("*.pack")):
            self.pack(path)
        refs = self.oplog()
        seen, stack = set(), [t[1] for t in refs.values() if t[0] == 0]
        for number, target in refs.values():
            if number == 3:
                self.run(target)
            elif number == 2:
                self.blob(target)
        while stack:
            commit_id = stack.pop()
            if commit_id not in seen:
                seen.add(commit_id)
                stack += self.commit(commit_id)
        return len(seen)

    def pack(self, path):
        data = path.read_bytes()
        need(data[:8] == b"MVPACK\0\1", "pack header")
        need(blake3(data[:-32]) == data[-32:] == bytes.fromhex(path.stem), "pack hash")
        table = struct.unpack("<Q", data[-40:-32])[0]
        count = struct.unpack("<Q", data[table:table + 8])[0]
        need(table + 8 + 50 * count + 40 == len(data), "pack table")
        rows = [data[table + 8 + 50 * i:table + 58 + 50 * i] for i in range(count)]
        keys = [(r[0], r[2:34]) for r in rows]
        need(keys == sorted(set(keys)), "pack table not sorted")
        for row in rows:
            offset, stored, plain = struct.unpack("<QII", row[34:])
            need(8 <= offset and offset + stored <= table and stored <= plain <= LIMIT, "PACK-2")
            body = data[offset:offset + stored]
            body = decode(row[1], body, plain)
            need(len(body) == plain, "PACK-2")
            tag, key = row[0], row[2:34]
            if tag == 0:
                need(blake3(body) == key, "PACK-1: chunk")
            elif tag != 6:
                need(derived(KINDS[tag], body) == key, "PACK-1: object")
            self.entries[tag, key] = body
            self.checked += 1
        index = path.with_suffix(".idx").read_bytes()
        need(index[:8] == b"MVPIDX\0\1" and index[8:40] == bytes.fromhex(path.stem), "index header")
        need(blake3(index[:-32]) == index[-32:], "index hash")
        ordered = sorted(rows, key=lambda r: (r[2:34], r[0]))
        need(index[40 + 1024:-32] == b"".join(ordered), "index rows")
        fan = [sum(r[2] <= i for r in rows) for i in range(256)]
        need(list(struct.unpack("<256I", index[40:1064])) == fan, "index fan-out")

    def oplog(self):
        data = (self.root / "oplog").read_bytes()
        need(data[:8] == b"MVOPLOG\1", "OPLOG-4")
        at, chain, refs, seq = 8, bytes(32), {}, 0
        while at < len(data):
            size, complement = struct.unpack("<II", data[at:at + 8])
            need(size ^ complement == 0xFFFFFFFF, "OPLOG-3: length")
            body = data[at + 8:at + 8 + size]
            chain = derived("operation", chain + body)
            need(chain == data[at + 8 + size:at + 40 + size], "OPLOG-3: hash")
            operation = decode("operation", body)
            need(operation["seq"] == seq, "OPLOG-1: order")
            for name, old, new in operation["changes"]:
                need(refs.get(name) == old, "OPLOG-1: old")
                refs[name] = new
                if new is None:
                    del refs[name]
            at, seq = at + 40 + size, seq + 1
        return refs

    def object(self, tag, key):
        need((tag, key) in self.entries, "%s %s is missing" % (KINDS[tag], key.hex()))
        return decode(KINDS[tag], self.entries[tag, key])

    def commit(self, key):
        c = self.object(4, key)
        code, data, config, env = c["recipe"]
        self.object(2, env)
        for root in [code, data, config] + ([c["model"][0]] if c["model"] else []):
            self.directory(root)
        for run in c["runs"]:
            self.run(run)
        return c["parents"]

    def run(self, key):
        run = self.object(5, key)
        if run["log"]:
            self.blob(run["log"])
        if run["outputs"]:
            self.directory(run["outputs"])

    def directory(self, root):
        """Checks a directory; returns its entries as the node levels hold them."""
        entries = self.node(root, 31)
        need(self.build(entries) == root, "TREE-3: split in another way")
        for name, mode, size, key in entries:
            if mode == 3:
                need(self.directory(key) == size, "size of a directory")
            else:
                need(self.blob(key) == size, "size of `%r`" % name)
        return sum(e[2] for e in entries)

    def node(self, key, above):
        level, rows = self.object(1, key)
        need(level < above, "TREE-4")
        if level == 0:
            return rows
        return [e for _, child, _, _ in rows for e in self.node(child, level)]

    def build(self, entries):
        """Root of a directory by TREE-3."""
        def number(n):
            if n < 251:
                return bytes([n])
            for mark, size in ((251, 2), (252, 4), (253, 8)):
                if n < 1 << 8 * size:
                    return bytes([mark]) + n.to_bytes(size, "little")

        def node(body):
            return derived("tree", b"MODELV\1\1" + body)

        def split(rows, level):
            groups, group = [], []
            for row in rows:
                group.append(row)
                if blake3(row[0])[level] == 0 or len(group) == 4096:
                    groups.append(group)
                    group = []
            return groups + ([group] if group else [])

        def leaf(rows):
            body = b"\0" + number(len(rows))
            for name, mode, size, key in rows:
                body += number(len(name)) + name + bytes([mode]) + number(size) + key
            return node(body)

        if not entries:
            return leaf([])
        rows = [(g[-1][0], leaf(g), len(g), sum(e[2] for e in g)) for g in split(entries, 0)]
        level = 1
        while len(rows) > 1:
            above = []
            for g in split(rows, level):
                if len(g) == 1:
                    above.append(g[0])
                    continue
                body = b"\1" + bytes([level]) + number(len(g))
                for last, key, count, size in g:
                    body += number(len(last)) + last + key + number(count) + number(size)
                above.append((g[-1][0], node(body), sum(r[2] for r in g), sum(r[3] for r in g)))
            rows, level = above, level + 1
        return rows[0][1]

    def blob(self, key):
        """Size of a blob whose content is there and right."""
        if (0, key) in self.entries:
            return len(self.entries[0, key])
        size, chunks = self.object(6, key)
        for chunk, n in chunks:
            need(len(self.entries.get((0, chunk), b"")) == n, "chunk %s" % chunk.hex())
        whole = b"".join(self.entries[0, chunk] for chunk, _ in chunks)
        need(blake3(whole) == key, "blob %s" % key.hex())
        return size


def main():
    need(blake3(b"").hex() == "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262", "BLAKE3")
    vectors = Path(__file__).parent.parent / "vectors"
    places = [Path(p) for p in sys.argv[1:]] or sorted(p for p in vectors.iterdir() if p.is_dir())
    passed = failed = 0
    for place in places:
        root = place / ".mv" if (place / ".mv").is_dir() else place
        repository = Repository(root)
        try:
            commits = repository.read()
            print("%s: %d commits, %d entries" % (place.name, commits, repository.checked))
            passed += 1
        except (Bad, ValueError, struct.error, OSError, KeyError) as e:
            print("%s: %s: %s" % (place.name, type(e).__name__, e))
            failed += 1
    print("%d passed, %d failed" % (passed, failed))
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
