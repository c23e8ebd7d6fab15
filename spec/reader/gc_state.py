"""The file `gc` (gc.md)."""
import struct

from blake3 import blake3
from canon import need


def decode(data):
    """Epoch and horizon."""
    need(data[:8] == b"MVGC\0\0\0\1" and len(data) == 56, "GC-9", "magic, version or length of `gc`")
    need(blake3(data[:24]) == data[24:], "GC-9", "hash of `gc`")
    return struct.unpack("<QQ", data[8:24])


def read(path):
    return decode(path.read_bytes()) if path.exists() else (0, 0)
