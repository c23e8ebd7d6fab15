"""Numbers split into planes of bytes (pack.md, codec 2)."""
import struct

from canon import need
from zstd import unzstd


def decode(data, size):
    """PLANE-1 to PLANE-3."""
    need(len(data) >= 2, "PLANE-1", "cut off")
    width, skip = data[0], data[1]
    need(width in (1, 2, 4, 8), "PLANE-1", "words of %d bytes" % width)
    need(skip < width and skip <= size, "PLANE-1", "%d bytes before the first word" % skip)
    n, at = (size - skip) // width, 2 + 5 * width
    loose = data[at:at + size - n * width]
    at += size - n * width
    need(at <= len(data), "PLANE-1", "cut off")
    rotated = bytearray(n * width)
    for i in range(width):
        how, length = struct.unpack_from("<BI", data, 2 + 5 * i)
        plane = data[at:at + length]
        need(how < 2, "PLANE-2", "plane %d is written in the way %d" % (i, how))
        need(len(plane) == length, "PLANE-3", "plane %d ends outside" % i)
        need(how or length == n, "PLANE-2", "plane %d has %d bytes for %d words" % (i, length, n))
        rotated[width - 1 - i::width] = unzstd(plane, n) if how else plane
        at += length
    need(at == len(data), "PLANE-3", "bytes behind the planes")
    # All words at once: the lowest bit of each becomes its highest.
    words = int.from_bytes(rotated, "little")
    lowest = int.from_bytes((b"\1" + bytes(width - 1)) * n, "little")
    sign = words & lowest
    words = ((words ^ sign) >> 1 | sign << 8 * width - 1).to_bytes(n * width, "little")
    return loose[:skip] + words + loose[skip:]
