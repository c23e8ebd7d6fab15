"""Canonical bytes (object.md): the header and the wire format. Knows nothing of what objects mean."""
from blake3 import blake3

KINDS = {"tree": 1, "env": 2, "recipe": 3, "commit": 4, "run": 5, "cuts": 6, "operation": 7, "stage": 8}
OBJECT_MAX = 16 << 20
COUNT_MAX = 65536


class Refused(Exception):
    """Bytes that break a rule of the pages."""

    def __init__(self, rule, detail):
        super().__init__("%s: %s" % (rule, detail))
        self.rule = rule


def need(holds, rule, detail):
    if not holds:
        raise Refused(rule, detail)


def derived_id(kind, data):
    """ID-2."""
    return blake3(data, "modelv 2026-11 %s v1" % kind)


def body_of(kind, data):
    """Checks the header (OBJ-1, OBJ-3); returns a reader of the body."""
    need(len(data) <= OBJECT_MAX, "OBJ-3", "an object of %d bytes" % len(data))
    need(len(data) >= 8 and data[:6] == b"MODELV", "OBJ-1", "no object")
    need(data[6] == KINDS[kind], "OBJ-1", "kind %d, expected %d" % (data[6], KINDS[kind]))
    known = {"run": 3, "env": 2}.get(kind, 1)
    need(1 <= data[7] <= known, "OBJ-1", "version %d" % data[7])
    return Wire(data, 8)


class Wire:
    """Reads values in order; `end` says that all was read."""

    def __init__(self, data, at=0):
        self.data, self.at = data, at

    def end(self):
        need(self.at == len(self.data), "OBJ-1", "%d bytes behind the end" % (len(self.data) - self.at))

    def take(self, n):
        need(n <= len(self.data) - self.at, "WIRE-7", "cut off at byte %d" % len(self.data))
        self.at += n
        return self.data[self.at - n:self.at]

    def byte(self):
        return self.take(1)[0]

    def uint(self, bits=64):
        mark = self.byte()
        if mark < 251:
            return mark
        need(mark <= {16: 251, 32: 252, 64: 253}[bits], "WIRE-2", "mark %d of a %d-bit number" % (mark, bits))
        n = int.from_bytes(self.take({251: 2, 252: 4, 253: 8}[mark]), "little")
        need(n >= {251: 251, 252: 1 << 16, 253: 1 << 32}[mark], "WIRE-1", "a long form of %d" % n)
        return n

    def int(self, bits=64):
        n = self.uint(bits)
        return -(n + 1) // 2 if n & 1 else n // 2

    def bool(self):
        n = self.byte()
        need(n < 2, "WIRE-3", "byte %d where 0 or 1 must be" % n)
        return n == 1

    def variant(self, names):
        n = self.uint(32)
        need(n < len(names), "WIRE-4", "variant %d of %d" % (n, len(names)))
        return names[n]

    def id(self):
        return self.take(32)

    def bytes(self):
        return self.take(self.uint())

    def text(self):
        data = self.bytes()
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as e:
            raise Refused("WIRE-5", "text that is not UTF-8: %s" % e.reason) from None

    def optional(self, item):
        return item() if self.bool() else None

    def count(self, most):
        n = self.uint()
        need(n <= most, "WIRE-8", "%d elements" % n)
        need(n <= len(self.data) - self.at, "WIRE-7", "%d elements in fewer bytes" % n)
        return n

    def list(self, item, most=COUNT_MAX):
        return [item() for _ in range(self.count(most))]

    def map(self, value):
        out, last = {}, None
        for _ in range(self.count(COUNT_MAX)):
            key = self.text()
            need(last is None or key.encode() > last, "WIRE-6", "key `%s` out of order" % key)
            last = key.encode()
            out[key] = value()
        return out
