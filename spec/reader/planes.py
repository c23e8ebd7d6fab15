"""Codec 2 of pack.md: numbers split into planes of bytes."""
import struct

from canon import need
from zstd import unzstd


def unplane(data, size):
    """The bytes of one entry: `size` of them (PLANE-1)."""
    need(len(data) >= 2, "PLANE-1", "an entry of %d bytes" % len(data))
    width, skip = data[0], data[1]
    need(width in (2, 4, 8) and skip < width and skip <= size, "PLANE-1", "head")
    count = (size - skip) // width
    heads, at = data[2:2 + 5 * width], 2 + 5 * width
    need(len(heads) == 5 * width, "PLANE-1", "heads of planes")
    loose = data[at:at + size - count * width]
    at += len(loose)
    planes = []
    for how, length in struct.iter_unpack("<BI", heads):
        need(how < 2, "PLANE-1", "plane written as %d" % how)
        plane = data[at:at + length]
        need(len(plane) == length, "PLANE-1", "a plane that is cut off")
        planes.append(unzstd(plane, count) if how else plane)
        need(len(planes[-1]) == count, "PLANE-1", "a plane of %d bytes" % len(planes[-1]))
        at += length
    need(at == len(data), "PLANE-1", "bytes behind the planes")
    return loose[:skip] + join(planes, width) + loose[skip:]


def join(planes, width):
    """Words whose bytes stand in planes, highest first; each is rotated right by one bit."""
    out, top = bytearray(len(planes[0]) * width), 8 * width - 1
    for i, parts in enumerate(zip(*planes)):
        word = int.from_bytes(bytes(parts), "big")
        out[i * width:(i + 1) * width] = (word >> 1 | (word & 1) << top).to_bytes(width, "little")
    return bytes(out)
