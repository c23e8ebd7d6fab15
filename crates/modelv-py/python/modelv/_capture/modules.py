"""Which modules come with the environment, and which are files of the user that must come along."""

import ast
import importlib.util
import os
import shutil
import site
import sys
import sysconfig

from .._errors import CaptureError
from . import source

_FILES_MAX = 2000
_BYTES_MAX = 64 << 20


def _folders():
    paths = sysconfig.get_paths()
    installed = [paths["purelib"], paths["platlib"], *getattr(site, "getsitepackages", list)()]
    if site.ENABLE_USER_SITE:
        installed.append(site.getusersitepackages())
    return [os.path.realpath(p) for p in installed], os.path.realpath(paths["stdlib"])


def is_local(name):
    """Whether a module is neither Python's nor of an installed package; None when there is none."""
    top = name.partition(".")[0]
    if top in sys.builtin_module_names or top in getattr(sys, "stdlib_module_names", ()):
        return False
    try:
        spec = importlib.util.find_spec(top)
    except (ValueError, ImportError):
        spec = getattr(sys.modules.get(top), "__spec__", None)
    if spec is None:
        return None
    places = [spec.origin] if spec.has_location else list(spec.submodule_search_locations or ())
    installed, standard = _folders()
    for place in places:
        real = os.path.realpath(place)
        if any(real.startswith(os.path.join(folder, "")) for folder in installed):
            return False
        if real.startswith(os.path.join(standard, "")):
            return False
    return bool(places)


class Modules:
    """Local modules, copied with what they import to `folder`."""

    def __init__(self, folder, declared):
        self.folder, self.declared, self.taken = folder, set(declared), set()
        for name in sorted(self.declared):
            self.take(name, "`modules`")

    def take(self, name, wanted_by):
        """Copies a module if it is a local one, with its package and its own imports; says whether it is there."""
        top = name.partition(".")[0]
        local = is_local(top)
        if local is None:
            return False
        if not local or top in self.taken:
            return True
        self.taken.add(top)
        spec = importlib.util.find_spec(top)
        for path, to in self._files(spec, top, wanted_by):
            os.makedirs(os.path.dirname(to), exist_ok=True)
            shutil.copyfile(path, to)
            self._follow(path, top)
        return True

    def _files(self, spec, top, wanted_by):
        if spec.submodule_search_locations is None:
            if not (spec.origin or "").endswith(".py"):
                raise CaptureError(f"`{top}`, which {wanted_by} imports, is a compiled module and not installed")
            return [(spec.origin, os.path.join(self.folder, f"{top}.py"))]
        out, size = [], 0
        for location in spec.submodule_search_locations:
            for at, folders, names in os.walk(location):
                folders[:] = sorted(f for f in folders if f != "__pycache__" and not f.startswith("."))
                for name in sorted(names):
                    path = os.path.join(at, name)
                    if not name.endswith((".py", ".pyi")):
                        continue
                    size += os.path.getsize(path)
                    out.append((path, os.path.join(self.folder, top, os.path.relpath(path, location))))
                    if len(out) > _FILES_MAX or size > _BYTES_MAX:
                        raise CaptureError(f"the local package `{top}` at {location} is larger than a capture can be")
        return out

    def _follow(self, path, top):
        """Takes what a module imports, also by a call with a name as text."""
        with open(path, "rb") as f:
            try:
                tree = ast.parse(f.read(), path)
            except (SyntaxError, ValueError) as error:
                raise CaptureError(f"the local module {path} can't be read: {error}") from None
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    self.take(alias.name, f"`{top}`")
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                self.take(node.module, f"`{top}`")
        self.calls(source.dynamic(tree, f"the local module `{top}`"), f"the local module `{top}`")

    def calls(self, names, what):
        """Takes modules that are imported by calls; a computed name must be declared."""
        for name in names:
            if name is None:
                if not self.declared:
                    raise CaptureError(
                        f"{what} imports a module whose name is computed: declare what it may be with `modules=[...]`"
                    )
            elif name.startswith("."):
                continue
            elif not self.take(name, what):
                raise CaptureError(f"{what} imports `{name}`, which is not there")
