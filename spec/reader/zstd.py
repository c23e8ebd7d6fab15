"""One zstd frame to bytes, from RFC 8878. Without dictionaries, but for bytes before it (codec 5); never more
bytes than asked for."""
from canon import Refused, need

RULE = "PACK-6"
BLOCK_MAX = 128 << 10

# (smallest value, extra bits) of each code; predefined distributions (RFC 8878, 3.1.1.3.2).
LENGTHS = [(i, 0) for i in range(16)] + [
    (16, 1), (18, 1), (20, 1), (22, 1), (24, 2), (28, 2), (32, 3), (40, 3), (48, 4), (64, 6), (128, 7),
    (256, 8), (512, 9), (1024, 10), (2048, 11), (4096, 12), (8192, 13), (16384, 14), (32768, 15), (65536, 16)]
MATCHES = [(i + 3, 0) for i in range(32)] + [
    (35, 1), (37, 1), (39, 1), (41, 1), (43, 2), (47, 2), (51, 3), (59, 3), (67, 4), (83, 4), (99, 5),
    (131, 7), (259, 8), (515, 9), (1027, 10), (2051, 11), (4099, 12), (8195, 13), (16387, 14),
    (32771, 15), (65539, 16)]
OFFSETS = [(1 << i, i) for i in range(32)]
DEFAULTS = (
    (6, [4, 3] + [2] * 11 + [1] * 3 + [2] * 9 + [3, 2] + [1] * 5 + [-1] * 4),
    (5, [1] * 6 + [2] * 3 + [1] * 15 + [-1] * 5),
    (6, [1, 4, 3] + [2] * 6 + [1] * 37 + [-1] * 7),
)
CODES = (LENGTHS, OFFSETS, MATCHES)
ACCURACY_MAX = (9, 8, 9)


def fail(detail):
    raise Refused(RULE, "zstd: " + detail)


class Forward:
    """Bits from the start, low bits first."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def read(self, n):
        need(self.at + n <= 8 * len(self.data), RULE, "zstd: table cut off")
        first = self.at >> 3
        word = int.from_bytes(self.data[first:(self.at + n + 7) >> 3], "little")
        self.at += n
        return word >> (self.at - n - 8 * first) & (1 << n) - 1


class Backward:
    """Bits from the end, as FSE and Huffman streams are read. 8 zero bytes stand before the start."""

    def __init__(self, data):
        if not data or data[-1] == 0:
            fail("bit stream without an end mark")
        self.data = bytes(8) + data
        self.at = 8 * (len(self.data) - 1) + data[-1].bit_length() - 1

    def read(self, n):
        self.at -= n
        if self.at < 0:
            fail("bit stream read far beyond its start")
        first = self.at >> 3
        word = int.from_bytes(self.data[first:(self.at + n + 7) >> 3], "little")
        return word >> (self.at & 7) & (1 << n) - 1

    def left(self):
        return self.at - 64


def distribution(data, accuracy_max):
    """An FSE table description: accuracy, probabilities, bytes it takes."""
    bits = Forward(data)
    accuracy = bits.read(4) + 5
    if accuracy > accuracy_max:
        fail("accuracy of a table")
    remaining, counts = (1 << accuracy) + 1, []
    while remaining > 1:
        width = remaining.bit_length()
        low = (1 << width) - 1 - remaining
        value = bits.read(width - 1)
        if value >= low:
            value |= bits.read(1) << (width - 1)
            if value >= 1 << (width - 1):
                value -= low
        counts.append(value - 1)
        remaining -= abs(value - 1)
        if value == 1:
            while True:
                zeros = bits.read(2)
                counts += [0] * zeros
                if zeros < 3:
                    break
        if len(counts) > 256:
            fail("table of too many symbols")
    if remaining != 1:
        fail("probabilities that do not add up")
    return accuracy, counts, (bits.at + 7) >> 3


def fse_table(accuracy, counts):
    """Per state: symbol, bits to read, smallest next state."""
    size = 1 << accuracy
    symbols, high, at = [0] * size, size - 1, 0
    for symbol, count in enumerate(counts):
        if count == -1:
            symbols[high] = symbol
            high -= 1
    for symbol, count in enumerate(counts):
        for _ in range(max(count, 0)):
            symbols[at] = symbol
            at = (at + (size >> 1) + (size >> 3) + 3) & (size - 1)
            while at > high:
                at = (at + (size >> 1) + (size >> 3) + 3) & (size - 1)
    seen, table = [abs(c) for c in counts], []
    for symbol in symbols:
        n = seen[symbol]
        seen[symbol] += 1
        bits = accuracy - n.bit_length() + 1
        table.append((symbol, bits, (n << bits) - size))
    return table


def weights_of(data):
    """Weights of a Huffman tree description, bytes it takes."""
    head = data[0]
    if head >= 128:
        count = head - 127
        need(1 + (count + 1) // 2 <= len(data), RULE, "zstd: tree cut off")
        return [data[1 + i // 2] >> (0 if i & 1 else 4) & 15 for i in range(count)], 1 + (count + 1) // 2
    need(1 + head <= len(data), RULE, "zstd: tree cut off")
    accuracy, counts, used = distribution(data[1:1 + head], 6)
    table, bits = fse_table(accuracy, counts), Backward(data[1 + used:1 + head])
    states, out = [bits.read(accuracy), bits.read(accuracy)], []
    while True:
        for i in (0, 1):
            symbol, n, base = table[states[i]]
            out.append(symbol)
            if bits.left() < n:  # the other state holds the last one
                out.append(table[states[1 - i]][0])
                return out, 1 + head
            states[i] = base + bits.read(n)
        if len(out) > 255:
            fail("tree of too many symbols")


def huffman_table(data):
    weights, used = weights_of(data)
    total = sum(1 << w >> 1 for w in weights)
    if total == 0:
        fail("tree without symbols")
    width = total.bit_length()
    rest = (1 << width) - total
    if rest & (rest - 1) or width > 11 or len(weights) > 255:
        fail("tree that does not fill its codes")
    weights.append(rest.bit_length())
    table = []
    for w in range(1, width + 1):
        for symbol, own in enumerate(weights):
            if own == w:
                table += [(symbol, width + 1 - w)] * (1 << w >> 1)
    return (width, table), used


def huffman_stream(data, tree, count):
    width, table = tree
    bits, out, mask = Backward(data), bytearray(), (1 << width) - 1
    data, at = bits.data, bits.at
    while len(out) < count:
        if at < 64:
            fail("Huffman stream too short")
        first = (at - 56) >> 3
        word = int.from_bytes(data[first:first + 9], "little")
        have = at - 8 * first
        while have >= width and len(out) < count:
            symbol, n = table[word >> (have - width) & mask]
            out.append(symbol)
            have -= n
        at = 8 * first + have
    if at != 64:
        fail("Huffman stream of another length")
    return bytes(out)


class Frame:
    def __init__(self, limit, before=b""):
        self.limit, self.out = limit + len(before), bytearray(before)
        self.tree, self.tables, self.repeats = None, [None] * 3, [1, 4, 8]

    def literals(self, data):
        """The literals of a block, and the bytes they take."""
        kind, form = data[0] & 3, data[0] >> 2 & 3
        if kind < 2:
            size = (1, 2, 1, 3)[form]
            count = int.from_bytes(data[:size], "little") >> (3, 4, 3, 4)[form]
            taken = count if kind == 0 else 1
            need(count <= BLOCK_MAX and size + taken <= len(data), RULE, "zstd: literals cut off")
            body = data[size:size + taken]
            return (body if kind == 0 else body * count), size + taken
        size, width = (3, 3, 4, 5)[form], (10, 10, 14, 18)[form]
        head = int.from_bytes(data[:size], "little") >> 4
        count, taken = head & (1 << width) - 1, head >> width
        need(count <= BLOCK_MAX and 0 < taken <= len(data) - size, RULE, "zstd: literals cut off")
        body, used = data[size:size + taken], 0
        if kind == 2:
            self.tree, used = huffman_table(body)
        if self.tree is None:
            fail("no tree to repeat")
        body = body[used:]
        if form == 0:
            return huffman_stream(body, self.tree, count), size + taken
        need(len(body) >= 6, RULE, "zstd: literals cut off")
        each, out, at = (count + 3) // 4, b"", 6
        for i in range(4):
            end = at + int.from_bytes(body[2 * i:2 * i + 2], "little") if i < 3 else len(body)
            need(end <= len(body), RULE, "zstd: literals cut off")
            out += huffman_stream(body[at:end], self.tree, each if i < 3 else count - 3 * each)
            at = end
        return out, size + taken

    def table(self, which, mode, data):
        """Sets one table of sequences; returns the bytes it takes."""
        used = 0
        if mode == 0:
            self.tables[which] = DEFAULTS[which][0], fse_table(*DEFAULTS[which])
        elif mode == 1:
            need(data, RULE, "zstd: sequences cut off")
            self.tables[which], used = (0, [(data[0], 0, 0)]), 1
        elif mode == 2:
            accuracy, counts, used = distribution(data, ACCURACY_MAX[which])
            self.tables[which] = accuracy, fse_table(accuracy, counts)
        elif self.tables[which] is None:
            fail("no table to repeat")
        if any(row[0] >= len(CODES[which]) for row in self.tables[which][1]):
            fail("unknown code")
        return used

    def offset(self, value, length):
        r = self.repeats
        if value > 3:
            self.repeats = [value - 3, r[0], r[1]]
            return value - 3
        which = value - 1 + (length == 0)
        found = r[which] if which < 3 else r[0] - 1
        if which:
            self.repeats = [found, r[0], r[1] if which > 1 else r[2]]
        return found

    def copy(self, offset, length):
        out = self.out
        if not 0 < offset <= len(out):
            fail("match before the start")
        need(len(out) + length <= self.limit, RULE, "zstd: more bytes than recorded")
        while length:
            part = out[len(out) - offset:len(out) - offset + min(offset, length)]
            out += part
            length -= len(part)

    def compressed(self, data):
        literals, at = self.literals(data)
        data = data[at:]
        need(data, RULE, "zstd: sequences cut off")
        count, at = data[0], 1
        if count >= 128:
            need(len(data) > 3, RULE, "zstd: sequences cut off")
            count, at = ((count - 128 << 8) + data[1], 2) if count < 255 else (
                int.from_bytes(data[1:3], "little") + 0x7F00, 3)
        used = 0
        if count:
            need(len(data) > at, RULE, "zstd: sequences cut off")
            modes, at = data[at], at + 1
            if modes & 3:
                fail("reserved bits")
            for which, shift in ((0, 6), (1, 4), (2, 2)):
                at += self.table(which, modes >> shift & 3, data[at:])
            used = self.sequences(count, Backward(data[at:]), literals)
        elif at != len(data):
            fail("bytes behind a block")
        need(len(self.out) + len(literals) - used <= self.limit, RULE, "zstd: more bytes than recorded")
        self.out += literals[used:]

    def sequences(self, count, bits, literals):
        states, used = [bits.read(accuracy) for accuracy, _ in self.tables], 0
        tables = [t[1] for t in self.tables]
        for i in range(count):
            rows = [tables[k][states[k]] for k in range(3)]
            base, n = OFFSETS[rows[1][0]]
            value = base + bits.read(n)
            base, n = MATCHES[rows[2][0]]
            match = base + bits.read(n)
            base, n = LENGTHS[rows[0][0]]
            length = base + bits.read(n)
            if i + 1 < count:
                for k in (0, 2, 1):
                    states[k] = rows[k][2] + bits.read(rows[k][1])
            if used + length > len(literals):
                fail("more literals than there are")
            self.out += literals[used:used + length]
            used += length
            self.copy(self.offset(value, length), match)
        if bits.left() != 0:
            fail("sequences of another length")
        return used


def header(data):
    """Checks the frame header; returns recorded size (or None), checksum flag, its length."""
    need(len(data) >= 6 and data[:4] == b"\x28\xb5\x2f\xfd", RULE, "zstd: no frame")
    flags = data[4]
    single, at = flags >> 5 & 1, 5
    if flags & 8:
        fail("reserved bit")
    at += 0 if single else 1
    id_size = (0, 1, 2, 4)[flags & 3]
    if any(data[at:at + id_size]):
        fail("a dictionary")
    at += id_size
    width = (single, 2, 4, 8)[flags >> 6]
    need(at + width <= len(data), RULE, "zstd: header cut off")
    size = int.from_bytes(data[at:at + width], "little") + (256 if width == 2 else 0) if width else None
    return size, flags >> 2 & 1, at + width


def unzstd(data, size, before=b""):
    """The content of exactly one frame of exactly `size` bytes, whose matches may reach into `before`."""
    recorded, checksum, at = header(data)
    need(recorded in (None, size), RULE, "zstd: another size than recorded")
    frame, last = Frame(size, before), 0
    while not last:
        need(at + 3 <= len(data), RULE, "zstd: cut off")
        head = int.from_bytes(data[at:at + 3], "little")
        last, kind, length, at = head & 1, head >> 1 & 3, head >> 3, at + 3
        taken = 1 if kind == 1 else length
        need(kind < 3 and length <= BLOCK_MAX and at + taken <= len(data), RULE, "zstd: block")
        if kind == 2:
            need(taken >= 2, RULE, "zstd: block")
            frame.compressed(data[at:at + taken])
        else:
            need(len(frame.out) + length <= frame.limit, RULE, "zstd: more bytes than recorded")
            frame.out += data[at:at + length] if kind == 0 else data[at:at + 1] * length
        at += taken
    need(at + 4 * checksum == len(data), RULE, "zstd: bytes behind the frame")
    need(len(frame.out) == frame.limit, RULE, "zstd: another size than recorded")
    return bytes(frame.out[len(before):])
