"""external."""
from .collect import Folder

FULL = {"url": "s3://b/d/x y.csv", "version": "v/1+=", "etag": '"9b"', "modified": 7, "size": 3, "content": "ab" * 32}
LEAST = dict.fromkeys(FULL, None) | {"url": "file:///x", "size": 0}


def text(fields, head="modelv external 1"):
    return "".join("%s\n" % line for line in
                   [head] + ["%s %s" % item for item in fields.items() if item[1] is not None])


def long(count):
    """A description whose address has so many x."""
    before, behind = text(dict(LEAST, url="s3://b/?")).split("?")
    return [before.encode().hex(), {"repeat": "78", "times": count}, behind.encode().hex()]


def externals():
    f = Folder("external")
    large = dict(LEAST, url="https://h/\u00e4", size=2 ** 64 - 1)
    for name, fields in (("all-lines", FULL), ("least-lines", LEAST), ("largest", large)):
        f.valid(name, "external", fields, bytes=[text(fields).encode().hex()])
    full = text(FULL)
    f.valid("most-bytes", "external", dict(LEAST, url="s3://b/" + "x" * 8155), bytes=long(8155))
    for name, rule, data in (
            ("empty", 1, ""), ("version-2", 1, text(FULL, "modelv external 2")), ("head-alone", 1, "modelv external 1\n"),
            ("no-last-line-feed", 1, full[:-1]), ("too-long", 1, long(8156)),
            ("crlf", 1, full.replace("\n", "\r\n")), ("no-url", 2, text(dict(FULL, url=None))),
            ("no-size", 2, text(dict(FULL, size=None))), ("size-twice", 2, full.replace("size 3\n", "size 3\nsize 3\n")),
            ("size-before-url", 2, full.replace("size 3\n", "").replace("url", "size 3\nurl")),
            ("other-line", 2, full.replace("etag", "tag")), ("empty-line", 2, full + "\n"),
            ("no-value", 2, full.replace('etag "9b"', "etag ")), ("control", 3, full.replace("9b", "9\x7fb")),
            ("control-of-latin-1", 3, full.replace("9b", "9\x85b")),
            ("leading-zero", 3, full.replace("size 3", "size 03")), ("plus", 3, full.replace("size 3", "size +3")),
            ("size-of-2-64", 3, full.replace("size 3", "size %d" % 2 ** 64)),
            ("hash-in-capitals", 3, full.replace("ab" * 32, "AB" * 32)), ("hash-short", 3, full.replace("ab" * 32, "ab" * 31))):
        f.hostile(name, "external", "EXTERNAL-%d" % rule, data.encode() if isinstance(data, str) else data)
    f.hostile("not-utf8", "external", "EXTERNAL-1", full.encode().replace(b"9b", b"9\xff"))
    return f
