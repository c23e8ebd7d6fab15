"""Which parts a file has (blob.md): BLOB-6 to BLOB-10. A file that is not as its header says has none."""
import json
import struct

from cut import first_border, sizes_for

FILE_LEAST = PART_LEAST = 64 << 10
RUN_MOST, BLOCK, HEADER_MOST, PARTS_MOST, NAME_MOST = 256 << 10, 2 << 20, 32 << 20, 1 << 20, 64 << 10
BLOCKS, CONTENT = "blocks", "content"


class Malformed(Exception):
    pass


def need(condition):
    if not condition:
        raise Malformed


class Fields:
    """Reads a header field by field."""

    def __init__(self, data, at, end):
        self.data, self.at, self.end = data, at, end

    def take(self, length):
        need(length <= self.end - self.at)
        self.at += length
        return self.data[self.at - length:self.at]

    def number(self, form):
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))[0]

    def varint(self):
        value = 0
        for shift in range(0, 64, 7):
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            if byte < 128:
                return value & (1 << 64) - 1
        raise Malformed


def safetensors(data):
    (length,) = struct.unpack_from("<Q", data)
    need(length <= min(HEADER_MOST, len(data) - 8))
    try:
        header = json.loads(data[8:8 + length].decode())
        rows = [row["data_offsets"] for name, row in header.items() if name != "__metadata__"]
        return [(8 + length + begin, end - begin, BLOCKS, 0) for begin, end in rows]
    except (ValueError, TypeError, KeyError, AttributeError) as e:
        raise Malformed from e


GGUF_SCALARS = {0: 1, 1: 1, 7: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 10: 8, 11: 8, 12: 8}


def gguf_value(f, kind, depth):
    if kind in GGUF_SCALARS:
        f.take(GGUF_SCALARS[kind])
    elif kind == 8:
        f.take(f.number("Q"))
    else:
        need(kind == 9 and depth < 4)
        kind, count = f.number("I"), f.number("Q")
        if kind in GGUF_SCALARS:
            f.take(GGUF_SCALARS[kind] * count)
        else:
            for _ in range(count):
                gguf_value(f, kind, depth + 1)


def gguf_name(f):
    length = f.number("Q")
    need(length <= NAME_MOST)
    return bytes(f.take(length))


def gguf(data):
    f = Fields(data, 4, min(len(data), HEADER_MOST))
    version, tensors, values = f.number("I"), f.number("Q"), f.number("Q")
    need(version in (2, 3) and tensors <= PARTS_MOST)
    alignment = 32
    for _ in range(values):
        name, kind = gguf_name(f), f.number("I")
        if name == b"general.alignment" and kind == 4:
            alignment = f.number("I")
        else:
            gguf_value(f, kind, 0)
    need(alignment.bit_count() == 1)
    rows = []
    for _ in range(tensors):
        name, dimensions = gguf_name(f), f.number("I")
        f.take(8 * dimensions)
        kind, offset = f.number("I"), f.number("Q")
        rows.append((offset, kind, name))
    first = -(-f.at // alignment) * alignment
    starts = [first + row[0] for row in sorted(rows)]
    return [(start, end - start, BLOCKS, 0) for start, end in zip(starts, starts[1:] + [len(data)])]


def npy(data, start, length):
    """The elements of an array with a sound header, or None."""
    head = data[start:start + 12]
    if length < 12 or not head.startswith(b"\x93NUMPY") or head[6] not in (1, 2, 3):
        return None
    size, first = (int.from_bytes(head[8:10], "little"), 10) if head[6] == 1 else (int.from_bytes(head[8:], "little"), 12)
    if size > NAME_MOST or first + size > length:
        return None
    return start + first + size, length - first - size, BLOCKS, 0


def zip_directory(data):
    at = data.rfind(b"PK\5\6", max(0, len(data) - 65557), len(data) - 18)
    need(at >= 0)
    length, start = struct.unpack_from("<II", data, at + 12)
    if 0xFFFFFFFF in (length, start):
        need(at >= 20 and data[at - 20:at - 16] == b"PK\6\7")
        (record,) = struct.unpack_from("<Q", data, at - 12)
        need(record + 56 <= len(data) and data[record:record + 4] == b"PK\6\6")
        length, start = struct.unpack_from("<QQ", data, record + 40)
    need(length <= HEADER_MOST and start + length <= len(data))
    return start, length


def zip_wide(small, extra):
    """Fields that are all ones stand in the extra field 1."""
    field = Fields(b"", 0, 0)
    at = Fields(extra, 0, len(extra))
    while at.end - at.at >= 4:
        kind, length = at.number("H"), at.number("H")
        value = at.take(length)
        if kind == 1:
            field = Fields(value, 0, length)
    return [field.number("Q") if n == 0xFFFFFFFF else n for n in small]


def zip_members(data, directory):
    f = Fields(data, directory[0], sum(directory))
    while f.data[f.at:min(f.at + 4, f.end)] == b"PK\1\2":
        head = struct.unpack("<4s6H3I5H2I", f.take(46))
        name, extra = f.take(head[10]), f.take(head[11])
        f.take(head[12])
        length, packed, header = zip_wide((head[9], head[8], head[16]), extra)
        if head[4] == 0 and not head[3] & 1 and length == packed and length > 0:
            yield bytes(name), header, length


def zip_parts(data):
    directory = zip_directory(data)
    out = []
    for name, header, length in list(zip_members(data, directory)):
        if header + 30 > directory[0] or data[header:header + 4] != b"PK\3\4":
            continue
        start = header + 30 + sum(struct.unpack_from("<HH", data, header + 26))
        if start + length <= directory[0]:
            array = npy(data, start, length) if name.endswith(b".npy") else None
            out.append(array or (start, length, BLOCKS, 0))
    return out


# Which fields of a message are looked into, and where their content is of these fields.
ONNX = {"model": {7: "graph"}, "graph": {1: "node", 5: "tensor"}, "node": {5: "attribute"},
        "attribute": {5: "tensor"}, "tensor": {}}


def onnx_message(f, message, end, out):
    data = None
    while f.at < end:
        tag = f.varint()
        need(tag >> 3 and tag & 7 in (0, 1, 2, 5))
        if tag & 7 == 0:
            f.varint()
            need(f.at <= end)
            continue
        length = {1: 8, 2: None, 5: 4}[tag & 7]
        length = f.varint() if length is None else length
        need(f.at + length <= end)
        inner = ONNX[message].get(tag >> 3)
        if inner and length >= PART_LEAST:
            onnx_message(f, inner, f.at + length, out)
            continue
        if message == "tensor" and tag >> 3 in (4, 9, 10):
            data = (f.at, length, BLOCKS, 0)
        f.take(length)
    if data and data[1] >= PART_LEAST:
        out.append(data)


def onnx(data):
    out = []
    onnx_message(Fields(data, 0, len(data)), "model", len(data), out)
    return out


class Thrift(Fields):
    """The compact protocol."""

    def int(self):
        raw = self.varint()
        return raw >> 1 ^ -(raw & 1)

    def binary(self):
        return self.take(self.varint())

    def list(self):
        head = self.take(1)[0]
        return head & 15, head >> 4 if head >> 4 < 15 else self.varint()

    def struct(self, readers, depth=0):
        """Fields by number: of a reader's type by that reader, all others skipped."""
        number, out = 0, {}
        while True:
            head = self.take(1)[0]
            if head == 0:
                return out
            number = number + (head >> 4) if head >> 4 else self.int()
            kinds, reader = readers.get(number, ((), None))
            if head & 15 in kinds:
                out[number] = reader(self)
            else:
                self.skip(head & 15, depth)

    def skip(self, kind, depth):
        need(depth <= 16)
        if kind in (4, 5, 6):
            self.varint()
        elif kind == 8:
            self.binary()
        elif kind in (9, 10):
            kind, count = self.list()
            for _ in range(count):
                self.element(kind, depth)
        elif kind == 11:
            count = self.varint()
            kinds = self.take(1)[0] if count else 0
            for _ in range(count):
                self.element(kinds >> 4, depth)
                self.element(kinds & 15, depth)
        elif kind == 12:
            self.struct({}, depth + 1)
        else:
            lengths = {1: 0, 2: 0, 3: 1, 7: 8, 13: 16}
            need(kind in lengths)
            self.take(lengths[kind])

    def element(self, kind, depth):
        if kind in (1, 2):
            self.take(1)
        else:
            self.skip(kind, depth + 1)

    def structs(self, reader):
        kind, count = self.list()
        need(kind == 12 or count == 0)
        return [reader(self) for _ in range(count)]

    def names(self):
        kind, count = self.list()
        need(kind == 8 or count == 0)
        return [self.binary() for _ in range(count)]


INT = ((4, 5, 6), Thrift.int)
FACTS = {3: ((9,), Thrift.names), 4: INT, 7: INT, 9: INT, 11: INT}
COLUMN = {1: ((8,), Thrift.binary), 3: ((12,), lambda f: f.struct(FACTS))}
GROUP = {1: ((9,), lambda f: f.structs(lambda f: f.struct(COLUMN)))}
FOOTER = {4: ((9,), lambda f: f.structs(lambda f: f.struct(GROUP)))}


def parquet(data):
    length = int.from_bytes(data[-8:-4], "little")
    need(data.endswith(b"PAR1") and length <= min(HEADER_MOST, len(data) - 12))
    start = len(data) - 8 - length
    out = []
    for group, row in enumerate(Thrift(data, start, len(data) - 8).struct(FOOTER).get(4, [])):
        for column in row.get(1, []):
            facts = column.get(3, {})
            if 1 not in column:
                first, dictionary = facts.get(9, 0), facts.get(11, 0)
                first = min(first, dictionary) if dictionary > 0 else first
                need(first >= 0 and 0 <= facts.get(7, 0) <= start - first)
                out.append((first, facts.get(7, 0), CONTENT, group))
    return out


def octal(field):
    digits = field.lstrip(b" ")
    for end in (b" ", b"\0"):
        digits = digits.split(end)[0]
    need(digits and all(48 <= b < 56 for b in digits))
    return int(digits, 8)


def is_tar(block):
    if block[257:262] != b"ustar":
        return False
    try:
        return octal(block[148:156]) == sum(block[:148]) + 8 * 32 + sum(block[156:512])
    except Malformed:
        return False


def extended_size(records):
    found = None
    while records:
        digits, space, _ = records.partition(b" ")
        need(space and digits.isdigit() and len(digits) + 1 < int(digits) <= len(records))
        fact, records = records[len(digits) + 1:int(digits)], records[int(digits):]
        need(fact.endswith(b"\n"))
        if fact.startswith(b"size="):
            need(fact[5:-1].isdigit())
            found = int(fact[5:-1])
    return found


def tar(data):
    at, group, extended, budget, out = 0, 0, None, HEADER_MOST, []
    while at < len(data):
        header = data[at:at + 512]
        need(len(header) == 512 and budget >= 512)
        budget -= 512
        if header == bytes(512):
            break
        need(is_tar(header))
        size = int.from_bytes(header[125:136], "big") if header[124] == 0x80 else octal(header[124:136])
        kind, start = header[156:157], at + 512
        if kind in b"07\0":
            size, extended = size if extended is None else extended, None
            need(start + size <= len(data))
            if size >= FILE_LEAST:
                inner = one_file(data[start:start + size]) or [(0, size, CONTENT, 0)]
                out += [(start + first, length, within, group) for first, length, within, _ in inner]
                group += 1
        elif kind == b"x":
            need(size <= min(NAME_MOST, budget, len(data) - start))
            budget -= size
            extended = extended_size(bytes(data[start:start + size]))
        elif kind in b"123456":
            size, extended = 0, None
        else:
            need(kind in b"LKg")
        at = start + -(-size // 512) * 512
    return out


def join(parts, size):
    """BLOB-8: small neighbours of one group put together; none where a part is not in its place."""
    parts = sorted(p for p in parts if p[1] != 0)
    ends = [p[0] + p[1] for p in parts]
    starts = [p[0] for p in parts[1:]] + [size]
    need(len(parts) <= PARTS_MOST and all(p[0] >= 0 and p[1] > 0 for p in parts))
    need(all(end <= start for end, start in zip(ends, starts)))
    out, grows = [], False
    for start, length, within, group in parts:
        small = length < PART_LEAST
        if out and grows and small and group == out[-1][3]:
            before, end = out[-1], out[-1][0] + out[-1][1]
            if start - end < PART_LEAST and start + length - before[0] <= RUN_MOST:
                out[-1] = (before[0], start + length - before[0], before[2], group)
                continue
        grows = small
        out.append((start, length, within, group))
    return out


def one_file(data):
    """The parts of a file that is no tar file."""
    readers = ((b"GGUF", gguf), (b"PK\3\4", zip_parts), (b"PAR1", parquet),
               (b"\x93NUMPY", lambda d: [p for p in [npy(d, 0, len(d))] if p]))
    reader = next((r for magic, r in readers if data.startswith(magic)), None)
    if reader is None:
        reader = safetensors if data[8:9] == b"{" else onnx if data[:1] == b"\x08" else None
    try:
        return join(reader(data), len(data)) if reader else []
    except Malformed:
        return []


def parts(data):
    """(begin, length, how it is cut, group) of each part."""
    if len(data) < FILE_LEAST:
        return []
    try:
        return join(tar(data), len(data)) if is_tar(data[:512]) else one_file(data)
    except Malformed:
        return []


def lengths(data):
    """Of the chunks of a file."""
    out, at, sizes = [], 0, sizes_for(len(data))

    def by_content(end):
        nonlocal at
        while at < end:
            out.append(first_border(data[at:min(end, at + sizes[2])], sizes))
            at += out[-1]

    for start, length, within, _ in parts(data):
        by_content(start)
        if within == CONTENT:
            by_content(start + length)
        while at < start + length:
            out.append(min(BLOCK, start + length - at))
            at += out[-1]
    by_content(len(data))
    return out
