"""Codec 4 by its page, in exact fractions that are rounded where the page says so; apart from the reader, which
works in floating point."""
import struct
from fractions import Fraction

from .collect import blake3

# Bits of the mantissa with the first one, exponent of the smallest number, bits of the word.
SHAPES = {1: (8, -133, 16), 2: (11, -24, 16), 3: (24, -149, 32), "f64": (53, -1074, 64)}
TOP = {1: 127, 2: 15, 3: 127, "f64": 1023}
NAN = "nan"


def value(form, word):
    """The exact value of a word: a fraction, or ("inf", sign), or NAN; with the sign of a zero."""
    bits, least, width = SHAPES[form]
    sign, rest = word >> width - 1, word & (1 << width - 1) - 1
    exponent, mantissa = rest >> bits - 1, rest & (1 << bits - 1) - 1
    if exponent == (1 << width - bits) - 1:
        return NAN if mantissa else ("inf", sign)
    if exponent:
        mantissa, least = mantissa | 1 << bits - 1, least + exponent - 1
    return (-1 if sign else 1) * Fraction(mantissa) * Fraction(2) ** least, sign


def nearest(form, exact, sign=0):
    """The word of a format next to a fraction, ties to even; `sign` is that of a zero."""
    bits, least, width = SHAPES[form]
    negative = exact < 0 or (exact == 0 and sign)
    size, power = abs(exact), least
    while size / Fraction(2) ** power >= 1 << bits:
        power += 1
    steps = size / Fraction(2) ** power
    whole = steps.numerator // steps.denominator
    half = steps - whole
    whole += half > Fraction(1, 2) or (half == Fraction(1, 2) and whole & 1)
    if whole >> bits:
        whole, power = whole >> 1, power + 1
    if power + bits - 1 > TOP[form]:
        word = (1 << width - bits) - 1 << bits - 1
    elif whole >> bits - 1:
        word = (power - least + 1 << bits - 1) + (whole - (1 << bits - 1))
    else:
        word = whole
    return word | negative << width - 1


def rounded(form, v):
    """A value rounded to a format."""
    if v == NAN or v[0] == "inf":
        return v
    return value(form, nearest(form, *v))


def times(a, b):
    if NAN in (a, b):
        return NAN
    sign = a[1] ^ b[1]
    if "inf" in (a[0], b[0]):
        return NAN if 0 in (a[0], b[0]) else ("inf", sign)
    return a[0] * b[0], sign


def plus(a, b):
    if NAN in (a, b):
        return NAN
    if "inf" in (a[0], b[0]):
        if a[0] == b[0] and a[1] != b[1]:
            return NAN
        return a if a[0] == "inf" else b
    total = a[0] + b[0]
    return total, (a[1] & b[1]) if total == 0 else int(total < 0)


def change(update, row, column):
    rank, way, order, p, q, scale = update
    if order:
        row = [rounded(p, rounded(3, times(x, scale))) for x in row]
    t = (Fraction(0), 0)
    for a, b in zip(row, column):
        if way == 0:
            t = rounded(3, plus(t, rounded(3, times(a, b))))
        else:
            t = rounded("f64", plus(t, times(a, b)))
            t = rounded(3, t) if way == 1 else t
    t = rounded(3, t)
    return rounded(q, t) if order else rounded(q, rounded(3, times(rounded(p, t), scale)))


def predicted(form, base, columns, first, update, left, right):
    """Words of `base` with an update; the factors are lists of values."""
    rank, out = update[0], []
    for i, word in enumerate(base):
        r, k = divmod(first + i, columns)
        v = plus(value(form, word), change(update, left[r * rank:(r + 1) * rank], right[k::columns]))
        v = rounded(3, v)
        out.append(word if v == NAN else infinite(form, v[1]) if v[0] == "inf" else nearest(form, *v))
    return out


def infinite(form, sign):
    bits, _, width = SHAPES[form]
    return (1 << width - bits) - 1 << bits - 1 | sign << width - 1


def left_over(words, guess, bits):
    top = 1 << bits - 1

    def place(w):
        return w ^ 2 * top - 1 if w & top else w ^ top

    out = []
    for w, g in zip(words, guess):
        d = (place(w) - place(g)) % (2 * top)
        out.append(d ^ top - 1 if d & top else d)
    return out


def piece(data, offset=0, length=None, key=None):
    return (blake3(data) if key is None else key) + struct.pack("<II", offset, len(data) if length is None else length)


def factor(form, *pieces):
    return bytes([form, len(pieces)]) + b"".join(pieces)


def scale_of(x):
    return value(3, struct.unpack("<I", struct.pack("<f", x))[0])
