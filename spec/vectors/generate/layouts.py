"""layout: files with parts, made by hand, and where they are cut."""
import json
import struct

from .collect import Folder, blake3, content
from .files import lengths

GEAR = blake3(b"", "modelv 2026-11 gear table v1", 2048)


class File:
    """Bytes in pieces, some of which are remembered as parts."""

    def __init__(self):
        self.pieces, self.size, self.parts, self.seed = [], 0, [], 0

    def add(self, data):
        if self.pieces and isinstance(self.pieces[-1], bytes):
            self.pieces[-1] += data
        else:
            self.pieces.append(data)
        self.size += len(data)
        return self

    def noise(self, length):
        self.seed += 1
        self.pieces.append({"xof": "layout %d" % self.seed, "length": length})
        self.size += length
        return self

    def part(self, length, within="blocks"):
        self.parts.append([self.size, length, within])
        return self.noise(length)

    def pad(self, multiple):
        return self.add(bytes(-self.size % multiple))

    def described(self):
        return [p.hex() if isinstance(p, bytes) else p for p in self.pieces if p]


def cut(data, parts):
    """The lengths of the chunks, from the rules."""
    out, at = [], 0
    for start, length, within in parts + [[len(data), 0, "blocks"]]:
        out += lengths(data[at:start], GEAR, "SMALL")
        if within == "content":
            out += lengths(data[start:start + length], GEAR, "SMALL")
        else:
            out += [min(2 << 20, length - n) for n in range(0, length, 2 << 20)]
        at = start + length
    return out


def safetensors(tensors, lie=lambda offsets: offsets):
    at, header = 0, {"__metadata__": {"format": "pt"}}
    for name, kind, length in tensors:
        header[name] = {"dtype": kind, "shape": [length], "data_offsets": lie([at, at + length])}
        at += length
    text = json.dumps(header).encode()
    return File().add(struct.pack("<Q", len(text)) + text)


def plain_tensors():
    rows = [("big", "U8", 2200000), ("tiny.1", "U8", 900), ("tiny.2", "U8", 1100), ("last", "U8", 70000)]
    f = safetensors(rows)
    return f.part(2200000).part(2000).part(70000)


def runs():
    """Thirty parts of 10,000 bytes: twenty-six are put together, then four."""
    f = safetensors([("t%02d" % n, "U8", 10000) for n in range(30)])
    return f.part(260000).part(40000)


def npy_header(length, version=1):
    text = b"{'descr': '|u1', 'fortran_order': False, 'shape': (%d,), }\n" % length
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(text)) + text


def stored_zip(wide=False):
    f, central = File(), b""
    for name, method, length, array in (("a.npy", 0, 80000, True), ("packed", 8, 70000, False), ("data/0", 0, 90000, False)):
        head = npy_header(length) if array else b""
        size, header = len(head) + length, f.size
        f.add(struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, method, 0, 0, 0, size, size, len(name), 4) + name.encode() + bytes(4) + head)
        f.part(length) if method == 0 else f.noise(length)
        extra = struct.pack("<HHQQQ", 1, 24, size, size, header) if wide else b""
        small = (0xFFFFFFFF,) * 3 if wide else (size, size, header)
        central += struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, method, 0, 0, 0, *small[:2], len(name), len(extra), 0, 0, 0, 0, small[2])
        central += name.encode() + extra
    start = f.size
    f.add(central)
    if wide:
        end = f.size
        f.add(struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, 3, 3, len(central), start))
        f.add(struct.pack("<4sIQI", b"PK\6\7", 0, end, 1))
    place = (0xFFFFFFFF,) * 2 if wide else (len(central), start)
    return f.add(struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 3, 3, *place, 0))


def gguf():
    def text(s):
        return struct.pack("<Q", len(s)) + s

    head = b"GGUF" + struct.pack("<IQQ", 3, 2, 3) + text(b"general.alignment") + struct.pack("<II", 4, 64)
    head += text(b"list") + struct.pack("<IIQ", 9, 8, 2) + text(b"x") + text(b"y") + text(b"f") + struct.pack("<Id", 12, 0.5)
    # Not in the order of their offsets.
    head += text(b"b") + struct.pack("<IQQIQ", 2, 9, 9, 24, 80064) + text(b"a") + struct.pack("<IQIQ", 1, 9, 24, 0)
    f = File().add(head).pad(64)
    return f.part(80064).part(70000)


def varint(n):
    return varint_bytes(n, b"")


def varint_bytes(n, out):
    return varint_bytes(n >> 7, out + bytes([n & 127 | 128])) if n > 127 else out + bytes([n])


def message(number, length):
    return varint(number << 3 | 2) + varint(length)


def onnx(more=0):
    """An initializer in raw data, a small one, one in floats, and a constant of a node."""
    def tensor(name, field, length):
        return b"\x08" + varint(length) + b"\x10\1" + message(8, len(name)) + name + message(field, length)

    tensors = [(tensor(name, field, length), length) for name, field, length in
               ((b"raw", 9, 100000), (b"small", 9, 3000), (b"floats", 4, 80000), (b"constant", 10, 70000))]
    fields = [message(5, len(head) + length) + head for head, length in tensors]
    sizes = [len(head) + length for head, (_, length) in zip(fields, tensors)]
    attribute = b"\x0a\5value"
    node = message(5, len(attribute) + sizes[3]) + attribute
    nodes = message(1, len(node) + sizes[3]) + node
    f = File().add(b"\x08\x09\x12\4hand" + message(7, sum(sizes) + len(nodes) + more) + nodes + fields[3]).part(70000)
    for n in range(3):
        f.add(fields[n])
        f.noise(3000) if n == 1 else f.part(tensors[n][1])
    return f.add(b"\x42\2\x10\x11")


def number(n):
    """A number of the compact protocol."""
    return varint(n << 1 if n >= 0 else ~n << 1 | 1)


def parquet(lie=0):
    """Two row groups: columns of 100,000, 20,000 and 30,000 bytes; the second one with a dictionary."""
    f, groups = File().add(b"PAR1"), b""
    for group, rows in enumerate(((100000, 20000, 30000), (110000, 40000))):
        columns = b""
        for i, length in enumerate(rows):
            start = f.size
            if i < 2:
                f.part(sum(rows[1:]) if i else length, "content")
            facts = b"\x15" + number(1) + b"\x19\x15" + number(0) + b"\x19\x18\1" + b"abc"[i:i + 1] + b"\x15" + number(1)
            facts += b"\x16" + number(7) + b"\x16" + number(7) + b"\x16" + number(length + lie)
            place = (start + 9, start) if group else (start + (rows[1] if i == 2 else 0), None)
            if i == 2:
                place = (f.size - length, None)
            facts += b"\x26" + number(place[0]) + (b"\x26" + number(place[1]) if place[1] else b"")
            columns += b"\x26" + number(0) + b"\x1c" + facts + b"\0\0"
        groups += b"\x19" + bytes([len(rows) << 4 | 12]) + columns + b"\x16" + number(7) + b"\x16" + number(1) + b"\0"
    footer = b"\x15" + number(1) + b"\x19\x0c" + b"\x16" + number(2) + b"\x19\x2c" + groups + b"\x28\4hand\0"
    return f.add(footer + struct.pack("<I", len(footer)) + b"PAR1")


def tar_header(name, size, kind=b"0"):
    size = size if isinstance(size, bytes) else b"%011o\0" % size
    head = name.ljust(100, b"\0") + b"0000644\0" + bytes(16) + size + b"%011o\0" % 0
    tail = kind + bytes(100) + b"ustar\x0000" + bytes(247)
    return head + b"%06o\0 " % (sum(head) + 8 * 32 + sum(tail)) + tail


def tar(damage=False):
    f = File().add(tar_header(b"readme", 40000)).noise(40000).pad(512)
    inner = safetensors([("a", "U8", 90000), ("b", "U8", 1000), ("c", "U8", 2000)])
    f.add(tar_header(b"m.safetensors", inner.size + 93000) + inner.pieces[0]).part(90000).part(3000).pad(512)
    f.add(tar_header(b"text", b"\x80" + (66000).to_bytes(11, "big"))).part(66000, "content").pad(512)
    f.add(tar_header(b"link", 9, b"2") + tar_header(b"pax", 14, b"x") + b"14 size=70000\n").pad(512)
    f.add(tar_header(b"x.npy", 0) + npy_header(70000 - len(npy_header(69000)))).part(70000 - len(npy_header(69000))).pad(512)
    return f.add(b"no header" * 100 if damage else bytes(1024))


def layouts():
    f = Folder("layout")
    npy = File().add(npy_header(100000)).part(100000)
    for name, file in (
            ("safetensors", plain_tensors()), ("safetensors-runs", runs()), ("npy", npy),
            ("npy-version-2", File().add(npy_header(100000, 2)).part(100000)), ("zip", stored_zip()),
            ("zip-wide", stored_zip(True)), ("gguf", gguf()), ("onnx", onnx()), ("parquet", parquet()), ("tar", tar())):
        valid(f, name, file)
    for name, file in (
            ("none", File().noise(70000)), ("too-small", safetensors([("a", "U8", 60000)]).part(60000)),
            ("safetensors-outside", safetensors([("a", "U8", 70001)]).noise(70000)),
            ("safetensors-overlap", safetensors([("a", "U8", 70000), ("b", "U8", 9)], lambda o: [0, o[1]]).noise(70009)),
            ("safetensors-backwards", safetensors([("a", "U8", 70000)], lambda o: o[::-1]).noise(70000)),
            ("npy-version-4", File().add(npy_header(100000, 4)).noise(100000)),
            ("onnx-graph-too-long", onnx(9)), ("onnx-a-byte-behind", onnx().add(b"\0")),
            ("parquet-outside", parquet(1 << 20)), ("parquet-overlap", parquet(1)), ("parquet-encrypted", parquet().add(b"PARE")),
            ("tar-damaged", tar(True)), ("tar-member-outside", File().add(tar_header(b"x", 80000)).noise(70000))):
        file.parts = []
        valid(f, name, file)
    return f


def valid(f, name, file):
    described = file.described()
    data = content(described)
    assert len(data) == file.size, name
    parts = [p for p in file.parts if p[1]]
    f.valid(name, "layout", {"parts": parts, "lengths": cut(data, parts)}, bytes=described)
