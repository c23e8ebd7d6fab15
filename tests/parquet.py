#!/usr/bin/env python3
"""Parquet as pyarrow writes it, and what `modelv diff --json` has to say of it.

    tests/parquet.py write 1|2 DIR      a file for each codec, version of pages and encoding, in one of two versions
    tests/parquet.py check DIFF.json    the difference of both versions, cell by cell
    tests/parquet.py sides base|ours|theirs|again DIR   a flat file and a nested one, to be merged
    tests/parquet.py merged FILE        what both sides of the flat file come to
"""

import datetime, decimal, json, sys
from pathlib import Path

ROWS = 60
UTC = datetime.timezone.utc


def rows(n):
    for i in range(n - 1, n - 1 + ROWS):
        moment = datetime.datetime(1969, 12, 31, 23, 59, 58) + datetime.timedelta(days=97 * i, microseconds=250_000 * n * i)
        yield {
            "id": i,
            "number": None if i % 5 == 0 else i * n - 7,
            "big": 2**63 + i + n,
            "double": i / (n + 2),
            "single": i + 0.5 * n,
            "half": i / 4 + n,
            "yes": (i + n) % 2 == 0,
            "text": "wört \"%d\"\n" % n * (i % 3),
            "raw": bytes([255, i, n]),
            "day": moment.date(),
            "at": moment.replace(tzinfo=UTC),
            "nanos": moment,
            "clock": moment.time(),
            "price": decimal.Decimal(i * n - 30) / 8,
            "tags": None if i % 7 == 0 else [None if k == 1 else f"t{k + n}" for k in range(i % 4)],
            "deep": [[k * n for k in range(j)] for j in range(i % 4)],
            "place": None if i % 6 == 0 else {"a": i * n, "b": None if i % 4 == 0 else f"p{n}"},
            "pairs": [(f"k{k}", k * n) for k in range(i % 3)],
            "kind": ["red", "green", "blue"][(i * n) % 3],
            "same": "always",
        }


def told(value):
    """A value as we write it in JSON."""
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, datetime.datetime):
        text = value.replace(tzinfo=None).isoformat()
        return (text.rstrip("0") if "." in text else text) + ("Z" if value.tzinfo else "")
    if isinstance(value, datetime.time):
        text = value.isoformat()
        return text.rstrip("0") if "." in text else text
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, list):
        return [{"key": v[0], "value": v[1]} if isinstance(v, tuple) else told(v) for v in value]
    return value


def write(n, folder):
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([
        ("id", pa.int64()), ("number", pa.int32()), ("big", pa.uint64()), ("double", pa.float64()), ("single", pa.float32()),
        ("half", pa.float16()), ("yes", pa.bool_()), ("text", pa.string()), ("raw", pa.binary()), ("day", pa.date32()),
        ("at", pa.timestamp("us", tz="UTC")), ("nanos", pa.timestamp("ns")), ("clock", pa.time64("us")),
        ("price", pa.decimal128(12, 3)), ("tags", pa.list_(pa.string())), ("deep", pa.list_(pa.list_(pa.int64()))),
        ("place", pa.struct([("a", pa.int64()), ("b", pa.string())])), ("pairs", pa.map_(pa.string(), pa.int64())),
        ("kind", pa.dictionary(pa.int8(), pa.string())), ("same", pa.string()),
    ])
    data = [dict(row, half=np.float16(row["half"])) for row in rows(n)]
    table = pa.Table.from_pylist(data, schema=schema)
    folder.mkdir(parents=True, exist_ok=True)
    small = {"row_group_size": 17, "data_page_size": 64}
    for codec in ("none", "snappy", "gzip", "brotli", "zstd", "lz4"):
        for version in ("1.0", "2.0"):
            name = f"{codec}-{version[0]}.parquet"
            pq.write_table(table, folder / name, compression=codec, data_page_version=version, **small)
    pq.write_table(table, folder / "one-group.parquet")
    pq.write_table(table, folder / "plain.parquet", use_dictionary=False, **small)
    pq.write_table(table, folder / "old-times.parquet", use_deprecated_int96_timestamps=True, store_decimal_as_integer=True)
    flat = table.select(["id", "number", "big", "double", "single", "text", "raw", "day", "at", "price", "same"])
    deltas = {c: "DELTA_BINARY_PACKED" for c in ("id", "number", "big", "day", "at")}
    deltas |= {"text": "DELTA_BYTE_ARRAY", "raw": "DELTA_LENGTH_BYTE_ARRAY", "same": "DELTA_BYTE_ARRAY", "price": "DELTA_BYTE_ARRAY"}
    deltas |= {"double": "BYTE_STREAM_SPLIT", "single": "BYTE_STREAM_SPLIT"}
    for version in ("1.0", "2.0"):
        pq.write_table(flat, folder / f"deltas-{version[0]}.parquet", use_dictionary=False, column_encoding=deltas,
                       data_page_version=version, **small)
    splits = {c: "BYTE_STREAM_SPLIT" for c in ("id", "number", "price")}
    pq.write_table(flat, folder / "splits.parquet", use_dictionary=["text"], column_encoding=splits)


def check(file):
    diff = json.loads(Path(file).read_text())
    old, new = ({row["id"]: row for row in rows(n)} for n in (1, 2))
    files = [f for f in diff["files"] if f["path"].endswith(".parquet")]
    assert len(files) == 18, [f["path"] for f in files]
    for file in files:
        name = file["path"]
        assert file["driver"] == "table" and not file["notes"], file
        keyed = next(p["keyed"] for p in file["inside"] if "keyed" in p)
        assert keyed == {"key": "id", "added": 1, "removed": 1, "changed": ROWS - 1}, (name, keyed)
        assert {"rows": {"old": ROWS, "new": ROWS}} in file["inside"], name
        assert not any("column" in part for part in file["inside"]), name
        found = {part["row"]: part for part in file["inside"] if "row" in part}
        assert found["0"]["state"] == "removed" and found[str(ROWS)]["state"] == "added", name
        for key in set(old) & set(new):
            cells = {c["column"]: (json.loads(c["old"]), json.loads(c["new"])) for c in found[str(key)]["cells"]}
            wanted = {c: (told(v), told(new[key][c])) for c, v in old[key].items()}
            is_flat = name.split("/")[-1].startswith(("deltas", "splits"))
            skipped = {"half", "yes", "nanos", "clock", "tags", "deep", "place", "pairs", "kind"} if is_flat else set()
            if "old-times" in name:
                # Such a time does not say of which zone it is.
                wanted["at"] = tuple(text.rstrip("Z") for text in wanted["at"])
            wanted = {c: both for c, both in wanted.items() if both[0] != both[1] and c not in skipped}
            assert cells == wanted, (name, key, [(c, cells.get(c), wanted.get(c)) for c in {*cells, *wanted} if cells.get(c) != wanted.get(c)])
    print(f"{len(files)} files are told cell by cell")


def flat(version):
    import numpy as np
    import pyarrow as pa

    fields = [
        ("id", pa.int64()), ("small", pa.int8()), ("big", pa.uint64()), ("double", pa.float64()), ("single", pa.float32()),
        ("half", pa.float16()), ("yes", pa.bool_()), ("text", pa.string()), ("raw", pa.binary()), ("day", pa.date32()),
        ("at", pa.timestamp("us", tz="UTC")), ("nanos", pa.timestamp("ns")), ("clock", pa.time64("us")),
        ("price", pa.decimal128(12, 3)), ("fixed", pa.binary(3)), ("none", pa.int32()),
    ]
    texts = ["", "a\tb", "line\r\nnext", "\\N", "\\x41", "null", "wört", " blank ", None]
    doubles = [0.1, -0.0, float("inf"), float("nan"), 5e-324, None]

    def row(i):
        moment = datetime.datetime(1969, 12, 31, 23, 59, 58) + datetime.timedelta(days=97 * i, microseconds=250_000 * i)
        return {
            "id": i, "small": i % 100 - 50, "big": 2**63 + i, "double": doubles[i % 6], "single": i + 0.1, "half": np.float16(i / 4),
            "yes": None if i % 7 == 0 else i % 2 == 0, "text": texts[i % 9], "raw": bytes([255, 0, i % 256]), "day": moment.date(),
            "at": moment.replace(tzinfo=UTC), "nanos": moment, "clock": moment.time(), "price": decimal.Decimal(i - 30) / 8,
            "fixed": bytes([i % 256, 10, 9]), "none": None,
        }

    rows = [row(i) for i in range(200)]
    if version in ("ours", "both"):
        rows[3].update(text="ours\n", double=None)
        for r in rows:
            r["more"] = f"m{r['id']}"
        fields.append(("more", pa.string()))
    if version == "again":
        rows[3].update(text="again")
    if version in ("theirs", "both"):
        rows[3].update(yes=True)
        rows[5].update(text=None, price=decimal.Decimal("-0.125"))
        del rows[7]
        rows.append(row(500))
    return pa.Table.from_pylist(rows, schema=pa.schema(fields, metadata={"made by": "tests"}))


def sides(version, folder):
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(flat(version), folder / "flat.parquet", row_group_size=64)
    lists = [[ord(version[0])], [], [1, 2]]
    pq.write_table(pa.table({"id": [1, 2, 3], "list": lists}), folder / "nested.parquet")


def merged(file):
    import pyarrow.parquet as pq

    found, wanted = pq.read_table(file), flat("both")
    assert found.schema.equals(wanted.schema, check_metadata=True), (found.schema, wanted.schema)
    assert str(found.to_pylist()) == str(wanted.to_pylist())
    print(pq.ParquetFile(file).metadata)


if __name__ == "__main__":
    if sys.argv[1] == "sides":
        sides(sys.argv[2], Path(sys.argv[3]))
    elif sys.argv[1] == "merged":
        merged(sys.argv[2])
    elif sys.argv[1] == "write":
        write(int(sys.argv[2]), Path(sys.argv[3]))
    else:
        check(sys.argv[2])
