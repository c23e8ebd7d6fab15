#!/usr/bin/env python3
"""Writes the vectors, their checksums, and the examples of the pages.

    make.py            writes what is missing; refuses to change or drop a vector that has a checksum
    make.py --check    writes nothing; fails where a file is not what this program would write

The encoders in generate/ are written by hand from the pages, apart from the program and from the
decoders of the reader. From the reader they take BLAKE3 alone.
"""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))
from generate import encode, externals, files, layouts, paths, records, states, trees  # noqa: E402
from generate.collect import blake3, content  # noqa: E402

FOLDERS = (records.ids, records.objects, trees.trees, records.commits, records.envs, records.runs, files.blobs,
           files.packs, files.pack_indexes, files.oplogs, layouts.layouts, files.gcs,
           paths.paths, states.states, externals.externals)


def repositories():
    """Checksums of the files of stored repositories."""
    out = {}
    for log in sorted(ROOT.glob("*/oplog")):
        if log.is_file():
            for path in sorted(p for p in log.parent.rglob("*") if p.is_file()):
                out[path.relative_to(ROOT).as_posix()] = blake3(path.read_bytes()).hex()
    return out


def lines_of(data, fields):
    """Bytes with an offset and a name for each field, 16 bytes a line."""
    at, out = 0, []
    for name, part in fields:
        assert data[at:at + len(part)] == part, name
        for start in range(0, max(len(part), 1), 16):
            digits = part[start:start + 16].hex(" ")
            out.append("%04x  %-47s  %s" % (at + start, digits, name if start == 0 else ""))
        at += len(part)
    assert at == len(data), (at, len(data))
    return "\n".join(line.rstrip() for line in out)


def header(kind, version=1):
    return [("magic", b"MODELV"), ("kind", bytes([encode.KINDS[kind]])), ("version", bytes([version]))]


def pack_fields(data):
    at = int.from_bytes(data[-40:-32], "little")
    cut = (("magic, version", 8), ("stored bytes", at - 8), ("count", 8), ("tag", 1), ("codec", 1), ("id", 32),
           ("offset", 8), ("stored length", 4), ("decoded length", 4), ("offset of the table", 8), ("hash", 32))
    return pieces(data, cut)


def pieces(data, cut):
    out, at = [], 0
    for name, size in cut:
        out.append((name, data[at:at + size]))
        at += size
    return out


def examples():
    """The worked examples: page, vector, its bytes, its fields."""
    def record(kind, form, value):
        fields = header(kind) + form.lines(value)
        return b"".join(part for _, part in fields), fields

    two = [trees.entry("a", 3), trees.entry("b", 1, "Symlink", "22" * 32)]
    entries = [("count", b"\2")]
    for e in two:
        entries += encode.ENTRY.lines(e, "entry.")
    pack, rows = files.pack([files.item(0, b"abc")])
    index = files.index(pack[-32:], rows)
    counts = [("fan-out of 00 to 63", index[40:440]), ("fan-out of 64 to ff", index[440:1064])]
    log = files.log(files.history()[0])
    operation = files.history()[0]
    base = {"seq": 0, "time": {"seconds": 1700000000, "offset_minutes": 0}, "actor": "ada@host", "command": "init",
            "nonce": "00" * 16, "worktree": False, "undoes": None}
    frame = pieces(log, (("magic", 7), ("version", 1), ("length", 4), ("complement", 4)))
    fields = header("operation")
    short = encode.Record(*[f for f in encode.OPERATION.fields if f[0] != "changes"])
    fields += short.lines(base) + [("count of changes", b"\1")] + encode.CHANGE.lines(files.HEAD, "change.")
    frame += fields + [("hash", log[-32:])]
    assert b"".join(p for _, p in fields) == operation
    return {
        "ids/blob-abc": (b"abc", [("the blob", b"abc")]),
        "object/values": record("run", encode.RUN, dict(records.RUN_1, params=records.VALUES)),
        "tree/leaf-two": (trees.leaf(two), header("tree") + [("Leaf", b"\0")] + entries),
        "commit/minimal": record("commit", encode.COMMIT, records.COMMIT_1),
        "env/minimal": record("env", encode.ENV, records.ENV_1),
        "env/details": (records.with_details(), header("env", 2) + encode.ENV_OF_DETAILS.lines(records.ENV_2)),
        "run/minimal": record("run", encode.RUN, records.RUN_1),
        "run/origin": (records.with_origin(), header("run", 2) + encode.RUN_OF_ORIGIN.lines(records.RUN_2)),
        "blob/cuts-two": record("cuts", encode.CUTS, files.cuts_record(bytes(16387), (16384, 3))),
        "pack/one-chunk": (pack, pack_fields(pack)),
        "pack-index/one-chunk": (index, pieces(index, (("magic, version", 8), ("name of the pack", 32))) + counts
                                 + pieces(index[1064:], (("row", 50), ("hash", 32)))),
        "oplog/one-operation": (log, frame),
        "gc/twice": (files.gc(2, 4), pieces(files.gc(2, 4), (("magic", 7), ("version", 1), ("epoch", 8), ("horizon", 8),
                                                             ("hash", 32)))),
    }


def squeezed(text):
    """Runs of lines that repeat the bytes of the line before become one `*`, as `xxd -a` prints."""
    out, skipped = [], False
    lines = text.split("\n")
    for i, line in enumerate(lines):
        same = 0 < i < len(lines) - 1 and line[6:] == lines[i - 1][6:] and len(line) > 50
        if not same:
            out.append(line)
        elif not skipped:
            out.append("*")
        skipped = same
    return "\n".join(out)


def wanted():
    """Every file that this program writes: path, content."""
    out, sums = {}, repositories()
    for make in FOLDERS:
        folder = make()
        out[ROOT / folder.name / "index.json"] = folder.text()
        sums.update(folder.checksums())
        for vector in folder.vectors:
            if "bytes" in vector:
                content(vector["bytes"])  # every description can be read
    for name, (data, fields) in examples().items():
        page = ROOT.parent / (name.split("/")[0] + ".md")
        block = "```hex %s\n%s\n```" % (name, squeezed(lines_of(data, fields)))
        text, count = re.subn(r"```hex %s\n(.*?\n)??```" % name, lambda _: block, page.read_text(), flags=re.S)
        assert count == 1, name
        out[page] = text
    out[ROOT / "CHECKSUMS"] = checksums(sums)
    return out


def checksums(sums):
    """The law of the vectors: what has a checksum stays as it is, and what is new is appended."""
    path = ROOT / "CHECKSUMS"
    lines = path.read_text().splitlines() if path.exists() else []
    known = {name: digits for digits, name in (line.split("  ", 1) for line in lines)}
    broken = sorted(name for name in known if sums.get(name) != known[name])
    if broken:
        sys.exit("error: vectors with a checksum changed or vanished: %s" % ", ".join(broken[:9]))
    return "".join("%s\n" % line for line in lines + ["%s  %s" % (sums[n], n) for n in sums if n not in known])


def main():
    wrong = []
    for path, text in wanted().items():
        if not path.exists() or path.read_text() != text:
            wrong.append(path)
            if "--check" not in sys.argv:
                path.parent.mkdir(exist_ok=True)
                path.write_text(text)
    for path in wrong:
        print("%s %s" % ("differs:" if "--check" in sys.argv else "wrote", path.relative_to(ROOT.parent)))
    sys.exit(1 if wrong and "--check" in sys.argv else 0)


if __name__ == "__main__":
    main()
