"""Descriptions of external data (external.md)."""
import re

from canon import need

LINES = ("url", "version", "etag", "modified", "size", "content")


def decode(data):
    """What a description says; lines that are not there are None."""
    need(len(data) <= 8192, "EXTERNAL-1", "length")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        need(False, "EXTERNAL-1", "UTF-8")
    head, _, body = text.partition("\n")
    need(head == "modelv external 1", "EXTERNAL-1", "first line")
    need(body.endswith("\n"), "EXTERNAL-1", "last line")
    found, at = dict.fromkeys(LINES), 0
    for line in body[:-1].split("\n"):
        name, space, value = line.partition(" ")
        need(name in LINES[at:] and space and value, "EXTERNAL-2", "a line or its place")
        need(not re.search("[\0-\x1f\x7f-\x9f]", value), "EXTERNAL-3", "a control character")
        at = LINES.index(name) + 1
        if name in ("modified", "size"):
            need(re.fullmatch("0|[1-9][0-9]{0,19}", value) and int(value) < 1 << 64, "EXTERNAL-3", "a number")
            value = int(value)
        if name == "content":
            need(re.fullmatch("[0-9a-f]{64}", value), "EXTERNAL-3", "a hash")
        found[name] = value
    need(found["url"] is not None and found["size"] is not None, "EXTERNAL-2", "url or size")
    return found
