"""The operation log (oplog.md)."""
import struct

import objects
from canon import OBJECT_MAX, derived_id, need


def frames(data):
    """Bodies of the finished frames, in order, then the number of bytes of an unfinished append."""
    need(len(data) >= 8 and data[:7] == b"MVOPLOG", "OPLOG-4", "no operation log")
    need(data[7] == 1, "OPLOG-4", "version %d" % data[7])
    at, chain, bodies = 8, bytes(32), []
    while len(data) - at >= 8 and any(data[at:]):
        size, complement = struct.unpack_from("<II", data, at)
        need(size ^ complement == 0xFFFFFFFF, "OPLOG-7", "length of the frame at byte %d" % at)
        need(size <= OBJECT_MAX, "OPLOG-8", "a frame of %d bytes" % size)
        end = at + 40 + size
        if end > len(data) or end == len(data) and not any(data[end - 32:]):
            break
        body = data[at + 8:end - 32]
        chain = derived_id("operation", chain + body)
        need(chain == data[end - 32:end], "OPLOG-7", "hash of the frame at byte %d" % at)
        bodies.append(body)
        at = end
    return bodies, len(data) - at


def read(data):
    """Operations, refs after the last, bytes of an unfinished append."""
    bodies, tail = frames(data)
    refs, operations = {}, []
    for body in bodies:
        operation = objects.decode("operation", body)
        need(operation["seq"] == len(operations), "OPLOG-1", "operation %d stands at %d"
             % (operation["seq"], len(operations)))
        for change in operation["changes"]:
            name, new = change["name"], change["new"]
            need(refs.get(name) == change["old"], "OPLOG-5", "`%s` was not what operation %d says"
                 % (name, operation["seq"]))
            if new is None:
                refs.pop(name, None)
            else:
                refs[name] = new
        operations.append(operation)
    return operations, refs, tail
