"""The stubs say what is there: names, parameters and documentation."""

import ast
import importlib
import inspect
import pathlib
import subprocess
import sys
import tempfile
import unittest

import modelv

FOLDER = pathlib.Path(modelv.__file__).parent
# What every module or class has, and what is public by another module's stub.
IGNORED = {"__doc__", "__module__", "__weakref__", "__dict__", "__eq__", "__hash__", "__init__"}


def public(names):
    return {n for n in names if not n.startswith("_") and n not in IGNORED}


def parameters(function):
    """Names of the parameters of a function of a stub, in order, without `self`."""
    a = function.args
    found = [*a.posonlyargs, *a.args, a.vararg, *a.kwonlyargs, a.kwarg]
    return [p.arg for p in found if p and p.arg not in ("self", "cls")]


class Stubs(unittest.TestCase):
    def compare(self, where, stub, real):
        self.assertTrue(
            hasattr(real, stub.name), f"{where}.{stub.name} is in the stub and nowhere else"
        )
        # Looked up without binding, so that properties stay properties.
        found = inspect.getattr_static(real, stub.name)
        if isinstance(stub, ast.ClassDef):
            return self.compare_class(f"{where}.{stub.name}", stub, found)
        if stub.name not in IGNORED and not stub.name.startswith("__"):
            self.assertTrue(inspect.getdoc(getattr(real, stub.name)), f"{where}.{stub.name}: no documentation")
        # One form of several has only some of the parameters; the last one of a stub has all.
        overloads = [n for n in self.forms.get(stub.name, []) if n is not stub]
        if overloads and len(parameters(stub)) < max(len(parameters(n)) for n in overloads):
            return None
        if any(getattr(d, "id", "") == "property" for d in stub.decorator_list):
            return None
        if stub.name in IGNORED:
            return None
        signature = inspect.signature(getattr(real, stub.name))
        names = [n for n in signature.parameters if n not in ("self", "cls")]
        self.assertEqual(names, parameters(stub), f"{where}.{stub.name}")
        return None

    def compare_class(self, where, stub, real):
        listed = set()
        for part in stub.body:
            if isinstance(part, ast.FunctionDef):
                listed.add(part.name)
                self.compare(where, part, real)
            elif isinstance(part, ast.AnnAssign):
                listed.add(part.target.id)
        missing = public(vars(real)) - listed
        self.assertEqual(missing, set(), f"{where}: not in the stub")
        self.assertTrue(inspect.getdoc(real), f"{where}: no documentation")

    def test_stubs_match_the_modules(self):
        stubs = sorted(FOLDER.glob("*.pyi"))
        self.assertTrue(stubs and (FOLDER / "py.typed").exists())
        for path in stubs:
            name = "modelv" if path.stem == "__init__" else f"modelv.{path.stem}"
            module = importlib.import_module(name)
            body = ast.parse(path.read_text()).body
            self.forms = {}
            for part in body:
                if isinstance(part, ast.FunctionDef):
                    self.forms.setdefault(part.name, []).append(part)
            for part in body:
                if isinstance(part, (ast.FunctionDef, ast.ClassDef)) and part.name[0] != "_":
                    self.compare(name, part, module)

    def test_all_public_names_are_in_the_stub(self):
        tree = ast.parse((FOLDER / "__init__.pyi").read_text())
        listed = {a.asname or a.name for n in tree.body if isinstance(n, ast.ImportFrom) for a in n.names}
        listed |= {n.name for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
        self.assertEqual(set(modelv.__all__) - listed, set())
        for name in modelv.__all__:
            self.assertTrue(hasattr(modelv, name), name)


# Left out: what needs libraries that are not beside it here, classes inside functions of modules without a
# stub, and the list that the compiled module makes of itself.
LEFT_OUT = (r"modelv\.(fs|lightning|torch|transformers|_magics)(\..*)?", r".*@\d+(\..*)?", r"modelv\._modelv\.__all__")


class Stubtest(unittest.TestCase):
    def test_the_checker_of_mypy_agrees(self):
        with tempfile.TemporaryDirectory() as folder:
            config, allowed = pathlib.Path(folder, "mypy.ini"), pathlib.Path(folder, "allowed")
            config.write_text("[mypy]\nignore_missing_imports = true\n")
            allowed.write_text("\n".join(LEFT_OUT))
            command = [sys.executable, "-m", "mypy.stubtest", "modelv", "--mypy-config-file", str(config),
                       "--allowlist", str(allowed), "--ignore-unused-allowlist", "--ignore-disjoint-bases"]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main()
