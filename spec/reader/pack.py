"""Packs, pack indexes (pack.md, pack-index.md) and the blobs in them (blob.md)."""
import struct
from functools import lru_cache

import objects
import planes
import predict
import tree
from blake3 import Hasher, blake3
from canon import KINDS, OBJECT_MAX, derived_id, need
from zstd import unzstd

CHUNK, CUTS = 0, KINDS["cuts"]
TAGS = {CHUNK: "chunk"}
TAGS.update((n, kind) for kind, n in KINDS.items() if kind not in ("recipe", "operation", "stage"))
ROW, PIECE, DEPTH_MAX = struct.Struct("<BB32sQII"), 1 << 20, 4


class Pack:
    """One pack file: its table is checked when it is opened, the rest by `check`."""

    def __init__(self, path):
        self.path, self.file = path, open(path, "rb")
        self.size = self.file.seek(0, 2)
        need(self.size >= 56, "PACK-4", "a pack of %d bytes" % self.size)
        need(self.read(0, 8) == b"MVPACK\0\1", "PACK-4", "magic or version")
        self.table = struct.unpack("<Q", self.read(self.size - 40, 8))[0]
        room = self.size - 40 - self.table - 8
        need(self.table >= 8 and room >= 0, "PACK-5", "table at %d" % self.table)
        count = struct.unpack("<Q", self.read(self.table, 8))[0]
        need(count * ROW.size == room, "PACK-5", "%d rows in %d bytes" % (count, room))
        table = self.read(self.table + 8, room)
        self.rows = [ROW.unpack_from(table, i * ROW.size) for i in range(count)]
        keys = [(row[0], row[2]) for row in self.rows]
        need(all(a < b for a, b in zip(keys, keys[1:])), "PACK-5", "rows not sorted or not unique")
        for row in self.rows:
            self.check_row(row)

    def read(self, at, size):
        self.file.seek(at)
        data = self.file.read(size)
        need(len(data) == size, "PACK-4", "cut off")
        return data

    def check_row(self, row):
        tag, codec, _, offset, stored, plain = row
        need(tag in TAGS, "PACK-8", "tag %d" % tag)
        need(codec < (6 if tag == CHUNK else 3), "PACK-6", "codec %d" % codec)
        limit = objects.CHUNK_MAX if tag == CHUNK else OBJECT_MAX
        need(stored <= plain <= limit, "PACK-2", "%d bytes stored for %d" % (stored, plain))
        need(codec or stored == plain, "PACK-6", "raw bytes of two lengths")
        need(8 <= offset and offset + stored <= self.table, "PACK-7", "an entry outside")

    def check(self):
        """Everything of the pack but its entries."""
        at = 8
        for offset, stored in sorted((row[3], row[4]) for row in self.rows):
            need(offset == at, "PACK-7", "an entry at %d, the one before ends at %d" % (offset, at))
            at += stored
        need(at == self.table, "PACK-7", "bytes between entries and table")
        hasher = Hasher()
        for start in range(0, self.size - 32, PIECE):
            hasher.update(self.read(start, min(PIECE, self.size - 32 - start)))
        name = hasher.digest()
        need(name == self.read(self.size - 32, 32), "PACK-4", "hash")
        need(name.hex() == self.path.stem, "PACK-4", "name")

    def entry(self, row, base, depth=DEPTH_MAX):
        """Decoded bytes, checked against the id (PACK-1); `base` gives a chunk that is at most so deep."""
        tag, codec, key, offset, stored, plain = row
        data = self.read(offset, stored)
        if codec == 1:
            data = unzstd(data, plain)
        elif codec == 2:
            data = planes.decode(data, plain)
        elif codec == 3:
            need(stored >= 32, "PACK-6", "no room for a base")
            whole, data = base(data[:32], 0, "PACK-10"), planes.decode(data[32:], plain)
            need(len(whole) == plain, "PACK-6", "a base of %d bytes" % len(whole))
            data = bytes(a ^ b for a, b in zip(data, whole))
        elif codec == 4:
            data = predict.decode(data, plain, lambda key, most: base(key, min(most, depth - 1), "PRED-5"))
        elif codec == 5:
            head = 1 + 32 * data[0] if data[:1] in (b"\1", b"\2") else 0
            need(0 < head <= stored, "PACK-11", "bases")
            before = [base(data[at:at + 32], depth - 1, "PACK-11") for at in range(1, head, 32)]
            data = unzstd(data[head:], plain, b"".join(before))
        if tag == CHUNK:
            need(blake3(data) == key, "PACK-1", "chunk %s" % key.hex())
        elif tag != CUTS:
            need(derived_id(TAGS[tag], data) == key, "PACK-1", "%s %s" % (TAGS[tag], key.hex()))
        return data

    def check_index(self):
        """False when there is none."""
        path = self.path.with_suffix(".idx")
        if not path.exists():
            return False
        need(path.stat().st_size == 1096 + ROW.size * len(self.rows), "PIDX-5", "another number of rows")
        data = path.read_bytes()
        need(data[:8] == b"MVPIDX\0\1", "PIDX-4", "magic or version")
        need(data[8:40].hex() == self.path.stem, "PIDX-4", "index of another pack")
        need(blake3(data[:-32]) == data[-32:], "PIDX-3", "hash")
        rows = sorted(self.rows, key=lambda row: (row[2], row[0]))
        need(data[1064:-32] == b"".join(ROW.pack(*row) for row in rows), "PIDX-5", "other rows than the pack's")
        counts = [0] * 256
        for row in rows:
            counts[row[2][0]] += 1
        fan = [sum(counts[:i + 1]) for i in range(256)]
        need(list(struct.unpack("<256I", data[40:1064])) == fan, "PIDX-6", "fan-out")
        return True


class Store:
    """All packs of a folder, and condemned ones that lie elsewhere (GC-1)."""

    def __init__(self, folder, condemned=()):
        self.packs = [Pack(path) for path in sorted(folder.glob("*.pack"))]
        self.condemned = [Pack(path) for path in condemned]
        self.places, self.bases, self.indexes, self.entries = {}, {}, 0, 0
        for pack in self.packs + self.condemned:
            for row in pack.rows:
                self.places.setdefault((row[0], row[2]), (pack, row))
                if row[0] == CHUNK and row[1] < 3:
                    self.bases.setdefault(row[2], (pack, row))
        self.get = lru_cache(maxsize=64)(self.get)
        self.blob_size = lru_cache(maxsize=1 << 20)(self.blob_size)

    def get(self, tag, key):
        need((tag, key) in self.places, "BLOB-1" if tag in (CHUNK, CUTS) else "OPLOG-9",
             "%s %s is missing" % (TAGS[tag], key.hex()))
        pack, row = self.places[tag, key]
        return pack.entry(row, self.within)

    def within(self, key, depth, rule):
        """A chunk that is at most so deep (PACK-10, PRED-5)."""
        pack, row = self.bases.get(key) or (depth > 0 and self.places.get((CHUNK, key))) or (None, None)
        need(pack, rule, "base %s is missing, or too deep" % key.hex())
        return pack.entry(row, self.within, depth)

    def object(self, kind, key):
        data = self.get(KINDS[kind], key)
        return tree.decode(data) if kind == "tree" else objects.decode(kind, data)

    def load_node(self, key):
        return self.get(KINDS["tree"], key)

    def check(self):
        """Every byte and entry of every pack, then every cut blob."""
        for pack in self.packs:
            pack.check()
            self.indexes += pack.check_index()
            for row in pack.rows:
                data = pack.entry(row, self.within)
                if row[0] == KINDS["tree"]:
                    tree.decode(data)
                elif row[0] != CHUNK:
                    objects.decode(TAGS[row[0]], data)
                self.entries += 1
        for pack in self.condemned:
            pack.check()
        kept = {(row[0], row[2]) for pack in self.packs for row in pack.rows}
        for tag, key in kept:
            if tag == CUTS:
                self.blob_size(key)

    def content(self, key):
        """All bytes of a blob that was checked."""
        if (CHUNK, key) in self.places:
            return self.get(CHUNK, key)
        return b"".join(self.get(CHUNK, chunk["id"]) for chunk in self.object("cuts", key)["chunks"])

    def blob_size(self, key):
        """Size of a blob whose content is there and right (BLOB-1, BLOB-2)."""
        if (CHUNK, key) in self.places:
            return self.places[CHUNK, key][1][5]
        need((CUTS, key) in self.places, "BLOB-1", "content %s is missing" % key.hex())
        record, hasher = self.object("cuts", key), Hasher()
        for chunk in record["chunks"]:
            data = self.get(CHUNK, chunk["id"])
            need(len(data) == chunk["length"], "BLOB-2", "chunk %s has %d bytes" % (chunk["id"].hex(), len(data)))
            hasher.update(data)
        need(hasher.digest() == key, "BLOB-2", "the chunks of %s are another blob" % key.hex())
        return record["size"]
