"""Where a file is cut (blob.md): BLOB-3 to BLOB-5."""
import struct

from blake3 import blake3

SMALL, LARGE = (16 << 10, 64 << 10, 256 << 10), (256 << 10, 1 << 20, 4 << 20)
SMALL_FILE_MAX = 64 << 20
MASK = (1 << 64) - 1
GEAR = struct.unpack("<256Q", blake3(b"", "modelv 2026-11 gear table v1", 2048))


def sizes_for(length):
    return SMALL if length <= SMALL_FILE_MAX else LARGE


def first_border(data, sizes):
    """Length of the first chunk."""
    least, normal, most = sizes
    bits, h, end = normal.bit_length() - 1, 0, min(len(data), most)
    for i in range(least, end):
        h = ((h << 1) + GEAR[data[i]]) & MASK
        if h >> (64 - (bits + 2 if i < normal else bits - 2)) == 0:
            return i + 1
    return end


def lengths(data, sizes):
    out, at = [], 0
    while at < len(data):
        out.append(first_border(data[at:at + sizes[2]], sizes))
        at += out[-1]
    return out
