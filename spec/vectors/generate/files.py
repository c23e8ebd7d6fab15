"""blob, pack, pack-index, oplog."""
import struct

from .collect import Folder, blake3, content, derived, parts
from .encode import CUT, KINDS, canonical, changed, head, long, u
from . import predictions as pr
from .records import A, B, COMMIT_1, ENV_1, RUN_1
from .trees import entry, leaf

ROW = struct.Struct("<BB32sQII")
# "the same words again and again " 40 times, as `zstd -1` writes it, with a checksum.
WORDS = b"the same words again and again " * 40


def cuts_record(data, lengths, **lies):
    at, chunks = 0, []
    for n in lengths:
        chunks.append({"id": blake3(data[at:at + n]).hex(), "length": n})
        at += n
    return changed({"size": len(data), "chunks": chunks}, **lies)


def blobs():
    f = Folder("blob")
    two = cuts_record(bytes(16387), (16384, 3))
    f.object("cuts-two", "cuts", canonical("cuts", two), two)
    great = {"size": 8388608, "chunks": [{"id": A, "length": 4194304}] * 2}
    f.object("cuts-largest-chunks", "cuts", canonical("cuts", great), great)
    one = CUT({"id": A, "length": 1})
    for name, rule, fields in (
            ("no-chunks", "CUTS-1", {"size": 0, "chunks": []}),
            ("one-chunk", "CUTS-1", {"size": 1, "chunks": u(1) + one}),
            ("an-empty-chunk", "CUTS-2", {"size": 1, "chunks": u(2) + one + CUT({"id": A, "length": 0})}),
            ("a-chunk-above-4-mib", "CUTS-2", {"size": 4194306, "chunks": u(2) + one + CUT({"id": A, "length": 4194305})}),
            ("a-chunk-of-4-gib", "CUTS-2", {"size": 4294967296, "chunks": u(2) + one + CUT({"id": A, "length": 4294967295})}),
            ("size-one-more", "CUTS-3", {"size": 16388}), ("size-one-less", "CUTS-3", {"size": 16386}),
            ("size-0", "CUTS-3", {"size": 0}), ("size-2-64-less-1", "CUTS-3", {"size": (1 << 64) - 1}),
            ("length-above-u32", "WIRE-2", {"chunks": u(2) + one + bytes(32) + long(1 << 32, 8)}),
            ("length-in-4-bytes", "WIRE-1", {"chunks": u(2) + one + bytes(32) + long(3, 4)}),
            ("more-chunks-than-there-are", "WIRE-7", {"chunks": u(3) + one + one})):
        f.hostile("cuts-" + name, "cuts", rule, canonical("cuts", changed(two, **fields)))
    f.hostile("cuts-a-byte-behind", "cuts", "OBJ-1", canonical("cuts", two) + b"\0")
    f.hostile("cuts-as-a-run", "cuts", "OBJ-1", head("run") + canonical("cuts", two)[8:])
    gear = blake3(b"", "modelv 2026-11 gear table v1", 2048)
    f.valid("gear", "gear", {"blake3": blake3(gear).hex(), "first": gear[7::-1].hex()})
    for name, sizes, described in (
            ("nothing", "SMALL", []), ("shorter-than-least", "SMALL", [{"xof": "a", "length": 1000}]),
            ("least", "SMALL", [{"xof": "a", "length": 16384}]), ("least-and-one", "SMALL", [{"xof": "a", "length": 16385}]),
            ("noise", "SMALL", [{"xof": "a", "length": 600000}]), ("zeros", "SMALL", [{"repeat": "00", "times": 600000}]),
            ("noise-then-ones", "SMALL", [{"xof": "b", "length": 200000}, {"repeat": "01", "times": 400000}]),
            ("large-noise", "LARGE", [{"xof": "c", "length": 5000000}])):
        f.valid("borders-" + name, "borders", {"lengths": lengths(content(described), gear, sizes)},
                bytes=described, sizes=sizes)
    return f


def lengths(data, gear, sizes):
    """BLOB-5 once more, written apart from the reader."""
    table = struct.unpack("<256Q", gear)
    least, normal, most, b = (16384, 65536, 262144, 16) if sizes == "SMALL" else (262144, 1048576, 4194304, 20)
    out, start = [], 0
    while start < len(data):
        h, end = 0, min(len(data), start + most)
        for at in range(start + least, end):
            h = (2 * h + table[data[at]]) % (1 << 64)
            if h < 1 << (64 - b - 2 if at - start < normal else 64 - b + 2):
                end = at + 1
                break
        out.append(end - start)
        start = end
    return out


def frame(plain_size, *blocks, flags=0xA0, size=None, check=b""):
    """A zstd frame with its size in 4 bytes, of blocks (type, length, bytes)."""
    out = b"\x28\xb5\x2f\xfd" + bytes([flags]) + (plain_size if size is None else size).to_bytes(4, "little")
    for i, (kind, length, data) in enumerate(blocks):
        out += (length << 3 | kind << 1 | (i + 1 == len(blocks))).to_bytes(3, "little") + data
    return out + check


def zeros(n):
    """A frame of n zeros, a few bytes long for every 128 KiB."""
    full, rest = divmod(n, 131072)
    blocks = [(1, 131072, b"\0")] * full + ([(1, rest, b"\0")] if rest else [])
    return frame(n, *blocks)


def item(tag, data, **lies):
    """An entry: tag, codec, id, stored bytes, decoded length; and what its row says otherwise."""
    key = blake3(data) if tag == 0 else derived([k for k, n in KINDS.items() if n == tag][0], data)
    out = {"tag": tag, "codec": 0, "id": key, "stored": data, "plain": len(data), "offset": None, "length": None}
    assert set(lies) <= set(out)
    return dict(out, **lies)


def pack(items, magic=b"MVPACK\0\1", count=None, gap=b"", order=None, table=None, extra=b"", hashed=None):
    body, rows = magic, []
    for e in items:
        offset = len(body) if e["offset"] is None else e["offset"]
        length = len(e["stored"]) if e["length"] is None else e["length"]
        rows.append((e["tag"], e["codec"], e["id"], offset, length, e["plain"]))
        body += e["stored"]
    body += gap
    rows = sorted(rows, key=lambda r: (r[0], r[2])) if order is None else [rows[k] for k in order]
    at = len(body) if table is None else table
    body += struct.pack("<Q", len(rows) if count is None else count)
    body += b"".join(ROW.pack(*r) for r in rows) + extra + struct.pack("<Q", at)
    return body + (blake3(body) if hashed is None else hashed), rows


def index(name, rows, magic=b"MVPIDX\0\1", fan=None):
    rows = sorted(rows, key=lambda r: (r[2], r[0]))
    fan = [sum(r[2][0] <= i for r in rows) for i in range(256)] if fan is None else fan
    out = magic + name + struct.pack("<256I", *fan) + b"".join(ROW.pack(*r) for r in rows)
    return out + blake3(out)


def files(data, rows, name=None, idx=None):
    name = data[-32:] if name is None else name
    idx = index(name, rows) if idx is None else idx
    out = {name.hex() + ".pack": parts(data) if data else []}
    if idx:
        out[name.hex() + ".idx"] = [idx.hex()]
    return out


def some_items():
    cut = bytes(range(256)) * 8
    first, second = cut[:1000], cut[1000:]
    record = canonical("cuts", cuts_record(cut, (1000, 1048)))
    return [item(0, b"abc"), item(0, b""), item(0, first), item(0, second), item(6, record, id=blake3(cut)),
            item(1, leaf([entry("a", 3, key=blake3(b"abc").hex())])), item(2, canonical("env", ENV_1)),
            item(4, canonical("commit", COMMIT_1)), item(5, canonical("run", RUN_1)),
            item(0, bytes(300000), codec=1, stored=zeros(300000)),
            item(0, b"x" * 70 + b"y", codec=1, stored=frame(71, (1, 70, b"x"), (0, 1, b"y"))),
            item(0, WORDS, codec=1, stored=ZSTD_WORDS)]


ZSTD_WORDS = bytes.fromhex("28b52ffd0448150100c07468652073616d6520776f72647320616761696e20616e640200b608f50175cb181be77e8b")


def packs():
    f = Folder("pack")
    for name, items in (("empty", []), ("one-chunk", [item(0, b"abc")]), ("one-of-each", some_items()),
                        ("the-same-bytes-as-chunk-and-run", [item(0, canonical("run", RUN_1)), item(5, canonical("run", RUN_1))])):
        data, rows = pack(items)
        f.valid(name, "store", {"entries": len(items)}, files=files(data, rows))
    data, rows = pack([item(0, b"abc")])
    f.valid("without-an-index", "store", {"entries": 1}, files=files(data, rows, idx=b""))
    hostile_layout(f)
    hostile_rows(f)
    hostile_frames(f)
    hostile_blobs(f)
    in_planes(f)
    over_a_base(f)
    predictions(f)
    patches(f)
    return f


def refuse(f, name, rule, *items, **lies):
    f.refuse(name, "store", rule, files=files(*pack(list(items), **lies)))


def hostile_layout(f):
    abc = item(0, b"abc")
    good, rows = pack([abc])
    name = good[-32:]
    for label, data in (("empty-file", b""), ("55-bytes", good[:55]), ("cut-by-a-byte", good[:-1]),
                        ("a-byte-behind", good + b"\0")):
        rule = "PACK-4" if len(data) < 56 else "PACK-5"
        f.refuse(label, "store", rule, files=files(data, rows, name=name))
    for label, at in (("hash-flipped", -1), ("entry-flipped", 8)):
        data = bytearray(good)
        data[at] ^= 1
        rule = "PACK-4"
        f.refuse(label, "store", rule, files=files(bytes(data), rows, name=name))
    f.refuse("another-name", "store", "PACK-4", files=files(good, rows, name=bytes(32)))
    for label, magic in (("magic", b"MVPACX\0\1"), ("version-2", b"MVPACK\0\2"), ("version-0", b"MVPACK\0\0")):
        refuse(f, label, "PACK-4", abc, magic=magic)
    refuse(f, "table-behind-the-end", "PACK-5", abc, table=1 << 40)
    refuse(f, "table-at-2-64-less-1", "PACK-5", abc, table=(1 << 64) - 1)
    refuse(f, "table-in-the-magic", "PACK-5", abc, table=0)
    refuse(f, "table-a-byte-early", "PACK-5", abc, table=10)
    refuse(f, "count-too-high", "PACK-5", abc, count=2)
    refuse(f, "count-too-low", "PACK-5", abc, item(0, b"d"), count=1)
    refuse(f, "count-2-64-less-1", "PACK-5", abc, count=(1 << 64) - 1)
    refuse(f, "bytes-behind-the-rows", "PACK-5", abc, extra=b"\0")
    two = sorted([abc, item(0, b"d")], key=lambda e: e["id"])
    refuse(f, "rows-descending", "PACK-5", *two, order=[1, 0])
    refuse(f, "rows-by-id-not-tag", "PACK-5", item(0, canonical("run", RUN_1)), item(5, canonical("run", RUN_1)), order=[1, 0])
    refuse(f, "row-twice", "PACK-5", abc, order=[0, 0])


def hostile_rows(f):
    abc, run = item(0, b"abc"), canonical("run", RUN_1)
    refuse(f, "chunk-of-another-id", "PACK-1", item(0, b"abc", id=blake3(b"abd")))
    refuse(f, "run-of-another-id", "PACK-1", item(5, run, id=derived("run", run + b"\0")))
    refuse(f, "run-under-a-plain-hash", "PACK-1", item(5, run, id=blake3(run)))
    refuse(f, "run-under-the-hash-of-a-commit", "PACK-1", item(5, run, id=derived("commit", run)))
    refuse(f, "stored-above-decoded", "PACK-2", item(0, b"abc", codec=1, stored=frame(3, (0, 3, b"abc"))))
    n = 4194305
    refuse(f, "chunk-above-4-mib", "PACK-2", item(0, bytes(n), codec=1, stored=zeros(n)))
    n = (16 << 20) + 1
    refuse(f, "object-above-16-mib", "PACK-2", item(5, run, codec=1, stored=zeros(n), plain=n))
    refuse(f, "decoded-length-4-gib", "PACK-2", item(0, b"abc", codec=1, plain=0xFFFFFFFF))
    refuse(f, "raw-of-two-lengths", "PACK-6", item(0, b"abc", plain=4))
    refuse(f, "codec-3", "PACK-6", item(0, b"abc", codec=3))
    refuse(f, "codec-255", "PACK-6", item(0, b"abc", codec=255))
    refuse(f, "offset-in-the-magic", "PACK-7", item(0, b"MVP", offset=0, stored=b"", length=3))
    refuse(f, "entry-into-the-table", "PACK-7", item(0, b"abc", offset=9))
    refuse(f, "offset-2-64-less-1", "PACK-7", item(0, b"abc", offset=(1 << 64) - 1))
    refuse(f, "bytes-before-the-table", "PACK-7", abc, gap=b"?")
    refuse(f, "bytes-between-entries", "PACK-7", abc, item(0, b"d", offset=12, stored=b"?d", length=1))
    refuse(f, "entries-that-overlap", "PACK-7", abc, item(0, b"bc", offset=9, stored=b""  , length=2))
    for tag in (3, 7, 8, 255):
        refuse(f, "tag-%d" % tag, "PACK-8", dict(item(5, run), tag=tag))
    refuse(f, "recipe", "PACK-8", item(3, canonical("recipe", COMMIT_1["recipe"])))
    refuse(f, "object-with-a-byte-behind", "OBJ-1", item(5, run + b"\0"))
    refuse(f, "commit-that-is-no-object", "OBJ-1", item(4, b"no object at all"))
    refuse(f, "tree-with-a-forbidden-name", "TREE-2", item(1, leaf([entry(".mv")])))
    refuse(f, "run-as-env", "OBJ-1", item(2, run))


def hostile_frames(f):
    def chunk(name, data, stored):
        refuse(f, "frame-" + name, "PACK-6", item(0, data, codec=1, stored=stored))

    x = b"x" * 200
    good = frame(200, (1, 200, b"x"))
    chunk("cut", x, good[:-1])
    chunk("without-the-last-block", x, frame(200, (1, 100, b"x"), (1, 100, b"x"))[:-4])
    chunk("twice-half", x, frame(100, (1, 100, b"x")) * 2)
    chunk("then-a-byte", x, good + b"\0")
    chunk("then-a-skippable-one", x, good + b"\x50\x2a\x4d\x18\x04\0\0\0skip")
    chunk("behind-a-skippable-one", x, b"\x50\x2a\x4d\x18\x04\0\0\0skip" + good)
    chunk("none", x, b"no frame at all")
    chunk("empty", x, b"")
    chunk("magic", x, b"\x27" + good[1:])
    chunk("size-one-more", x, frame(200, (1, 200, b"x"), size=201))
    chunk("longer-than-recorded", x, frame(200, (1, 200, b"x"), (1, 1, b"x"), flags=0xA0))
    chunk("shorter-than-recorded", x, frame(200, (1, 199, b"x")))
    chunk("bomb", x, frame(200, *[(1, 131072, b"x")] * 20))
    chunk("with-a-dictionary", x, b"\x28\xb5\x2f\xfd\xa1\x07" + good[5:])
    chunk("reserved-bit", x, frame(200, (1, 200, b"x"), flags=0xA8))
    chunk("block-type-3", x, frame(200, (3, 200, b"x")))
    chunk("block-of-random-bytes", x, frame(200, (2, 60, bytes(range(7, 67)))))


def hostile_blobs(f):
    data = bytes(range(256)) * 8
    first, second = data[:1000], data[1000:]
    record = cuts_record(data, (1000, 1048))
    chunks = record["chunks"]

    def cut(name, rule, changed_record, *items, key=None):
        made = item(6, canonical("cuts", changed_record), id=blake3(data) if key is None else key)
        refuse(f, "cuts-" + name, rule, made, *items)

    both = item(0, first), item(0, second)
    cut("without-a-chunk", "BLOB-1", record, both[0])
    cut("of-another-blob", "BLOB-2", record, *both, key=blake3(b"another"))
    cut("in-another-order", "BLOB-2", dict(record, chunks=chunks[::-1]), *both)
    cut("with-other-lengths", "BLOB-2", dict(record, chunks=[dict(chunks[0], length=1001), dict(chunks[1], length=1047)]), *both)
    cut("of-one-chunk", "CUTS-1", {"size": 1000, "chunks": chunks[:1]}, both[0])


def planes(plain, width, skip, frames=()):
    """Codec 2 by the page: header, loose bytes, planes; those in `frames` as a zstd frame."""
    n = (len(plain) - skip) // width
    end, bits = skip + n * width, 8 * width
    found = [b""] * width
    for at in range(skip, end, width):
        word = int.from_bytes(plain[at:at + width], "little")
        word = (word << 1 | word >> bits - 1) & (1 << bits) - 1
        found = [p + word.to_bytes(width, "big")[i:i + 1] for i, p in enumerate(found)]
    rows, body = b"", b""
    for i, plane in enumerate(found):
        if i in frames:
            plane = frame(n, (1, n, plane[:1])) if len(set(plane)) == 1 else frame(n, (0, n, plane))
        rows += struct.pack("<BI", i in frames, len(plane))
        body += plane
    return bytes([width, skip]) + rows + plain[:skip] + plain[end:] + body


def in_planes(f):
    words = b"".join(struct.pack("<I", 0x3F800000 + 77 * n) for n in range(100))
    for name, plain, width, skip, frames in (
            ("of-4", words, 4, 0, (0,)), ("of-2", struct.pack("<H", 0xBF80) * 100, 2, 0, (0, 1)),
            ("of-1-in-a-frame", b"\x81" * 100, 1, 0, (0,)),
            ("of-8", struct.pack("<d", -1.5) * 60, 8, 0, range(8)), ("of-4-after-3", b"abc" + words + b"xy", 4, 3, (0,)),
            ("of-2-after-1", b"\t" + struct.pack("<H", 0x8000) * 99 + b"\7", 2, 1, (0, 1))):
        data, rows = pack([item(0, plain, codec=2, stored=planes(plain, width, skip, frames))])
        f.valid("planes-" + name, "store", {"entries": 1}, files=files(data, rows))
    good = planes(words, 4, 0, (0,))

    def bad(name, rule, stored, plain=words):
        refuse(f, "planes-" + name, rule, item(0, plain, codec=2, stored=stored))

    def put(at, *new):
        return good[:at] + bytes(new) + good[at + len(new):]

    bad("empty", "PLANE-1", b"")
    bad("one-byte", "PLANE-1", b"\4")
    for width in (0, 3, 16, 255):
        bad("width-%d" % width, "PLANE-1", put(0, width))
    bad("skip-1-of-1", "PLANE-1", b"\1\1\0\7\0\0\0abcdefgh", plain=bytes(range(60)))
    bad("skip-4", "PLANE-1", put(1, 4))
    bad("skip-255", "PLANE-1", put(1, 255))
    bad("half-a-header", "PLANE-1", good[:12])
    bad("loose-bytes-cut", "PLANE-1", bytes([2, 1]) + bytes(10), plain=bytes(12) + b"x")
    bad("how-2", "PLANE-2", put(7, 2))
    bad("how-255", "PLANE-2", put(7, 255))
    bad("raw-one-less", "PLANE-2", put(8, 99))
    bad("raw-as-a-frame", "PACK-6", put(7, 1))
    bad("a-byte-behind", "PLANE-3", good + b"\0")
    bad("cut-by-a-byte", "PLANE-3", good[:-1])
    bad("plane-of-4-gib", "PLANE-3", put(2, 1, 255, 255, 255, 255))
    first = frame(100, (1, 100, b"\x7f"))
    assert good[22:22 + len(first)] == first
    for name, other in (("bomb", frame(100, *[(1, 131072, b"\x7f")] * 9)), ("short", frame(100, (1, 99, b"\x7f"))),
                        ("skippable", b"\x50\x2a\x4d\x18\0\0\0\0" + first), ("twice", frame(50, (1, 50, b"\x7f")) * 2)):
        stored = good[:3] + struct.pack("<I", len(other)) + good[7:22] + other + good[22 + len(first):]
        bad("frame-" + name, "PACK-6", stored)
    bad("of-another-word", "PACK-1", good[:-1] + bytes([good[-1] ^ 1]))


def over(base, plain, key=None):
    """Codec 3: the id of the base, then the exclusive or in planes."""
    mixed = bytes(x ^ y for x, y in zip(base, plain))
    return (blake3(base) if key is None else key) + planes(mixed, 4, 0, (0, 1, 2, 3))


def over_a_base(f):
    one, two, three = (struct.pack("<I", n) * 100 for n in (0x3F800000, 0x3F800001, 0x3F800003))
    base, other = item(0, one), item(0, two, codec=3, stored=over(one, two))
    data, rows = pack([base, other])
    f.valid("over-a-base", "store", {"entries": 2}, files=files(data, rows))
    refuse(f, "over-a-missing-base", "PACK-10", other)
    refuse(f, "over-itself", "PACK-10", item(0, two, codec=3, stored=over(two, two)))
    refuse(f, "over-one-that-is-over-a-base", "PACK-10", base, other, item(0, three, codec=3, stored=over(two, three)))
    refuse(f, "over-a-longer-base", "PACK-6", item(0, one + b"x"),
           item(0, two, codec=3, stored=over(one, two, blake3(one + b"x"))))
    refuse(f, "over-half-an-id", "PACK-6", item(0, two, codec=3, stored=bytes(31)))
    run = canonical("run", changed(RUN_1, command=["x" * 400]))
    flat = item(0, bytes(len(run)))
    refuse(f, "run-over-a-base", "PACK-6", flat, item(5, run, codec=3, stored=over(flat["stored"], run)[:200]))
    refuse(f, "over-another-base", "PACK-1", base, item(0, three, codec=3, stored=over(one, two)))


SIZES = {1: 2, 2: 2, 3: 4}


def pack_words(words, size):
    return b"".join(w.to_bytes(size, "little") for w in words)


def noise_words(text, form, count):
    """Words of numbers that are not too large."""
    raw, keep = blake3(text.encode(), None, 4 * count), {1: 0x3D00, 2: 0x2800, 3: 0x3D000000}[form]
    mask = {1: 0x80FF, 2: 0x87FF, 3: 0x80FFFFFF}[form]
    return [int.from_bytes(raw[4 * i:4 * i + SIZES[form]], "little") & mask | keep for i in range(count)]


def tight(left, width):
    """Codec 2 for words of which none but the first twelve differ from zero."""
    n = len(left) // width
    good = planes(left, width, 0)
    at, rows, body = 2 + 5 * width, b"", b""
    for i in range(width):
        plane = good[at + i * n:at + (i + 1) * n]
        assert not any(plane[12:])
        made = frame(n, (0, 12, plane[:12]), (1, n - 12, b"\0"))
        rows, body = rows + struct.pack("<BI", 1, len(made)), body + made
    return good[:2] + rows + body


class Merged:
    """A chunk of 1000 numbers at column 3 of 40, predicted with rank 2 and what is left then; and its parts."""

    def __init__(self, form=1, by=1, way=0, order=0, p=3, q=3, scale=0.5, edges=False, count=1000):
        columns, first, rank, size = 40, 3, 2, SIZES[form]
        rows = -(-(first + count) // columns)
        self.words = noise_words("base", form, count)
        left, right = noise_words("left", by, rows * rank), noise_words("right", by, columns * rank)
        if edges:
            width = pr.SHAPES[form][2]
            whole = (1 << width) - 1
            self.words[:9] = [0, 1 << width - 1, 1, whole, whole >> 1, pr.infinite(form, 0), pr.infinite(form, 1),
                              pr.infinite(form, 0) - 1, pr.infinite(form, 1) - 1]
            left[2:4], right[5], right[7] = [0, 1 << 8 * SIZES[by] - 1], pr.infinite(by, 0), pr.infinite(by, 0) + 1
        self.base, self.adapter = pack_words(self.words, size), pack_words(left + right, SIZES[by])
        update = (rank, way, order, p, q, pr.scale_of(scale))
        values = [[pr.value(by, w) for w in side] for side in (left, right)]
        guess = pr.predicted(form, self.words, columns, first, update, *values)
        made = list(guess)
        made[10], made[11] = (made[10] + 3), made[11] ^ 1 << 8 * size - 1
        self.plain = pack_words(made, size)
        self.left = pack_words(pr.left_over(made, guess, 8 * size), size)
        self.size, border = size, len(left) * SIZES[by]
        self.place = struct.pack("<BII", form, columns, first)
        self.update = struct.pack("<HBBBBf", rank, way, order, p, q, scale)
        self.factors = (pr.factor(by, pr.piece(self.adapter, 0, border - 1), pr.piece(self.adapter, border - 1, 1)),
                        pr.factor(by, pr.piece(self.adapter, border, len(self.adapter) - border)))
        self.rest = tight(self.left, size)

    def stored(self, **other):
        f = dict(base=blake3(self.base), count=b"\1", place=self.place, update=self.update, left=self.factors[0],
                 right=self.factors[1], rest=self.rest)
        return b"".join(dict(f, **other).values())

    def items(self, stored=None):
        return [item(0, self.base), item(0, self.adapter),
                item(0, self.plain, codec=4, stored=self.stored() if stored is None else stored)]


def predictions(f):
    def valid(name, items):
        data, rows = pack(items)
        f.valid("predicted-" + name, "store", {"entries": len(items)}, files=files(data, rows))

    for name, how in (("bf16", {}), ("bf16-as-on-a-processor", dict(by=3, q=1, scale=2.0, way=1)),
                      ("bf16-as-on-a-card", dict(p=1, q=1, scale=2.0)), ("bf16-scaled-before", dict(order=1, p=1, scale=0.3)),
                      ("f16", dict(form=2, by=2, p=2, q=2, scale=-1.7)), ("f16-double", dict(form=2, by=1, way=2, scale=40.0)),
                      ("f32", dict(form=3, by=3, way=0)), ("f32-fused", dict(form=3, by=3, way=1, scale=1.1)),
                      ("f32-double", dict(form=3, by=2, way=2, scale=1e-4)), ("bf16-edges", dict(by=3, edges=True, scale=1e38)),
                      ("f16-edges", dict(form=2, by=2, edges=True, way=1)), ("f32-edges", dict(form=3, by=3, edges=True, way=2))):
        valid(name, Merged(**how).items())
    wide = struct.pack("<Q", 0x4000000000000001) * 30
    for name, plain, width in (("of-1", b"\1" * 120, 1), ("of-8", wide, 8)):
        base = pack_words([0x7F] * 120, 1) if width == 1 else struct.pack("<Q", 0x3FFFFFFFFFFFFFFF) * 30
        words = [[int.from_bytes(d[i:i + width], "little") for i in range(0, len(d), width)] for d in (plain, base)]
        left = pack_words(pr.left_over(*words, 8 * width), width)
        valid("without-updates-" + name, [item(0, base), item(0, plain, codec=4, stored=blake3(base) + b"\0"
                                                              + planes(left, width, 0, range(width)))])
    hostile_predictions(f)
    depths(f)


def hostile_predictions(f):
    m = Merged()

    def bad(name, rule, stored=None, **other):
        refuse(f, "predicted-" + name, rule, *m.items(m.stored(**other) if stored is None else stored))

    bad("half-an-id", "PRED-1", bytes(31))
    bad("cut-in-a-factor", "PRED-1", m.stored()[:100])
    bad("five-updates", "PRED-1", count=b"\5")
    bad("format-0", "PRED-1", place=b"\0" + m.place[1:])
    bad("format-4", "PRED-1", place=b"\4" + m.place[1:])
    bad("no-columns", "PRED-1", place=struct.pack("<BII", 1, 0, 0))
    bad("column-outside", "PRED-1", place=struct.pack("<BII", 1, 40, 40))
    bad("columns-4-gib", "PRED-1", place=struct.pack("<BII", 1, 0xFFFFFFFF, 3))
    for name, fields in (("rank-0", (0, 0, 0, 3, 3, 0.5)), ("rank-65535", (65535, 0, 0, 3, 3, 0.5)),
                         ("way-3", (2, 3, 0, 3, 3, 0.5)), ("order-2", (2, 0, 2, 3, 3, 0.5)),
                         ("rounding-0", (2, 0, 0, 0, 3, 0.5)), ("rounding-4", (2, 0, 0, 3, 4, 0.5)),
                         ("scale-nan", (2, 0, 0, 3, 3, float("nan"))), ("scale-infinite", (2, 0, 0, 3, 3, float("-inf")))):
        bad(name, "PRED-1", update=struct.pack("<HBBBBf", *fields))
    bad("factor-without-pieces", "PRED-1", left=b"\1\0")
    bad("factor-of-33-pieces", "PRED-1", left=b"\1\x21" + pr.piece(m.adapter) * 33)
    bad("words-of-4", "PRED-2", rest=tight(m.left, 4))
    bad("loose-bytes", "PRED-2", rest=b"\2\1" + m.rest[2:])
    bad("planes-of-3", "PLANE-1", rest=b"\3" + m.rest[1:])
    bad("planes-cut", "PLANE-3", rest=m.rest[:-1])
    bad("rank-3", "PRED-3", update=struct.pack("<HBBBBf", 3, 0, 0, 3, 3, 0.5))
    bad("columns-39", "PRED-3", place=struct.pack("<BII", 1, 39, 3))
    bad("left-too-short", "PRED-3", left=pr.factor(1, pr.piece(m.adapter, 0, 102)))
    bad("right-too-long", "PRED-3", right=pr.factor(1, pr.piece(m.adapter, 100, 164)))
    many = struct.pack("<BII", 1, 1 << 23, 3)
    bad("factor-of-8-mi", "PRED-3", place=many, left=pr.factor(1, pr.piece(m.adapter, 0, 4)),
        right=pr.factor(1, pr.piece(m.adapter, 0, 1 << 25)))
    outside = pr.factor(1, pr.piece(m.adapter, 0xFFFFFFFF, 160))
    bad("piece-outside", "PRED-3", right=outside)
    bad("without-its-factor", "PRED-5", right=pr.factor(1, pr.piece(m.adapter, 0, 160, key=bytes(32))))
    bad("without-its-base", "PRED-5", base=bytes(32))
    bad("over-itself", "PRED-5", base=blake3(m.plain))
    bad("factor-in-itself", "PRED-5", right=pr.factor(1, pr.piece(m.adapter, 0, 160, key=blake3(m.plain))))
    bad("over-another-length", "PRED-4", base=blake3(m.adapter))
    bad("with-another-scale", "PACK-1", update=struct.pack("<HBBBBf", 2, 0, 0, 3, 3, 0.75))
    run = canonical("run", changed(RUN_1, command=["x" * 400]))
    refuse(f, "run-predicted", "PACK-6", item(5, run, codec=4, stored=m.stored()[:200]))


def depths(f):
    """Chunks over one another: four steps are read, five are not."""
    chunks = [struct.pack("<I", 0x3F800000 + n) * 100 for n in range(6)]
    items = [item(0, chunks[0])]
    for n in range(1, 6):
        left = pack_words(pr.left_over([0x3F800000 + n] * 100, [0x3F800000 + n - 1] * 100, 32), 4)
        items.append(item(0, chunks[n], codec=4, stored=blake3(chunks[n - 1]) + b"\0" + planes(left, 4, 0, range(4))))
    data, rows = pack(items[:5])
    f.valid("predicted-four-deep", "store", {"entries": 5}, files=files(data, rows))
    refuse(f, "predicted-five-deep", "PRED-5", *items)
    three = item(0, chunks[1], codec=3, stored=over(chunks[0], chunks[1]))
    data, rows = pack([items[0], three, *items[2:5]])
    f.valid("predicted-over-one-over-a-base", "store", {"entries": 5}, files=files(data, rows))
    refuse(f, "over-a-predicted-base", "PACK-10", items[0], items[1],
           item(0, chunks[2], codec=3, stored=over(chunks[1], chunks[2])))


def patch(bases, *blocks, size, count=None):
    """Codec 5: number and ids of the bases, then a frame."""
    return bytes([len(bases) if count is None else count]) + b"".join(map(blake3, bases)) + frame(size, *blocks)


# A block of zstd without literals, whose only sequence is a match: codes of one value each (RLE), no length of literals,
# and behind them the bits of the offset, then those of the length.
def match(offset, length):
    """A compressed block that copies `length` bytes, 3 to 34, from `offset` bytes back."""
    value = offset + 3
    code = value.bit_length() - 1
    bits = (1 << code) | value - (1 << code)
    body = b"\0" + b"\1\x54" + bytes([0, code, length - 3]) + bits.to_bytes(code // 8 + 1, "little")
    return 2, len(body), body


def patches(f):
    old, far, new = b"0123456789" * 9, b"abcdefghij" * 9, b"x" * 40
    base, other = item(0, old), item(0, far)
    plain = new + old[20:50]
    # 40 bytes written out, then 30 from 110 back: the base is 90 long, and 20 of it come before.
    stored = patch([old], (1, 40, b"x"), match(40 + 70, 30), size=70)

    def valid(name, items):
        data, rows = pack(items)
        f.valid("patch-" + name, "store", {"entries": len(items)}, files=files(data, rows))

    def bad(name, rule, stored, plain=plain):
        refuse(f, "patch-" + name, rule, base, other, item(0, plain, codec=5, stored=stored))

    valid("of-one-base", [base, item(0, plain, codec=5, stored=stored)])
    both = old[60:90] + far[:4] + far[8:20] + new + new
    valid("of-two-bases", [base, other, item(0, both, codec=5, stored=patch(
        [old, far], match(120, 34), match(34 + 82, 12), (1, 80, b"x"), size=126))])
    bad("without-bases", "PACK-11", patch([], (1, 70, b"x"), size=70))
    bad("of-three-bases", "PACK-11", patch([old, far, old], (1, 40, b"x"), size=70)[:70], b"y" * 130)
    bad("with-half-an-id", "PACK-11", stored[:20])
    bad("of-a-missing-base", "PACK-11", patch([new], (1, 40, b"x"), match(40, 30), size=70))
    bad("of-itself", "PACK-11", patch([plain], (1, 40, b"x"), match(40, 30), size=70))
    bad("that-reaches-too-far", "PACK-6", patch([old], (1, 40, b"x"), match(131, 30), size=70))
    bad("of-another-base", "PACK-1", patch([far], (1, 40, b"x"), match(110, 30), size=70))
    bad("that-is-too-long", "PACK-6", patch([old], (1, 40, b"x"), match(110, 31), size=70))
    bad("with-bytes-behind", "PACK-6", stored + b"x")
    run = canonical("run", changed(RUN_1, command=["x" * 400]))
    refuse(f, "patch-of-a-run", "PACK-6", base, item(5, run, codec=5, stored=stored))
    chunks = [bytes([n]) * 40 + old[20:50] for n in range(6)]
    over_one = [item(0, new, codec=5, stored=patch([before], (1, 40, new[:1]), match(70, 30), size=70))
                for before, new in zip(chunks, chunks[1:])]
    whole = item(0, chunks[0])
    valid("four-deep", [whole, *over_one[:4]])
    refuse(f, "patch-five-deep", "PACK-11", whole, *over_one)


def pack_indexes():
    f = Folder("pack-index")
    items = some_items()
    for name, chosen in (("one-chunk", [item(0, b"abc")]), ("one-of-each", items)):
        data, rows = pack(chosen)
        f.valid(name, "store", {"entries": len(chosen)}, files=files(data, rows))
    data, rows = pack(items)
    name = data[-32:]
    good = index(name, rows)

    def bad(label, rule, idx):
        f.refuse(label, "store", rule, files=files(data, rows, idx=idx))

    def hashed(body):
        return body + blake3(body)

    bad("a-byte-alone", "PIDX-5", b"M")
    bad("cut-by-a-byte", "PIDX-5", good[:-1])
    bad("a-byte-behind", "PIDX-5", good + b"\0")
    bad("magic", "PIDX-4", index(name, rows, magic=b"MVPIDY\0\1"))
    bad("version-2", "PIDX-4", index(name, rows, magic=b"MVPIDX\0\2"))
    bad("of-another-pack", "PIDX-4", index(bytes(32), rows))
    bad("hash-flipped", "PIDX-3", good[:-1] + bytes([good[-1] ^ 1]))
    bad("row-flipped", "PIDX-3", good[:1070] + bytes([good[1070] ^ 1]) + good[1071:])
    bad("fan-out-flipped", "PIDX-3", good[:41] + b"\1" + good[42:])
    bad("a-row-less", "PIDX-5", index(name, rows[1:]))
    bad("a-row-more", "PIDX-5", index(name, rows + [(0, 0, bytes(32), 8, 0, 0)]))
    bad("no-rows", "PIDX-5", index(name, []))
    bad("another-offset", "PIDX-5", index(name, [rows[0][:3] + (9,) + rows[0][4:]] + rows[1:]))
    bad("another-id", "PIDX-5", index(name, [rows[0][:2] + (bytes(32),) + rows[0][3:]] + rows[1:]))
    body = good[:1064] + b"".join(ROW.pack(*r) for r in rows)
    bad("rows-in-the-order-of-the-pack", "PIDX-5", hashed(body))
    fan = [sum(r[2][0] <= i for r in rows) for i in range(256)]
    bad("fan-out-zeros", "PIDX-6", index(name, rows, fan=[0] * 256))
    bad("fan-out-shifted", "PIDX-6", index(name, rows, fan=fan[1:] + fan[-1:]))
    bad("fan-out-huge", "PIDX-6", index(name, rows, fan=[0xFFFFFFFF] * 256))
    return f


HEAD = {"name": "HEAD", "old": None, "new": ["Symbolic", "refs/heads/main"]}


def operation(seq, *changes, **fields):
    base = {"seq": seq, "time": {"seconds": 1700000000, "offset_minutes": 0}, "actor": "ada@host", "command": "init",
            "nonce": "00" * 16, "worktree": False, "undoes": None, "changes": list(changes)}
    return canonical("operation", changed(base, **fields))


def change(name, old, new):
    return {"name": name, "old": old, "new": new}


def log(*bodies, header=b"MVOPLOG\1"):
    out, chain = header, bytes(32)
    for body in bodies:
        chain = derived("operation", chain + body)
        out += struct.pack("<II", len(body), len(body) ^ 0xFFFFFFFF) + body + chain
    return out


def history():
    main, one, two = "refs/heads/main", ["Commit", A], ["Commit", B]
    return [operation(0, HEAD), operation(1, change(main, None, one), command="commit", worktree=True),
            operation(2, change(main, one, two), change("refs/runs/x", None, ["Run", A]), change("config/user.name", None, ["Text", "Ada"])),
            operation(3, change("MERGE", None, ["Blob", B])), operation(4, change("MERGE", ["Blob", B], None), undoes=3),
            operation(5, change("MERGE", None, ["Blob", A]))]


REFS = {"HEAD": ["Symbolic", "refs/heads/main"], "refs/heads/main": ["Commit", B], "refs/runs/x": ["Run", A],
        "config/user.name": ["Text", "Ada"], "MERGE": ["Blob", A]}


def oplogs():
    f = Folder("oplog")
    good = log(*history())
    ends = [len(log(*history()[:n])) for n in range(7)]

    def valid(name, data, count, refs, tail=0):
        f.valid(name, "oplog", {"operations": count, "refs": refs, "tail": tail}, bytes=parts(data))

    valid("empty", log(), 0, {})
    valid("one-operation", log(history()[0]), 1, {"HEAD": REFS["HEAD"]})
    valid("six-operations", good, 6, REFS)
    valid("a-change-of-nothing", log(operation(0, change("x", None, None))), 1, {})
    before = {k: v for k, v in REFS.items() if k != "MERGE"}
    last = good[ends[5]:]
    cut = good[:ends[5]]
    for name, tail in (
            ("1-byte", last[:1]), ("7-bytes", last[:7]), ("head-alone", last[:8]), ("half-a-body", last[:40]),
            ("no-hash", last[:-32]), ("a-byte-less", last[:-1]), ("8-zeros", bytes(8)), ("4096-zeros", bytes(4096)),
            ("longer-and-zeros", struct.pack("<II", 9000, 9000 ^ 0xFFFFFFFF) + bytes(600))):
        valid("unfinished-" + name, cut + tail, 5, before, len(tail))
    hostile_frames_of(f, good, ends)
    torn(f, valid)
    hostile_operations(f)
    return f


def torn(f, valid):
    """A last frame over four sectors, of which any are zeros."""
    long_name = operation(1, change("refs/heads/" + "x" * 1400, None, ["Commit", A]))
    first, both = log(history()[0]), log(history()[0], long_name)
    start, sectors = len(first), (len(both) + 511) // 512
    assert sectors == 4 and start < 512
    refs = {"HEAD": REFS["HEAD"]}
    for lost in range(1, 1 << sectors):
        data = bytearray(both)
        for k in range(sectors):
            if lost >> k & 1:
                low, high = max(512 * k, start), min(512 * (k + 1), len(both))
                data[low:high] = bytes(high - low)
        valid("torn-%s" % format(lost, "04b"), bytes(data), 1, refs, len(both) - start)
    third = log(history()[0], long_name, operation(2, change("x", None, ["Text", "y"])))
    for k in range(sectors):
        low, high = max(512 * k, start), min(512 * (k + 1), len(both))
        f.hostile("sector-%d-lost-before-the-last" % k, "oplog", "OPLOG-7", third[:low] + bytes(high - low) + third[high:])
    f.hostile("zeros-but-no-sector", "oplog", "OPLOG-7", both[:520] + bytes(500) + both[1020:])
    later = bytearray(both)
    inner = operation(2)
    later[512:1024] = bytes(512)
    later[1100:1108] = struct.pack("<II", len(inner), len(inner) ^ 0xFFFFFFFF)
    later[1108:1108 + len(inner)] = inner
    f.hostile("torn-but-holds-a-later-operation", "oplog", "OPLOG-7", bytes(later))
    same = bytearray(later)
    inner = operation(1)
    same[1108:1108 + len(inner)] = inner
    valid("torn-and-holds-the-same-operation", bytes(same), 1, refs, len(both) - start)


def hostile_frames_of(f, good, ends):
    def bad(name, rule, data):
        f.hostile(name, "oplog", rule, data)

    def flipped(at):
        return good[:at] + bytes([good[at] ^ 1]) + good[at + 1:]

    bad("no-bytes", "OPLOG-4", b"")
    bad("7-bytes", "OPLOG-4", good[:7])
    bad("magic", "OPLOG-4", b"MVOPLOX" + good[7:])
    bad("version-0", "OPLOG-4", good[:7] + b"\0" + good[8:])
    bad("version-2", "OPLOG-4", good[:7] + b"\2" + good[8:])
    for name, at in (("length", ends[2]), ("complement", ends[2] + 4), ("body", ends[2] + 20), ("hash", ends[3] - 1),
                     ("first-length", 8), ("last-body", ends[5] + 20), ("last-hash", ends[6] - 1), ("last-length", ends[5])):
        bad(name + "-flipped", "OPLOG-7", flipped(at))
    one, two = good[ends[1]:ends[2]], good[ends[2]:ends[3]]
    bad("frames-swapped", "OPLOG-7", good[:ends[1]] + two + one + good[ends[3]:])
    bad("frame-missing", "OPLOG-7", good[:ends[1]] + good[ends[2]:])
    bad("frame-twice", "OPLOG-7", good[:ends[2]] + one + good[ends[2]:])
    bad("first-frame-missing", "OPLOG-7", good[:8] + good[ends[1]:])
    bad("hash-of-zeros-in-the-middle", "OPLOG-7", good[:ends[3] - 32] + bytes(32) + good[ends[3]:])
    bad("zeros-in-the-middle", "OPLOG-7", good[:ends[3]] + bytes(64) + good[ends[3]:])
    bad("8-other-bytes-at-the-end", "OPLOG-7", good + b"garbage!")
    bad("zeros-then-a-byte", "OPLOG-7", good + bytes(64) + b"\1")
    bad("hash-of-zeros-then-zeros", "OPLOG-7", good[:-32] + bytes(32 + 8))
    bad("hash-of-zeros", "OPLOG-7", good[:-32] + bytes(32))
    bad("body-and-hash-of-zeros", "OPLOG-7", good[:ends[5] + 8] + bytes(len(good) - ends[5] - 8))
    for name, n in (("16-mib-and-one", (16 << 20) + 1), ("4-gib", 0xFFFFFFFF)):
        bad("unfinished-frame-of-" + name, "OPLOG-8", good + struct.pack("<II", n, n ^ 0xFFFFFFFF) + b"MODELV\7\1")


def hostile_operations(f):
    first = history()[0]
    main, a, b = "refs/heads/main", ["Commit", A], ["Commit", B]

    def bad(name, rule, *bodies):
        f.hostile(name, "oplog", rule, log(*bodies))

    bad("seq-from-1", "OPLOG-1", operation(1, HEAD))
    bad("seq-skips", "OPLOG-1", first, operation(2))
    bad("seq-again", "OPLOG-1", first, operation(0))
    bad("old-absent-but-there", "OPLOG-5", first, operation(1, change("HEAD", None, a)))
    bad("old-there-but-absent", "OPLOG-5", first, operation(1, change(main, a, b)))
    bad("old-another-id", "OPLOG-5", first, operation(1, change(main, None, a)), operation(2, change(main, b, a)))
    bad("old-another-kind", "OPLOG-5", first, operation(1, change(main, None, a)), operation(2, change(main, ["Run", A], b)))
    bad("old-of-a-removed-ref", "OPLOG-5", first, operation(1, change(main, None, a)), operation(2, change(main, a, None)),
        operation(3, change(main, a, b)))
    bad("remove-what-is-not", "OPLOG-5", first, operation(1, change(main, a, None)))
    bad("name-twice", "OPLOG-6", operation(0, change(main, None, a), change(main, a, b)))
    bad("name-twice-the-same", "OPLOG-6", operation(0, change(main, None, a), change(main, None, a)))
    bad("name-there-and-back", "OPLOG-6", operation(0, change(main, None, a), HEAD, change(main, a, None)))
    bad("body-of-no-bytes", "OBJ-1", b"")
    bad("body-of-a-commit", "OBJ-1", canonical("commit", COMMIT_1))
    bad("body-with-a-byte-behind", "OBJ-1", first + b"\0")
    bad("body-version-2", "OBJ-1", first[:7] + b"\2" + first[8:])
    bad("body-cut", "WIRE-7", first[:-1])
    bad("target-5", "WIRE-4", operation(0, change("HEAD", None, b"\1" + u(5))))
    bad("worktree-2", "WIRE-3", operation(0, HEAD, worktree=b"\2"))
    bad("undoes-2", "WIRE-3", operation(0, HEAD, undoes=b"\2\0"))
    bad("seq-in-2-bytes", "WIRE-1", operation(long(0, 2), HEAD))
    bad("actor-not-utf8", "WIRE-5", operation(0, HEAD, actor=u(1) + b"\xff"))
    bad("changes-of-2-64-less-1", "WIRE-8", operation(0, changes=long((1 << 64) - 1, 8)))


def gc(epoch, horizon, magic=b"MVGC\0\0\0\1"):
    """The record of collections."""
    body = magic + struct.pack("<QQ", epoch, horizon)
    return body + blake3(body)


def gcs():
    f = Folder("gc")
    for name, epoch, horizon in (("twice", 2, 4), ("never", 0, 0), ("largest", 2 ** 64 - 1, 2 ** 64 - 1)):
        f.valid(name, "gc", {"epoch": epoch, "horizon": horizon}, bytes=parts(gc(epoch, horizon)))
    good = gc(2, 4)
    flipped = bytes([good[9] ^ 1])
    for name, data in (("empty", b""), ("cut-by-a-byte", good[:-1]), ("a-byte-behind", good + b"\0"),
                       ("magic", gc(2, 4, b"MVGX\0\0\0\1")), ("version-2", gc(2, 4, b"MVGC\0\0\0\2")),
                       ("version-0", gc(2, 4, bytes(b"MVGC\0\0\0\0"))), ("epoch-flipped", good[:9] + flipped + good[10:]),
                       ("hash-flipped", good[:-1] + bytes([good[-1] ^ 128]))):
        f.hostile(name, "gc", "GC-9", data)
    return f
