"""ids, object, commit, env, run."""
from .collect import MARK, Folder, derived
from .encode import (
    COMMIT, DETAILS, ENV_OF_DETAILS, ORIGIN, PACKAGE, RUN_OF_DOUBTS, RUN_OF_ORIGIN, canonical, changed, enc, head,
    long, text, u, value)

A, B, C, D = "aa" * 32, "bb" * 32, "cc" * 32, "dd" * 32
COMMIT_1 = {
    "recipe": {"code": A, "data": B, "config": C, "env": D}, "model": None, "parents": [],
    "author": {"name": "Ada", "email": "ada@example.org"},
    "committer": {"name": "Ada", "email": "ada@example.org"},
    "time": {"seconds": 1700000000, "offset_minutes": -90}, "message": "first", "runs": [], "extra": {}}
ENV_1 = {"os": "linux", "arch": "x86_64",
         "interpreter": {"implementation": "cpython", "version": "3.11.7", "abi": "cp311"},
         "packages": [{"name": "numpy", "version": "2.1.0", "archive_sha256": None, "source": None,
                       "record_sha256": A, "editable": False}], "locks": []}
DETAILS_0 = {"patched": [], "extras": [], "system": [], "libraries": []}
PATCH_1 = {"package": "numpy", "sha256": B, "count": 1, "files": ["numpy/core.py"]}
DETAILS_1 = {
    "patched": [PATCH_1], "extras": [{"package": "numpy", "names": ["fast", "slow"]}],
    "system": [{"name": "libc6", "version": "2.36-9+deb12u13", "manager": "dpkg",
                "libraries": ["libc.so.6", "libm.so.6"]}],
    "libraries": [{"name": "liba.so.1", "sha256": C}, {"name": "libb.so.1", "sha256": None}]}
ENV_2 = dict(ENV_1, details=DETAILS_1)
RUN_1 = {"command": ["train"], "recipe": A, "commit": None, "params": {}, "metrics": {}, "series": None,
         "outputs": None, "status": "Finished", "exit_code": 0, "started": {"seconds": 0, "offset_minutes": 0},
         "duration_ms": 7, "host": {}, "determinism": "Unknown", "log": None, "nonce": "00" * 16}
VALUES = {"a": ["Null", None], "b": ["Bool", True], "c": ["Int", -1], "d": ["UInt", 1 << 63],
          "e": ["Float", "000000000000f03f"], "f": ["Str", "1"], "g": ["List", [["Int", 1]]],
          "h": ["Map", {"x": ["Null", None]}]}
BAD_TEXTS = {
    "a-lone-continuation": b"\x80", "an-overlong-slash": b"\xc0\xaf", "an-overlong-nul": b"\xe0\x80\x80",
    "a-surrogate": b"\xed\xa0\x80", "above-the-last-character": b"\xf4\x90\x80\x80", "cut-short": b"\xe2\x82",
    "a-byte-never-used": b"\xff"}


INGREDIENTS = {"code": A, "data": B, "config": C, "env": D}
ORIGIN_0 = {"ingredients": None, "parent": None, "stage": None, "repeats": None}
ORIGIN_1 = {"ingredients": INGREDIENTS, "parent": "11" * 16, "stage": {"name": "train", "key": B, "inputs": C},
            "repeats": D}
RUN_2 = dict(RUN_1, recipe=derived("recipe", canonical("recipe", INGREDIENTS)).hex(), origin=ORIGIN_1)
STAGE_1 = {"command": "sh train.sh", "env": A, "inputs": B, "params": {"lr": ["Float", "000000000000e03f"]},
           "outputs": [b"metrics.json".hex(), b"models/w".hex()]}


def with_origin(**fields):
    """A run of version 2."""
    return head("run", 2) + RUN_OF_ORIGIN(changed(RUN_2, **fields))


def with_doubts(*doubts):
    """A run of version 3."""
    return head("run", 3) + RUN_OF_DOUBTS(dict(RUN_2, origin=dict(ORIGIN_1, doubts=list(doubts))))


def with_details(**fields):
    """An environment of version 2."""
    return head("env", 2) + ENV_OF_DETAILS(changed(ENV_2, **fields))


def run(**fields):
    return canonical("run", changed(RUN_1, **fields))


def with_value(v):
    return run(params={"k": v})


def ids():
    f = Folder("ids")
    for name, data in (("empty", b""), ("abc", b"abc"), ("1024", bytes(1024)), ("1025", bytes(1025))):
        f.valid("blob-" + name, "blob", {"id": plain(data)}, bytes=[data.hex()] if data else [])
    f.valid("chunk-abc", "chunk", {"id": plain(b"abc")}, bytes=[b"abc".hex()])
    f.object("recipe", "recipe", canonical("recipe", COMMIT_1["recipe"]), COMMIT_1["recipe"])
    f.object("empty-tree", "tree", head("tree") + b"\0\0", {"level": 0, "rows": []})
    good = "0123456789abcdef" * 4
    f.valid("text", "text-id", {"id": good}, bytes=[good.encode().hex()])
    bad = {"empty": "", "63-digits": good[1:], "65-digits": good + "0", "upper-case": good.upper(),
           "one-upper-case": "A" + good[1:], "prefix": "0x" + good[2:], "behind-a-space": " " + good[1:],
           "before-a-line-end": good[1:] + "\n", "no-digit": "g" + good[1:], "sign": "+" + good[1:],
           "other-digits": "\uff11" + good[3:], "nul": "\0" + good[1:], "short-form": good[:12]}
    for name, words in bad.items():
        f.hostile("text-" + name, "text-id", "ID-4", words.encode())
    f.hostile("text-not-utf8", "text-id", "ID-4", b"\xff" + good[1:].encode())
    f.hostile("recipe-of-three", "recipe", "WIRE-7", canonical("recipe", COMMIT_1["recipe"])[:-32])
    f.hostile("recipe-of-five", "recipe", "OBJ-1", canonical("recipe", COMMIT_1["recipe"]) + bytes(32))
    return f


def plain(data):
    from .collect import blake3
    return blake3(data).hex()


def nested(kind, depth):
    v = ["Null", None]
    for _ in range(depth):
        v = ["List", [v]] if kind == "List" else ["Map", {"": v}]
    return v


def object_valid(f):
    f.object("values", "run", run(params=VALUES), changed(RUN_1, params=VALUES))
    edges = [0, 1, -1, 125, -125, -126, 126, 32767, -32768, 32768, 1 << 31, -(1 << 31), (1 << 63) - 1, -(1 << 63)]
    ints = {"k": ["List", [["Int", n] for n in edges]]}
    f.object("int-borders", "run", run(params=ints), changed(RUN_1, params=ints))
    uints = {"k": ["List", [["UInt", 1 << 63], ["UInt", (1 << 64) - 1]]]}
    f.object("uint-borders", "run", run(params=uints), changed(RUN_1, params=uints))
    floats = {"k": ["List", [["Float", bits] for bits in (
        "0000000000000000", "0000000000000080", "000000000000f07f", "000000000000f0ff", "000000000000f87f",
        "010000000000f07f", "ffffffffffffffff", "0100000000000000")]]}
    f.object("every-float-is-itself", "run", run(metrics=floats), changed(RUN_1, metrics=floats))
    for n in (250, 251, 65535, 65536):
        f.object("text-of-%d" % n, "run", run(command=[text("x" * n)[:-n] + MARK]), None,
                 [{"repeat": "78", "times": n}])
    odd = {"": "", "\0": "\0", "\u00e9": "\ue000", "\U0001f600": "\uffff"}
    f.object("odd-texts", "run", run(host=odd), changed(RUN_1, host=odd))
    for kind in ("List", "Map"):
        f.object("value-64-deep-in-%ss" % kind.lower(), "run", with_value(nested(kind, 63)))
    f.object("empty-list-64-deep", "run", with_value(value(nested("List", 63))[:-1] + u(6) + u(0)))
    f.object("list-of-65536", "run", with_value(["List", u(65536) + MARK]), None, [{"repeat": "00", "times": 65536}])
    f.object("map-of-65536", "run", with_value(["Map", u(65536) + MARK]), None,
             [{"numbers": [0, 65536], "before": "05", "after": "00"}])
    size = (16 << 20) - len(run(command=[b""])) - 5
    f.object("16-mib", "run", run(command=[u(size) + MARK]), None, [{"repeat": "78", "times": size}])
    f.object("negative-exit-code", "run", run(exit_code=-(1 << 31)), changed(RUN_1, exit_code=-(1 << 31)))


def object_header(f):
    good = run()
    for name, data in (
            ("empty", b""), ("half-a-header", good[:7]), ("magic", b"MODELX" + good[6:]),
            ("magic-lower-case", b"modelv" + good[6:]), ("kind-0", good[:6] + b"\0" + good[7:]),
            ("kind-8", good[:6] + b"\x08" + good[7:]), ("another-kind", good[:6] + b"\x04" + good[7:]),
            ("version-0", good[:7] + b"\0" + good[8:]), ("version-2", good[:7] + b"\2" + good[8:]),
            ("a-byte-behind-the-end", good + b"\0"), ("twice", good + good)):
        f.hostile("header-" + name, "run", "OBJ-1", data)
    f.hostile("header-alone", "run", "WIRE-7", good[:8])
    size = (16 << 20) - len(run(command=[b""])) - 4
    f.hostile("16-mib-and-one", "run", "OBJ-3", run(command=[u(size) + MARK]), {"repeat": "78", "times": size})


def object_numbers(f):
    for name, fields in (
            ("u64-in-2-bytes", {"duration_ms": long(7, 2)}), ("u64-in-4-bytes", {"duration_ms": long(251, 4)}),
            ("u64-in-8-bytes", {"duration_ms": long(65536, 8)}), ("250-in-2-bytes", {"duration_ms": long(250, 2)}),
            ("65535-in-4-bytes", {"duration_ms": long(65535, 4)}),
            ("2-32-less-1-in-8-bytes", {"duration_ms": long((1 << 32) - 1, 8)}),
            ("i64", {"started__seconds": long(0, 8)}), ("i16", {"started__offset_minutes": long(2, 2)}),
            ("i32", {"exit_code": b"\1" + long(300, 4)}), ("a-length", {"command": [long(1, 2) + b"x"]}),
            ("a-count", {"command": long(1, 2) + text("x")}), ("a-count-of-pairs", {"host": long(0, 8)}),
            ("a-variant", {"status": long(1, 2)}), ("a-variant-of-a-value", {"params": {"k": long(0, 4)}})):
        f.hostile("long-form-of-" + name, "run", "WIRE-1", run(**fields))
    for name, fields in (
            ("254", {"duration_ms": b"\xfe" + bytes(16)}), ("255", {"duration_ms": b"\xff" + bytes(8)}),
            ("i16-in-4-bytes", {"started__offset_minutes": long(65536, 4)}),
            ("i16-in-8-bytes", {"started__offset_minutes": long(1 << 32, 8)}),
            ("i32-in-8-bytes", {"exit_code": b"\1" + long(1 << 32, 8)}),
            ("variant-in-8-bytes", {"status": long(1 << 32, 8)}), ("128-bit-length", {"command": [b"\xfe" + bytes(16)]})):
        f.hostile("mark-" + name, "run", "WIRE-2", run(**fields))


def object_shapes(f):
    for name, fields in (
            ("bool-2", {"params": {"k": ["Bool", b"\2"]}}), ("bool-255", {"params": {"k": ["Bool", b"\xff"]}}),
            ("optional-2", {"commit": b"\2" + bytes(32)}), ("optional-251", {"exit_code": b"\xfb\0"})):
        f.hostile(name, "run", "WIRE-3", run(**fields))
    for name, fields in (
            ("status-3", {"status": u(3)}), ("determinism-4", {"determinism": u(4)}), ("value-8", {"params": {"k": u(8)}}),
            ("value-in-a-list-250", {"params": {"k": ["List", u(1) + u(250)]}}),
            ("status-2-32-less-1", {"status": long((1 << 32) - 1, 4)})):
        f.hostile("variant-" + name, "run", "WIRE-4", run(**fields))
    for name, data in BAD_TEXTS.items():
        f.hostile("text-" + name, "run", "WIRE-5", run(command=[u(len(data)) + data]))
    f.hostile("key-a-surrogate", "run", "WIRE-5", run(host=u(1) + u(3) + b"\xed\xa0\x80" + text("")))

    def pairs(*keys):
        return u(len(keys)) + b"".join(text(k) + text("v") for k in keys)

    for name, keys in (("descending", "ba"), ("twice", "aa"), ("last-one-lower", "acb"),
                       ("longer-first", ("aa", "a")), ("by-utf16", ("\U0001f600", "\uffff"))):
        f.hostile("keys-" + name, "run", "WIRE-6", run(host=pairs(*keys)))
    inner = u(2) + text("b") + value(["Null", None]) + text("a") + value(["Null", None])
    f.hostile("keys-in-a-value", "run", "WIRE-6", with_value(["Map", inner]))
    f.hostile("keys-of-params", "run", "WIRE-6", run(params=inner))
    good = run(params=VALUES)
    for cut in (9, 20, 60, len(good) // 2, len(good) - 16, len(good) - 1):
        f.hostile("cut-at-%d" % cut, "run", "WIRE-7", good[:cut])
    for name, fields in (
            ("text-longer-than-the-object", {"command": [u(1000) + b"x"]}),
            ("text-of-2-64-less-1", {"command": [long((1 << 64) - 1, 8)]}),
            ("text-of-2-63", {"command": [long(1 << 63, 8)]}),
            ("list-longer-than-the-object", {"command": u(60000) + text("x")})):
        f.hostile(name, "run", "WIRE-7", run(**fields))


def object_limits(f):
    nulls = {"repeat": "00", "times": 65537}
    f.hostile("list-of-65537", "run", "WIRE-8", with_value(["List", u(65537) + MARK]), nulls)
    f.hostile("commands-of-65537", "run", "WIRE-8", run(command=u(65537) + MARK), nulls)
    f.hostile("map-of-65537", "run", "WIRE-8", with_value(["Map", u(65537) + MARK]),
              {"numbers": [0, 65537], "before": "05", "after": "00"})
    f.hostile("host-of-65537", "run", "WIRE-8", run(host=u(65537) + MARK),
              {"numbers": [0, 65537], "before": "05", "after": "00"})
    f.hostile("list-of-2-64-less-1", "run", "WIRE-8", run(command=long((1 << 64) - 1, 8)))
    f.hostile("map-of-2-40", "run", "WIRE-8", run(host=long(1 << 40, 8)))
    f.hostile("runs-of-65537", "commit", "WIRE-8", canonical("commit", changed(COMMIT_1, runs=u(65537) + MARK)),
              {"repeat": A, "times": 65537})
    for kind in ("List", "Map"):
        f.hostile("value-65-deep-in-%ss" % kind.lower(), "run", "VALUE-1", with_value(nested(kind, 64)))
    mixed = nested("List", 32)
    for _ in range(32):
        mixed = ["Map", {"k": mixed}]
    f.hostile("value-65-deep-mixed", "run", "VALUE-1", with_value(mixed))
    f.hostile("metric-65-deep", "run", "VALUE-1", run(metrics={"m": nested("List", 64)}))
    f.hostile("empty-list-65-deep", "run", "VALUE-1", with_value(value(nested("List", 64))[:-1] + u(6) + u(0)))
    for name, deep in (("lists", "0601"), ("maps", "070100")):
        f.hostile("value-100000-%s-deep" % name, "run", "VALUE-1", with_value(MARK + b"\0"),
                  {"repeat": deep, "times": 100000})
    for n in (0, 1, (1 << 63) - 1):
        f.hostile("uint-%d" % n, "run", "VALUE-2", with_value(["UInt", n]))
    f.hostile("uint-in-a-map", "run", "VALUE-2", with_value(["Map", {"k": ["UInt", 5]}]))
    f.hostile("uint-in-metrics", "run", "VALUE-2", run(metrics={"k": ["List", [["UInt", 5]]]}))


def objects():
    f = Folder("object")
    for part in (object_valid, object_header, object_numbers, object_shapes, object_limits):
        part(f)
    return f


def commits():
    f = Folder("commit")

    def data(**fields):
        return canonical("commit", changed(COMMIT_1, **fields))

    parents = ["%02x" % n * 32 for n in range(17)]
    recipe = derived("recipe", canonical("recipe", COMMIT_1["recipe"])).hex()
    for name, fields in (
            ("minimal", {}), ("16-parents", {"parents": parents[:16]}), ("model", {"model": {"tree": A, "recipe": recipe}}),
            ("stale-model", {"model": {"tree": A, "recipe": B}}), ("runs-twice", {"runs": [A, A]}),
            ("extra", {"extra": {"git.head": "0" * 40, "git.dirty": "yes"}}), ("body", {"message": "one\n\ntwo\n"}),
            ("no-name", {"author": {"name": "", "email": ""}}), ("zero-width-message", {"message": "\u200b"}),
            ("far-times", {"time": {"seconds": -(1 << 63), "offset_minutes": 32767}})):
        f.object(name, "commit", data(**fields), changed(COMMIT_1, **fields))
    f.hostile("17-parents", "commit", "COMMIT-1", data(parents=parents))
    f.hostile("a-parent-twice", "commit", "COMMIT-1", data(parents=[A, A]))
    f.hostile("a-parent-again", "commit", "COMMIT-1", data(parents=[A, B, A]))
    for name, message in (("empty", ""), ("a-space", " "), ("line-ends", "\r\n\n"), ("no-break-space", "\u00a0"),
                          ("ideographic-space", "\u3000\u2028"), ("next-line", "\x85\t\x0b\x0c")):
        f.hostile("message-" + name, "commit", "COMMIT-2", data(message=message))
    f.hostile("message-not-utf8", "commit", "WIRE-5", data(message=u(1) + b"\xff"))
    f.hostile("model-2", "commit", "WIRE-3", data(model=b"\2" + bytes(64)))
    f.hostile("extra-descending", "commit", "WIRE-6", data(extra=u(2) + text("b") + text("") + text("a") + text("")))
    f.hostile("extra-twice", "commit", "WIRE-6", data(extra=u(2) + text("a") + text("") + text("a") + text("")))
    f.hostile("offset-above-i16", "commit", "WIRE-2", data(time__offset_minutes=long(1 << 16, 4)))
    f.hostile("recipe-alone", "commit", "WIRE-7", data()[:8 + 128])
    f.hostile("no-extra", "commit", "WIRE-7", data()[:-1])
    f.hostile("two-extras", "commit", "OBJ-1", data() + b"\0")
    f.hostile("a-parent-of-31-bytes", "commit", "WIRE-7", head("commit") + enc(COMMIT.fields[0][1], COMMIT_1["recipe"])
              + b"\0" + u(1) + bytes(31))
    f.hostile("a-run-as-a-commit", "commit", "OBJ-1", run())
    return f


def envs():
    f = Folder("env")

    def data(**fields):
        return canonical("env", changed(ENV_1, **fields))

    def package(name, **fields):
        return dict({"name": name, "version": "1", "archive_sha256": None, "source": None,
                     "record_sha256": None, "editable": False}, **fields)

    none = {"os": "", "arch": "", "interpreter": None, "packages": [], "locks": []}
    full = package("torch", archive_sha256=A, source="git+https://example.org/t", record_sha256=B, editable=True)
    locks = [{"path": b"a/uv.lock".hex(), "blob": A}, {"path": b"uv.lock".hex(), "blob": B}]
    for name, fields in (
            ("minimal", {}), ("nothing", none), ("package-with-all", {"packages": [full]}),
            ("two-packages", {"packages": [package("a"), package("a-b")]}), ("locks", {"locks": locks}),
            ("version-of-any-form", {"packages": [package("a", version="1!2.0rc1+cu121")]})):
        f.object(name, "env", data(**fields), changed(ENV_1, **fields))
    for name, names in (("descending", "ba"), ("twice", "aa"), ("last-one-lower", "acb"), ("longer-first", ("a-b", "a"))):
        f.hostile("packages-" + name, "env", "ENV-1", data(packages=[package(n) for n in names]))
    for name in ("Numpy", "scikit_learn", "zope.interface", "a--b", "a-_b", "a._-b", "NUMPY", "", " a", "a\n", "\u00c9"):
        f.hostile("name-" + ascii(name)[1:-1], "env", "ENV-2", data(packages=[package(name)]))
    for name, paths in (("descending", "ba"), ("twice", "aa")):
        f.hostile("locks-" + name, "env", "ENV-3", data(locks=[
            {"path": p.encode().hex(), "blob": A} for p in paths]))
    for name, path in (("empty", b""), ("absolute", b"/uv.lock"), ("above", b"../uv.lock"), ("twice-slash", b"a//uv.lock"),
                       ("nul", b"uv.lock\0"), ("own-folder", b".MV/uv.lock"), ("folder", b"a/"), ("long", b"a/" * 2048 + b"a"),
                       ("deep", b"a/" * 128 + b"a")):
        f.hostile("lock-path-" + name, "env", "ENV-4", data(locks=[{"path": path.hex(), "blob": A}]))
    f.hostile("editable-2", "env", "WIRE-3", data(packages=[package("a", editable=b"\2")]))
    f.hostile("source-2", "env", "WIRE-3", data(packages=[package("a", source=b"\2" + text("x"))]))
    f.hostile("name-not-utf8", "env", "WIRE-5", data(packages=[package(u(1) + b"\xfe")]))
    f.hostile("half-a-sha256", "env", "WIRE-7", data(packages=[], locks=b"")[:-2] + u(1) + PACKAGE(full)[:20])
    f.hostile("packages-65537", "env", "WIRE-8", data(packages=u(65537) + MARK),
              {"repeat": PACKAGE(package("a")).hex(), "times": 65537})
    f.hostile("locks-missing", "env", "WIRE-7", data()[:-1])
    f.hostile("count-in-2-bytes", "env", "WIRE-1", data(packages=long(1, 2) + PACKAGE(package("a"))))
    details(f)
    return f


def details(f):
    """What only version 2 of an environment has."""
    for name, d in [("details", DETAILS_1)] + [
            ("details-" + key, dict(DETAILS_0, **{key: DETAILS_1[key]})) for key in DETAILS_0]:
        f.object(name, "env", with_details(details=d), changed(ENV_2, details=d))
    many = dict(PATCH_1, count=17, files=["%02d" % n for n in range(16)])
    for name, patch in (("many", many), ("more", dict(many, count=1 << 32))):
        d = dict(DETAILS_0, patched=[patch])
        f.object("details-patched-" + name, "env", with_details(details=d), changed(ENV_2, details=d))
    f.hostile("details-of-nothing", "env", "ENV-9", with_details(details=DETAILS_0))
    f.hostile("details-in-version-1", "env", "OBJ-1", canonical("env", ENV_1) + DETAILS(DETAILS_1))
    f.hostile("details-missing", "env", "WIRE-7", head("env", 2) + canonical("env", ENV_1)[8:])
    f.hostile("details-cut-off", "env", "WIRE-7", with_details()[:-1])
    f.hostile("library-sha256-2", "env", "WIRE-3", with_details(details__libraries=[{"name": "a", "sha256": b"\2"}]))
    package = ENV_1["packages"][0]
    two = [dict(package, name="a"), dict(package, name="b")]
    for name, order in (("descending", "ba"), ("twice", "aa")):
        rows = {
            "patched": [dict(PATCH_1, package=n) for n in order],
            "extras": [{"package": n, "names": ["x"]} for n in order],
            "system": [dict(DETAILS_1["system"][0], name=n) for n in order],
            "libraries": [{"name": n, "sha256": A} for n in order]}
        for key, value in rows.items():
            d = dict(DETAILS_0, **{key: value})
            f.hostile("%s-%s" % (key, name), "env", "ENV-5", with_details(packages=two, details=d))
    for key in ("patched", "extras"):
        d = dict(DETAILS_0, **{key: DETAILS_1[key]})
        f.hostile(key + "-of-no-package", "env", "ENV-6", with_details(packages=[], details=d))
    for name, names in (("none", []), ("descending", ["b", "a"]), ("twice", ["a", "a"])):
        f.hostile("extras-names-" + name, "env", "ENV-7", with_details(
            details=dict(DETAILS_0, extras=[{"package": "numpy", "names": names}])))
        f.hostile("system-libraries-" + name, "env", "ENV-7", with_details(
            details=dict(DETAILS_0, system=[dict(DETAILS_1["system"][0], libraries=names)])))
    for name, fields in (
            ("none", {"count": 0, "files": []}), ("too-few", {"count": 2}), ("too-many", {"count": 1, "files": ["a", "b"]}),
            ("descending", {"count": 2, "files": ["b", "a"]}), ("seventeen", dict(count=17, files=["%02d" % n for n in range(17)]))):
        f.hostile("patched-files-" + name, "env", "ENV-8", with_details(
            details=dict(DETAILS_0, patched=[dict(PATCH_1, **fields)])))


def runs():
    f = Folder("run")
    full = {"command": ["sh", "-c", "python train.py"], "commit": B, "params": {"lr": ["Float", "9a9999999999b93f"]},
            "metrics": {"en.f1": ["Float", "000000000000e83f"], "steps": ["Int", 300]}, "series": C, "outputs": D,
            "status": "Failed", "exit_code": -9, "started": {"seconds": 1700000000, "offset_minutes": 60},
            "duration_ms": 1 << 40, "host": {"cpu": "x", "kernel": "y"}, "determinism": "Different", "log": A,
            "nonce": "000102030405060708090a0b0c0d0e0f"}
    for name, fields in (("minimal", {}), ("full", full), ("interrupted", {"status": "Interrupted", "exit_code": None}),
                         ("empty-word", {"command": [""]})):
        f.object(name, "run", run(**fields), changed(RUN_1, **fields))
    for name, origin in [("origin", ORIGIN_1)] + [
            ("origin-" + key, dict(ORIGIN_0, **{key: ORIGIN_1[key]})) for key in ORIGIN_0]:
        f.object(name, "run", with_origin(origin=origin), changed(RUN_2, origin=origin))
    f.hostile("origin-of-nothing", "run", "RUN-9", with_origin(origin=ORIGIN_0))
    f.hostile("origin-of-another-recipe", "run", "RUN-10", with_origin(recipe=A))
    f.hostile("origin-in-version-1", "run", "OBJ-1", run() + ORIGIN(ORIGIN_1))
    f.hostile("origin-cut-off", "run", "WIRE-7", with_origin()[:-1])
    f.hostile("origin-ingredients-2", "run", "WIRE-3", with_origin(origin__ingredients=b"\2" + bytes(128)))
    a, b, beside = ["Changed", b"a.py".hex()], ["Changed", b"b.toml".hex()], ["Beside", None]
    for name, doubts in (("doubts", [a, b, beside]), ("doubts-changed", [a]), ("doubts-beside", [beside])):
        f.object(name, "run", with_doubts(*doubts), changed(RUN_2, origin=dict(ORIGIN_1, doubts=doubts)))
    f.hostile("doubts-none", "run", "RUN-14", with_doubts())
    f.hostile("doubts-descending", "run", "RUN-15", with_doubts(beside, a))
    f.hostile("doubts-twice", "run", "RUN-15", with_doubts(a, a))
    f.hostile("doubts-in-version-2", "run", "OBJ-1", head("run", 2) + with_doubts(a)[8:])
    f.hostile("doubts-of-no-kind", "run", "WIRE-4", with_doubts(beside)[:-1] + b"\2")
    f.hostile("run-version-4", "run", "OBJ-1", head("run", 4) + with_doubts(a)[8:])
    f.object("stage", "stage", canonical("stage", STAGE_1), STAGE_1)
    f.hostile("stage-outputs-descending", "stage", "RUN-12", canonical("stage", changed(
        STAGE_1, outputs=STAGE_1["outputs"][::-1])))
    f.hostile("stage-outputs-twice", "stage", "RUN-12", canonical("stage", changed(
        STAGE_1, outputs=STAGE_1["outputs"][:1] * 2)))
    f.hostile("stage-version-2", "stage", "OBJ-1", head("stage", 2) + canonical("stage", STAGE_1)[8:])
    f.hostile("no-command", "run", "RUN-1", run(command=[]))
    f.hostile("param-uint", "run", "VALUE-2", run(params={"seed": ["UInt", 42]}))
    f.hostile("param-65-deep", "run", "VALUE-1", run(params={"a": nested("Map", 64)}))
    f.hostile("params-twice", "run", "WIRE-6", run(params=u(2) + (text("a") + value(["Null", None])) * 2))
    f.hostile("metrics-descending", "run", "WIRE-6", run(
        metrics=u(2) + text("b") + value(["Int", 1]) + text("a") + value(["Int", 1])))
    f.hostile("half-a-float", "run", "WIRE-7", run(params={"a": ["Int", 0]}, metrics={})[:8 + 6 + 33 + 4] + b"\x04\0\0")
    f.hostile("nonce-of-15", "run", "WIRE-7", run()[:-1])
    f.hostile("nonce-of-17", "run", "OBJ-1", run() + b"\0")
    f.hostile("exit-code-above-i32", "run", "WIRE-2", run(exit_code=b"\1" + long(1 << 32, 8)))
    f.hostile("command-not-utf8", "run", "WIRE-5", run(command=[u(2) + b"\xc3\x28"]))
    f.hostile("log-2", "run", "WIRE-3", run(log=b"\2" + bytes(32)))
    f.hostile("words-of-no-list", "run", "WIRE-8", run(command=long((1 << 64) - 1, 8) + text("x")))
    return f


