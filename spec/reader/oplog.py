"""The operation log (oplog.md)."""
import struct

import objects
from canon import OBJECT_MAX, Refused, derived_id, need

SECTOR = 512


def frame_at(data, at):
    """The body of the frame that stands at a byte; None if it has no right length, or is cut off."""
    if len(data) - at < 8:
        return None
    size, complement = struct.unpack_from("<II", data, at)
    if size ^ complement != 0xFFFFFFFF or size > OBJECT_MAX or at + 40 + size > len(data):
        return None
    return data[at + 8:at + 8 + size]


def is_torn(data, at):
    """OPLOG-3: a sector that was never written, and no later operation."""
    sectors = [data[max(start, at):start + SECTOR] for start in range(at // SECTOR * SECTOR, len(data), SECTOR)]
    return any(not any(sector) for sector in sectors)


def holds_operation(data, at, seq):
    """Whether an operation of a higher number stands anywhere in the bytes from `at` on."""
    for start in range(at, len(data) - 7):
        body = frame_at(data, start)
        try:
            if body and objects.decode("operation", body)["seq"] > seq:
                return True
        except Refused:
            pass
    return False


def frames(data):
    """Bodies of the finished frames, in order, then the number of bytes of an unfinished append."""
    need(len(data) >= 8 and data[:7] == b"MVOPLOG", "OPLOG-4", "no operation log")
    need(data[7] == 1, "OPLOG-4", "version %d" % data[7])
    at, chain, bodies = 8, bytes(32), []
    while len(data) - at >= 8:
        size, complement = struct.unpack_from("<II", data, at)
        body = frame_at(data, at)
        has_length = size ^ complement == 0xFFFFFFFF
        if has_length and size <= OBJECT_MAX and body is None:
            break
        end = at + 40 + size
        if body is None or derived_id("operation", chain + body) != data[end - 32:end]:
            torn = is_torn(data, at) and not holds_operation(data, at + 1, len(bodies))
            rule = "OPLOG-8" if has_length and size > OBJECT_MAX else "OPLOG-7"
            need(torn, rule, "length or hash of the frame at byte %d" % at)
            break
        chain = data[end - 32:end]
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
