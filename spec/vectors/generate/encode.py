"""Encoders of canonical bytes, from object.md. `bytes` in a value stand in the output as they are, so that
a vector can be wrong in any one place; ids and other bytes of a good value are hexadecimal digits."""
import copy


def u(n):
    if n < 251:
        return bytes([n])
    for mark, size in ((251, 2), (252, 4), (253, 8)):
        if n < 1 << 8 * size:
            return bytes([mark]) + n.to_bytes(size, "little")
    raise ValueError(n)


def long(n, size):
    """A form of `n` that may be too long: the mark of `size` bytes."""
    return bytes([{2: 251, 4: 252, 8: 253}[size]]) + n.to_bytes(size, "little")


def i(n):
    return u(2 * n if n >= 0 else -2 * n - 1)


def boolean(v):
    return bytes([v])


def text(s):
    return u(len(s.encode())) + s.encode()


def fixed(digits):
    return bytes.fromhex(digits)


def raw(digits):
    return u(len(digits) // 2) + bytes.fromhex(digits)


def enc(form, value):
    return value if isinstance(value, bytes) else form(value)


def optional(form):
    return lambda v: b"\0" if v is None else b"\1" + enc(form, v)


def sequence(form):
    return lambda v: u(len(v)) + b"".join(enc(form, x) for x in v)


def mapping(form):
    return lambda v: u(len(v)) + b"".join(
        text(k) + enc(form, v[k]) for k in sorted(v, key=lambda k: k.encode()))


def one_of(*names):
    return lambda v: u(names.index(v))


class Record:
    def __init__(self, *fields):
        self.fields = fields

    def __call__(self, value):
        return b"".join(enc(form, value[name]) for name, form in self.fields)

    def lines(self, value, prefix=""):
        """(name, bytes) of every field, for the examples of the pages."""
        out = []
        for name, form in self.fields:
            if isinstance(form, Record) and not isinstance(value[name], bytes):
                out += form.lines(value[name], prefix + name + ".")
            else:
                out.append((prefix + name, enc(form, value[name])))
        return out


def value(v):
    kind, content = v
    number = ("Null", "Bool", "Int", "UInt", "Float", "Str", "List", "Map").index(kind)
    forms = (lambda _: b"", boolean, i, u, fixed, text, sequence(value), mapping(value))
    return u(number) + enc(forms[number], content)


def target(v):
    kind, content = v
    number = ("Commit", "Symbolic", "Blob", "Run", "Text").index(kind)
    return u(number) + enc(text if number in (1, 4) else fixed, content)


def doubt(v):
    kind, content = v
    number = ("Changed", "Beside").index(kind)
    return u(number) + (b"" if number else enc(raw, content))


PERSON = Record(("name", text), ("email", text))
TIME = Record(("seconds", i), ("offset_minutes", i))
RECIPE = Record(("code", fixed), ("data", fixed), ("config", fixed), ("env", fixed))
MODEL = Record(("tree", fixed), ("recipe", fixed))
COMMIT = Record(
    ("recipe", RECIPE), ("model", optional(MODEL)), ("parents", sequence(fixed)), ("author", PERSON),
    ("committer", PERSON), ("time", TIME), ("message", text), ("runs", sequence(fixed)), ("extra", mapping(text)))
INTERPRETER = Record(("implementation", text), ("version", text), ("abi", text))
PACKAGE = Record(
    ("name", text), ("version", text), ("archive_sha256", optional(fixed)), ("source", optional(text)),
    ("record_sha256", optional(fixed)), ("editable", boolean))
LOCK = Record(("path", raw), ("blob", fixed))
ENV = Record(
    ("os", text), ("arch", text), ("interpreter", optional(INTERPRETER)), ("packages", sequence(PACKAGE)),
    ("locks", sequence(LOCK)))
PATCH = Record(("package", text), ("sha256", fixed), ("count", u), ("files", sequence(text)))
EXTRAS = Record(("package", text), ("names", sequence(text)))
SYSTEM = Record(("name", text), ("version", text), ("manager", text), ("libraries", sequence(text)))
LIBRARY = Record(("name", text), ("sha256", optional(fixed)))
DETAILS = Record(
    ("patched", sequence(PATCH)), ("extras", sequence(EXTRAS)), ("system", sequence(SYSTEM)),
    ("libraries", sequence(LIBRARY)))
ENV_OF_DETAILS = Record(*ENV.fields, ("details", DETAILS))
STATUS = one_of("Finished", "Failed", "Interrupted")
DETERMINISM = one_of("Unknown", "BitEqual", "Tolerance", "Different")
RUN = Record(
    ("command", sequence(text)), ("recipe", fixed), ("commit", optional(fixed)), ("params", mapping(value)),
    ("metrics", mapping(value)), ("series", optional(fixed)), ("outputs", optional(fixed)), ("status", STATUS),
    ("exit_code", optional(i)), ("started", TIME), ("duration_ms", u), ("host", mapping(text)),
    ("determinism", DETERMINISM), ("log", optional(fixed)), ("nonce", fixed))
STAGE_RUN = Record(("name", text), ("key", fixed), ("inputs", fixed))
ORIGIN = Record(
    ("ingredients", optional(RECIPE)), ("parent", optional(fixed)), ("stage", optional(STAGE_RUN)),
    ("repeats", optional(fixed)))
RUN_OF_ORIGIN = Record(*RUN.fields, ("origin", ORIGIN))
RUN_OF_DOUBTS = Record(*RUN.fields, ("origin", Record(*ORIGIN.fields, ("doubts", sequence(doubt)))))
STAGE = Record(
    ("command", text), ("env", fixed), ("inputs", fixed), ("params", mapping(value)), ("outputs", sequence(raw)))
CUT = Record(("id", fixed), ("length", u))
CUTS = Record(("size", u), ("chunks", sequence(CUT)))
CHANGE = Record(("name", text), ("old", optional(target)), ("new", optional(target)))
OPERATION = Record(
    ("seq", u), ("time", TIME), ("actor", text), ("command", text), ("nonce", fixed), ("worktree", boolean),
    ("undoes", optional(u)), ("changes", sequence(CHANGE)))
MODE = one_of("File", "Executable", "Symlink", "Tree", "External")
ENTRY = Record(("name", raw), ("mode", MODE), ("size", u), ("id", fixed))
CHILD = Record(("last", raw), ("id", fixed), ("entries", u), ("bytes", u))
LEAF = Record(("Leaf", lambda _: b"\0"), ("entries", sequence(ENTRY)))
INNER = Record(("Inner", lambda _: b"\1"), ("level", lambda n: bytes([n])), ("children", sequence(CHILD)))

KINDS = {"tree": 1, "env": 2, "recipe": 3, "commit": 4, "run": 5, "cuts": 6, "operation": 7, "stage": 8}
FORMS = {"env": ENV, "recipe": RECIPE, "commit": COMMIT, "run": RUN, "cuts": CUTS, "operation": OPERATION, "stage": STAGE}


def head(kind, version=1):
    return b"MODELV" + bytes([KINDS[kind], version])


def canonical(kind, v, form=None):
    return head(kind) + (form or FORMS[kind])(v)


def changed(v, **fields):
    """A copy with other fields; `__` in a name goes into a record."""
    out = copy.deepcopy(v)
    for path, new in fields.items():
        at = out
        *above, last = path.split("__")
        for name in above:
            at = at[name]
        assert last in at, path
        at[last] = new
    return out
