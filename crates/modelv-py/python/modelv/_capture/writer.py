"""Writes the package of a function: one module with all that it needs, data beside it.

Names keep what they are bound to in the function's own module: every global is bound to the object
that it is bound to here, followed by identity, so that names that differ only in case, wrappers and
closures stay what they are.
"""

import ast
import builtins
import functools
import os
import shutil
import sys
import types

from .._errors import CaptureError
from . import source
from .modules import Modules, is_local
from .values import Values

MARK = "# Captured by modelv from"
_OWN = "_mv_"
# What a module has of itself.
_ALWAYS = {"__name__", "__doc__", "__package__", "__builtins__", "__spec__"}


# What a package may need to find its data.
_HELPERS = {
    "_mv_data": """def _mv_data(name):
    return _mv_os.path.join(_mv_here, "data", name)
""",
    "_mv_json": """def _mv_json(name):
    import json
    with open(_mv_data(name), encoding="utf-8") as f:
        return json.load(f)
""",
    "_mv_array": """def _mv_array(name):
    import numpy
    return numpy.load(_mv_data(name), allow_pickle=False)
""",
}


class Writer:
    """The package being written in `folder`."""

    def __init__(self, folder, root, *, joblib, declared):
        self.folder, self.root = folder, root
        os.makedirs(folder)
        self.modules = Modules(os.path.join(folder, "modules"), declared)
        self.values = Values(self, joblib)
        # Lines of the module by part; expressions of objects by id; objects that must stay alive.
        self.imports, self.body = [], []
        self.known, self.alive, self.open = {}, [], []
        self.bound, self.written, self.helpers = {}, set(), set()
        self.cells = {}
        self.namespace = None
        self.future = False

    def write(self, function):
        """Writes the package and gives the name of the function in it."""
        if isinstance(function, types.BuiltinFunctionType):
            raise CaptureError(f"`{function.__name__}` is built into Python and has no source: define a function that calls it")
        inner = _unwrapped(function)
        self.namespace = getattr(inner, "__globals__", {})
        name = getattr(function, "__name__", None)
        if not isinstance(name, str) or not name.isidentifier():
            name = "predict"
        self.bind(name, function, f"`{name}`")
        text = f"{MARK} `{name}`: capture it again instead of editing it.\n"
        text += "from __future__ import annotations\n" if self.future else ""
        parts = [text, *self._head(), *self.imports, *self.body]
        with open(os.path.join(self.folder, "__init__.py"), "w", encoding="utf-8") as f:
            f.write("\n".join(parts) + "\n")
        return name

    def add_file(self, path):
        """A further file, at the place where local modules look for it: beside them."""
        full = os.path.realpath(os.path.join(self.root, path))
        if not full.startswith(os.path.join(os.path.realpath(self.root), "")) or not os.path.isfile(full):
            raise CaptureError(f"`{path}` is no file of the working tree")
        to = os.path.join(self.folder, "modules", os.path.relpath(full, os.path.realpath(self.root)))
        os.makedirs(os.path.dirname(to), exist_ok=True)
        shutil.copyfile(full, to)

    def _head(self):
        lines = []
        if self.helpers or self.modules.taken:
            lines += ["import os as _mv_os", "_mv_here = _mv_os.path.dirname(_mv_os.path.abspath(__file__))"]
        if self.modules.taken:
            lines += ["import sys as _mv_sys", '_mv_sys.path.insert(0, _mv_os.path.join(_mv_here, "modules"))']
        return lines + [f"\n{text}" for name, text in _HELPERS.items() if name in self.helpers]

    # Names

    def bind(self, name, value, what):
        """Binds a name of the module to an object."""
        if name.startswith(_OWN):
            raise CaptureError(f"{what}: names that begin with `{_OWN}` are taken")
        if name in self.bound:
            return
        self.bound[name] = value
        if isinstance(value, types.ModuleType):
            self._import(name, value, what)
            return
        text = self.expression(value, what, name)
        if text != name:
            self.body.append(f"{name} = {text}")
        self.written.add(name)

    def expression(self, value, what, name=None):
        """Source that gives an object; `name` is the name it would like to have."""
        if id(value) in self.known:
            return self.known[id(value)]
        if any(value is one for one in self.open):
            raise CaptureError(f"{what} refers to itself in a circle that can't be written down")
        mutable = not isinstance(value, (bool, int, float, complex, str, bytes, type(None), tuple, frozenset))
        self.open.append(value)
        try:
            text = self._expression(value, what, name)
        finally:
            self.open.pop()
        if mutable and name is not None:
            # A second name of the same object is another name of it, not a copy.
            self.known[id(value)] = name
            self.alive.append(value)
        return text

    def _expression(self, value, what, name):
        if isinstance(value, types.ModuleType):
            alias = self._alias(value.__name__.rpartition(".")[2])
            self._import(alias, value, what)
            return alias
        found = self._importable(value)
        if found is not None:
            return found
        if isinstance(value, types.FunctionType):
            return self._function(value, what, name)
        if isinstance(value, type):
            return self._class(value, what, name)
        if isinstance(value, types.MethodType):
            return f"{self.expression(value.__self__, f'the object of {what}')}.{value.__func__.__name__}"
        if isinstance(value, functools.partial):
            parts = [self.expression(value.func, what), *(self.expression(a, what) for a in value.args)]
            parts += [f"{k}={self.expression(v, what)}" for k, v in value.keywords.items()]
            return f"{self._standard('functools')}.partial({', '.join(parts)})"
        if isinstance(value, functools._lru_cache_wrapper) and hasattr(value, "cache_parameters"):
            given = ", ".join(f"{k}={v!r}" for k, v in value.cache_parameters().items())
            return f"{self._standard('functools')}.lru_cache({given})({self.expression(value.__wrapped__, what)})"
        return self.values.expression(value, what, name or "value")

    def _alias(self, word):
        word = "".join(c if c.isalnum() else "_" for c in word) or "value"
        n = 1
        while f"{_OWN}{word}_{n}" in self.bound:
            n += 1
        self.bound[f"{_OWN}{word}_{n}"] = None
        return f"{_OWN}{word}_{n}"

    def _standard(self, module):
        line = f"import {module} as _mv_{module}"
        if line not in self.imports:
            self.imports.append(line)
        return f"_mv_{module}"

    # Modules and what is in them

    def _import(self, name, module, what):
        full = module.__name__
        if full == "__main__" or not self.modules.take(full, what):
            raise CaptureError(f"{what} is the module `{full}`, which can't be imported")
        top = full.partition(".")[0]
        if name == full or (name == top and "." not in full):
            self.imports.append(f"import {full}")
        else:
            self.imports.append(f"import {full} as {name}")
        self.known[id(module)] = name

    def import_below(self, name, chain):
        """Imports the submodules that `a.b.c` goes through."""
        module = self.bound.get(name)
        for attribute in chain:
            found = getattr(module, attribute, None)
            if not isinstance(found, types.ModuleType) or found.__name__ != f"{module.__name__}.{attribute}":
                return
            module = found
            line = f"import {found.__name__} as _mv_sub"
            if line not in self.imports:
                self.imports.append(line)

    def _importable(self, value):
        """An expression for what an installed or local module has under its own name."""
        if not callable(value) or isinstance(value, (functools.partial, types.MethodType)):
            return None
        qualified = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
        homes = [getattr(value, "__module__", None)]
        if type(value).__module__.partition(".")[0] == "numpy":
            homes.append("numpy")
        for home in homes:
            module = sys.modules.get(home) if isinstance(home, str) else None
            if module is None or home == "__main__" or not isinstance(qualified, str) or "<" in qualified:
                continue
            found = module
            for part in qualified.split("."):
                found = getattr(found, part, None)
            if found is not value or module.__dict__ is self.namespace and not self._is_file(module):
                continue
            if home == "builtins":
                return qualified
            if not self.modules.take(home, f"`{qualified}`"):
                continue
            top, _, rest = qualified.partition(".")
            alias = self._alias(top)
            self.imports.append(f"from {home} import {top} as {alias}")
            return alias + (f".{rest}" if rest else "")
        return None

    def _is_file(self, module):
        """Whether importing a module elsewhere would give what this one is."""
        return getattr(module, "__name__", "__main__") != "__main__" and is_local(module.__name__) is not None

    # Functions and classes

    def _function(self, function, what, name):
        if function.__globals__ is not self.namespace:
            inner = getattr(function, "__wrapped__", None)
            if inner is not None and getattr(inner, "__globals__", None) is self.namespace:
                return self._decorated(inner, what, name)
            raise CaptureError(
                f"{what}: the function `{function.__qualname__}` comes from `{function.__module__}` "
                "and can't be imported from there by its name"
            )
        found = source.of_function(function)
        self.future |= bool(function.__code__.co_flags & source._FUTURE_ANNOTATIONS)
        free = self._closure(function, what)
        self._requirements(found, what, function.__code__.co_freevars)
        if free or function.__closure__ or isinstance(found.node, ast.Lambda):
            made = self._factory(found, free, name)
        else:
            made = self._plain(found, name)
        self._defaults(function, found, made, what)
        # One function stays one, whatever holds it.
        self.known[id(function)] = made
        self.alive.append(function)
        return made

    def _plain(self, found, name):
        """A definition at the top, under its own name; what had that name has it again afterwards."""
        text = f"if True:\n{found.text}" if found.indent else found.text
        if name == found.name:
            self.body.append(f"\n{text}")
            return name
        made, before = self._alias(found.name), None
        if found.name in self.written:
            before = self._alias(found.name)
            self.body.append(f"{before} = {found.name}")
        self.body.append(f"\n{text}{made} = {found.name}")
        if before is not None:
            self.body.append(f"{found.name} = {before}")
        return made

    def _factory(self, found, free, name):
        """A function that defines it, with its closure variables as parameters."""
        label = self._alias(name or found.name)
        names, given = ", ".join(free), ", ".join(free.values())
        if isinstance(found.node, ast.Lambda):
            self.body.append(f"\ndef {label}({names}):\n    return {found.text}\n")
        else:
            self.body.append(f"\ndef {label}({names}):\n{found.text}{found.indent}return {found.name}\n")
        made = name if name and name.isidentifier() else self._alias(found.name.strip("<>"))
        self.body.append(f"{made} = {label}({given})")
        return made

    def _defaults(self, function, found, made, what):
        """Sets the values of defaults that were taken out of the source."""
        given = [*found.node.args.defaults, *(d for d in found.node.args.kw_defaults if d is not None)]
        if all(isinstance(d, ast.Constant) for d in given):
            return
        if function.__defaults__:
            self.body.append(f"{made}.__defaults__ = {self.expression(function.__defaults__, f'a default of {what}')}")
        if function.__kwdefaults__:
            text = self.expression(function.__kwdefaults__, f"a default of {what}")
            self.body.append(f"{made}.__kwdefaults__ = {text}")

    def _closure(self, function, what):
        """Expressions of closure variables by name, without the function's own."""
        out, code = {}, function.__code__
        stored = source.stores_free(code)
        for name, cell in zip(code.co_freevars, function.__closure__ or ()):
            try:
                value = cell.cell_contents
            except ValueError:
                raise CaptureError(f"{what} uses `{name}`, which has no value yet") from None
            other, written = self.cells.get(id(cell), (function, False))
            if other is not function and (written or name in stored):
                raise CaptureError(f"{what} shares `{name}` with `{other.__name__}`, and one of them changes it")
            self.cells[id(cell)] = (function, written or name in stored)
            self.alive.append(cell)
            if name == "__class__":
                raise CaptureError(f"{what} is a method that calls `super()`: capture its class, or a function")
            if value is not function or name != function.__name__:
                out[name] = self.expression(value, f"`{name}`, a closure variable of {what},")
        return out

    def _decorated(self, inner, what, name):
        """A function behind a decorator of another module: defined with its decorators again."""
        found = source.of_function(inner)
        if inner.__code__.co_freevars or found.indent or name != found.name or not found.node.decorator_list:
            raise CaptureError(f"{what} is wrapped by `{inner.__module__}` in a way that can't be written down")
        self._requirements(found, what, ())
        lines = []
        for decorator in found.node.decorator_list:
            part = source.Definition(f"({ast.unparse(decorator)})", "", "", ast.parse("lambda: 0").body[0].value)
            self._requirements(part, f"the decorator of {what}", (), ast.parse(part.text))
            lines.append(f"@{ast.unparse(decorator)}\n")
        self.body.append("\n" + "".join(lines) + found.text)
        return name

    def _class(self, cls, what, name):
        if cls.__module__ != self.namespace.get("__name__") or "<locals>" in cls.__qualname__:
            raise CaptureError(f"{what}: the class `{cls.__qualname__}` is not defined at the top of a module")
        found = source.of_class(cls)
        if found.node.decorator_list:
            lines = [f"@{ast.unparse(d)}\n" for d in found.node.decorator_list]
            text = "".join(lines) + found.text
            found = source.Definition(text, found.name, found.indent, ast.parse(text).body[0])
        self._requirements(found, f"the class `{cls.__name__}`", ())
        if found.indent or (name or found.name) != found.name or found.name in self.bound and name is None:
            raise CaptureError(f"{what}: the class `{cls.__name__}` goes by another name")
        self.bound.setdefault(found.name, cls)
        self.body.append(f"\n{found.text}")
        self.known[id(cls)] = found.name
        self.alive.append(cls)
        return found.name

    def _requirements(self, found, what, free, tree=None):
        """Binds every global that a definition needs."""
        wanted, maybe, imported = source.needs(found, free)
        tree = tree or found.node
        self.modules.calls(source.dynamic(tree, what), what)
        for module in sorted(imported):
            self.modules.take(module, what)
        for name in sorted((wanted | maybe) - set(free)):
            if name in self.namespace:
                value = self.namespace[name]
                if name == found.name and any(value is one for one in self.open):
                    continue
                if name == "__file__":
                    raise CaptureError(f"{what} uses `__file__`, which is another one when it is served")
                if name in _ALWAYS:
                    continue
                if not any(value is one for one in self.open):
                    self.bind(name, value, f"`{name}`, which {what} uses,")
            elif name in wanted and not hasattr(builtins, name) and name not in _ALWAYS:
                raise CaptureError(f"{what} uses `{name}`, which is defined nowhere")
        for chain in sorted(source.chains(tree)):
            if isinstance(self.bound.get(chain[0]), types.ModuleType):
                self.import_below(chain[0], chain[1:])


def _unwrapped(function):
    """The function of the user below wrappers of any kind: its module is the one that counts."""
    seen = function
    while True:
        inner = getattr(seen, "__wrapped__", None) or getattr(seen, "__func__", None)
        if isinstance(seen, functools.partial):
            inner = seen.func
        if inner is None:
            return seen
        seen = inner
