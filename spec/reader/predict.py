"""Chunks that are predicted from others (predict.md). f32 by way of f64: a sum or product of two f32 that is
rounded to f64 and then to f32 is what f32 gives, for f64 has more than twice the bits."""
import math
import struct
from collections import namedtuple

import planes
from canon import need

SIZES = {1: 2, 2: 2, 3: 4}
UPDATES_MAX, RANKS_MAX, COLUMNS_MAX, PIECES_MAX, NUMBERS_MAX = 4, 512, 1 << 24, 32, 4 << 20
Update = namedtuple("Update", "rank way order first second scale left right")


class Fields:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, form):
        size = struct.calcsize(form)
        need(self.at + size <= len(self.data), "PRED-1", "cut off")
        self.at += size
        return struct.unpack_from(form, self.data, self.at - size)

    def factor(self):
        form, count = self.take("<BB")
        need(form in SIZES, "PRED-1", "format %d" % form)
        need(1 <= count <= PIECES_MAX, "PRED-1", "%d pieces" % count)
        return form, [self.take("<32sII") for _ in range(count)]

    def update(self):
        rank, way, order, first, second, scale = self.take("<HBBBBf")
        need(rank and way < 3 and order < 2 and first in SIZES and second in SIZES, "PRED-1", "an unknown way")
        need(math.isfinite(scale), "PRED-1", "scale %r" % scale)
        return Update(rank, way, order, first, second, scale, self.factor(), self.factor())


def single(x):
    """The f32 next to an f64."""
    try:
        return struct.unpack("<f", struct.pack("<f", x))[0]
    except OverflowError:
        return math.copysign(math.inf, x)


def number(form, word):
    """What a word of a format is worth."""
    if form == 1:
        return struct.unpack("<f", struct.pack("<I", word << 16))[0]
    return struct.unpack("<e" if form == 2 else "<f", word.to_bytes(SIZES[form], "little"))[0]


def word(form, x):
    """The word of a format next to an f32 that is a number."""
    if form == 1:
        bits = struct.unpack("<I", struct.pack("<f", x))[0]
        return bits + 0x7FFF + (bits >> 16 & 1) >> 16
    try:
        return int.from_bytes(struct.pack("<e" if form == 2 else "<f", x), "little")
    except OverflowError:
        return 0x7C00 if x > 0 else 0xFC00


def near(form, x):
    return x if math.isnan(x) else number(form, word(form, x))


def words(data, size):
    return [int.from_bytes(data[i:i + size], "little") for i in range(0, len(data), size)]


def update_of(update, row, column):
    """Steps 1 to 3 for one number: `row` of the left factor, `column` of the right one."""
    if update.order:
        row = [near(update.first, single(x * update.scale)) for x in row]
    t = 0.0
    for a, b in zip(row, column):
        if update.way == 0:
            t = single(t + single(a * b))
        else:
            t = t + a * b
            t = single(t) if update.way == 1 else t
    t = single(t)
    if not update.order:
        t = single(near(update.first, t) * update.scale)
    return near(update.second, t)


def numbers(factor, chunk):
    form, pieces = factor
    data = b""
    for key, offset, length in pieces:
        whole = chunk(key, 0)
        need(offset + length <= len(whole), "PRED-3", "a piece outside of its chunk")
        data += whole[offset:offset + length]
    return [number(form, w) for w in words(data, SIZES[form])]


def check_factor(factor, count):
    form, pieces = factor
    need(count <= NUMBERS_MAX, "PRED-3", "%d numbers" % count)
    size = sum(length for _, _, length in pieces)
    need(size == count * SIZES[form], "PRED-3", "a factor of %d bytes for %d numbers" % (size, count))


def place(word, bits):
    """Where a word is in the order of the numbers."""
    top = 1 << bits - 1
    return word ^ (2 * top - 1) if word & top else word ^ top


def decode(data, size, chunk):
    """PRED-1 to PRED-4; `chunk` gives one that is at most so deep."""
    fields = Fields(data)
    base, count = fields.take("<32sB")
    need(count <= UPDATES_MAX, "PRED-1", "%d updates" % count)
    form = None
    if count:
        form, columns, first = fields.take("<BII")
        need(form in SIZES, "PRED-1", "format %d" % form)
        need(columns <= COLUMNS_MAX and first < columns, "PRED-1", "column %d of %d" % (first, columns))
    updates = [fields.update() for _ in range(count)]
    need(sum(u.rank for u in updates) <= RANKS_MAX, "PRED-1", "ranks")
    rest = data[fields.at:]
    need(len(rest) >= 2 and rest[0] in (1, 2, 4, 8), "PLANE-1", "width")
    width, bits = rest[0], 8 * rest[0]
    need(rest[1] == 0 and size and size % width == 0, "PRED-2", "loose bytes")
    need(not count or width == SIZES[form], "PRED-2", "words of %d bytes" % width)
    n = size // width
    for u in updates:
        check_factor(u.left, -(-(first + n) // columns) * u.rank)
        check_factor(u.right, columns * u.rank)
    left = words(planes.decode(rest, size), width)
    guess = chunk(base, 255)
    need(len(guess) == size, "PRED-4", "a base of %d bytes" % len(guess))
    guess = words(guess, width)
    for u in updates:
        rows, right = numbers(u.left, chunk), numbers(u.right, chunk)
        for i in range(n):
            r, k = divmod(first + i, columns)
            x = update_of(u, rows[r * u.rank:(r + 1) * u.rank], right[k::columns])
            v = single(number(form, guess[i]) + x)
            if not math.isnan(v):
                guess[i] = word(form, v)
    out = bytearray()
    for w, g in zip(left, guess):
        top = 1 << bits - 1
        steps = w ^ top - 1 if w & top else w
        at = (place(g, bits) + steps) % (1 << bits)
        out += (at ^ top if at & top else at ^ 2 * top - 1).to_bytes(width, "little")
    return bytes(out)
