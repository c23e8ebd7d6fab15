"""The source of functions, lambdas and classes, proved to be what runs.

A definition is found in the file or cell that the code names, and compiled; only when that gives
the code that is in memory is it taken. A file that was edited meanwhile is found out that way.
"""

import ast
import dis
import linecache
import types

from .._errors import CaptureError

_LOADS = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
_FUTURE_ANNOTATIONS = 0x1000000
# Names in their arguments, or in all that they can see, can't be known.
_OPAQUE = ("eval", "exec", "globals", "vars", "compile")


class Definition:
    """A definition that can stand in a file of its own: `text`, without decorators, with defaults
    that are no constants taken out; the names that it `needs`; and how it is called."""

    def __init__(self, text, name, indent, node):
        self.text, self.name, self.indent, self.node = text, name, indent, node


def of_function(function):
    """The definition of a function or lambda."""
    code, name = function.__code__, function.__name__
    tree, lines = _file(code.co_filename, name, function.__globals__)
    nodes = list(_candidates(tree, code))
    if code.co_name == "<lambda>":
        nodes = _right_lambda(nodes, code, name)
    flags = code.co_flags & _FUTURE_ANNOTATIONS
    made = _codes(compile("".join(lines), "<captured>", "exec", flags=flags, dont_inherit=True))
    if not nodes or not any(c.co_firstlineno == code.co_firstlineno and _same(code, c) for c in made):
        raise CaptureError(
            f"the source of `{name}` in {code.co_filename} is not what runs: it was edited meanwhile; "
            "define or import it again"
        )
    return _definition(lines, nodes[0], code.co_name)


def _right_lambda(nodes, code, name):
    """Which one of the lambdas of a line it is: several are told apart by their columns, where
    Python keeps those."""
    if len({ast.dump(node) for node in nodes}) < 2:
        return nodes
    places = [p for p in getattr(code, "co_positions", list)() if None not in p and p[2:] != (0, 0)]

    def holds(node):
        begin, end = (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)
        return all(begin <= (p[0], p[2]) and (p[1], p[3]) <= end for p in places)

    found = [node for node in nodes if places and holds(node)]
    inner = [n for n in found if not any(n is not m and m in ast.walk(n) for m in found)]
    if len(inner) == 1:
        return inner
    raise CaptureError(f"the lambda `{name}` in {code.co_filename} is one of several on its line: make it a `def`")


def of_class(cls):
    """The definition of a class, with its methods as they run."""
    methods = [m for m in map(_plain_function, vars(cls).values()) if m]
    # A cell of a notebook is known by the methods alone.
    files = [_class_file(cls), *sorted({m.__code__.co_filename for m in methods})]
    for filename in files:
        if not filename or not linecache.getlines(filename):
            continue
        tree, lines = _file(filename, cls.__name__, None)
        own = [m for m in methods if m.__code__.co_filename == filename]
        flags = max((m.__code__.co_flags & _FUTURE_ANNOTATIONS for m in own), default=0)
        codes = list(_codes(compile("".join(lines), "<captured>", "exec", flags=flags, dont_inherit=True)))
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and node.name == cls.__name__:
                if all(any(_same(m.__code__, c) for c in codes) for m in own):
                    return _definition(lines, node, cls.__name__)
    raise CaptureError(f"the source of the class `{cls.__name__}` is not to be found, or is not what runs")


def needs(definition, free=()):
    """Names that a definition takes from around it, those of a class body that may be its own, and
    the modules it imports. `free` are its closure variables."""
    code = compile(_within(definition, free), "<captured>", "exec", dont_inherit=True)
    wanted, maybe, imported = set(), set(), set()
    for part in _codes(code):
        stored = {i.argval for i in dis.get_instructions(part) if i.opname in ("STORE_NAME", "STORE_GLOBAL")}
        for step in dis.get_instructions(part):
            if step.opname in _LOADS:
                (maybe if step.argval in stored else wanted).add(step.argval)
            elif step.opname == "IMPORT_NAME":
                imported.add(step.argval)
    wanted.discard(definition.name)
    hidden = {"__name__", "__qualname__", "__module__", "__annotations__", "__conditional_annotations__"}
    return wanted - hidden, maybe - wanted - hidden - {definition.name}, imported


def chains(node):
    """Every `a.b.c` of names as a tuple."""
    out = set()
    for part in ast.walk(node):
        names = []
        while isinstance(part, ast.Attribute):
            names.append(part.attr)
            part = part.value
        if names and isinstance(part, ast.Name):
            out.add((part.id, *reversed(names)))
    return out


def dynamic(node, what):
    """Modules that are imported by a call with their name as text; a computed one gives None. Calls
    whose names nobody can know are refused."""
    for part in ast.walk(node):
        if not isinstance(part, ast.Call):
            continue
        called = part.func.id if isinstance(part.func, ast.Name) else getattr(part.func, "attr", "")
        if isinstance(part.func, ast.Name) and called in _OPAQUE and (called != "vars" or not part.args):
            raise CaptureError(f"{what} calls `{called}`: which names that needs can't be known")
        if called in ("import_module", "__import__"):
            first = part.args[0] if part.args else None
            known = isinstance(first, ast.Constant) and isinstance(first.value, str)
            yield first.value if known else None


def stores_free(code):
    """Closure variables that a function writes."""
    return {
        step.argval for part in _codes(code) for step in dis.get_instructions(part)
        if step.opname == "STORE_DEREF" and step.argval in code.co_freevars
    }


def _file(filename, name, namespace):
    lines = linecache.getlines(filename, namespace)
    if not lines:
        raise CaptureError(f"`{name}` has no source: it was made by `exec` or typed where nothing is kept")
    try:
        return ast.parse("".join(lines)), lines
    except SyntaxError as error:
        raise CaptureError(f"the source of `{name}` in {filename} can't be read: {error}") from None


def _class_file(cls):
    import inspect

    try:
        return inspect.getsourcefile(cls)
    except (TypeError, OSError):
        return None


def _plain_function(value):
    value = getattr(value, "__func__", None) or getattr(value, "fget", None) or value
    return value if isinstance(value, types.FunctionType) else None


def _candidates(tree, code):
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == code.co_name:
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            if first == code.co_firstlineno:
                yield node
        elif isinstance(node, ast.Lambda) and code.co_name == "<lambda>" and node.lineno == code.co_firstlineno:
            yield node


def _definition(lines, node, name):
    """The text of a node: whole lines where it begins its line, else written anew."""
    begins = not lines[node.lineno - 1].encode()[: node.col_offset].strip()
    if isinstance(node, ast.Lambda):
        text = ast.get_source_segment("".join(lines), node)
        return Definition(_without_defaults(f"({text})", node, (node.lineno, node.col_offset - 1)), name, "", node)
    if not begins:
        text = ast.unparse(node)
        node = ast.parse(text).body[0]
        lines = text.splitlines(keepends=True)
    text = "".join(lines[node.lineno - 1 : node.end_lineno])
    text += "" if text.endswith("\n") else "\n"
    indent = lines[node.lineno - 1][: len(lines[node.lineno - 1]) - len(lines[node.lineno - 1].lstrip())]
    if not isinstance(node, ast.ClassDef):
        text = _without_defaults(text, node, (node.lineno, 0))
    return Definition(text, name, indent, node)


def _without_defaults(text, node, start):
    """Puts None for every default that is no constant: its value is set afterwards."""
    given = [*node.args.defaults, *(d for d in node.args.kw_defaults if d is not None)]
    spans = [d for d in given if not isinstance(d, ast.Constant)]
    raw = text.encode()
    offsets, at = [], 0
    for line in raw.splitlines(keepends=True):
        offsets.append(at)
        at += len(line)

    def place(line, column):
        row = line - start[0]
        return offsets[row] + column - (start[1] if row == 0 else 0)

    for part in sorted(spans, key=lambda d: (-d.lineno, -d.col_offset)):
        begin, end = place(part.lineno, part.col_offset), place(part.end_lineno, part.end_col_offset)
        raw = raw[:begin] + b"None" + raw[end:]
    return raw.decode()


def _alone(definition):
    """A definition as a program that can be compiled, whatever its indentation."""
    if isinstance(definition.node, ast.Lambda):
        return definition.text
    return ("if True:\n" if definition.indent else "") + definition.text


def _within(definition, free):
    """A definition as a program, in a function that has its closure variables."""
    if not free:
        return _alone(definition)
    names = ", ".join(name for name in free if name != definition.name)
    if isinstance(definition.node, ast.Lambda):
        return f"def _around({names}):\n return {definition.text}"
    # A function with closure variables stands inside of another: it is indented.
    return f"def _around({names}):\n{definition.text}"


def _codes(code):
    yield code
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            yield from _codes(const)


def _same(one, two):
    """Whether two codes do the same: everything but where they stand."""
    facts = ("co_code", "co_names", "co_varnames", "co_freevars", "co_cellvars", "co_name", "co_argcount",
             "co_posonlyargcount", "co_kwonlyargcount")
    if any(getattr(one, f) != getattr(two, f) for f in facts) or len(one.co_consts) != len(two.co_consts):
        return False
    return all(_same_const(a, b) for a, b in zip(one.co_consts, two.co_consts))


def _same_const(one, two):
    if isinstance(one, types.CodeType) and isinstance(two, types.CodeType):
        return _same(one, two)
    return type(one) is type(two) and repr(one) == repr(two)
