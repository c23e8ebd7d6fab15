"""Functions as files: a function that lives in a session becomes a package that can be served.

What a function needs is followed name by name through its code, never by a pickle. What can't be
stored exactly is refused by name. What was written is executed once in a process that has nothing
but these files, and counts only when it answers as the function does here.
"""

import os
import shutil
import tempfile

from .._errors import CaptureError
from .._modelv import Repo
from . import check
from .writer import MARK, Writer

__all__ = ["Captured", "capture_function"]


class Captured:
    """What was written for a function."""

    def __init__(self, entry, folder, files, answer):
        #: For `[serve] entry` in modelv.toml: `PACKAGE:FUNCTION`.
        self.entry = entry
        #: The package, from the root of the working tree.
        self.folder = folder
        #: Its files, from that folder.
        self.files = files
        #: What it answered to the sample, in a process of its own.
        self.answer = answer
        #: The commit that has it, where `release_function` made it.
        self.commit = None

    def __repr__(self):
        return f"<Captured {self.entry} {len(self.files)} files>"


def capture_function(
    function,
    folder="serving",
    *,
    sample,
    joblib=False,
    modules=(),
    files=(),
    compare=True,
    timeout=120,
    repo=None,
):
    """Writes a function, with all that it needs, as a package that `[serve] entry` can name.

        captured = mv.capture_function(predict, sample=["what a day"])
        captured.entry                       # "serving:predict"

    Taken are its source, the functions and classes that it uses (in nested functions too), closure
    variables, global values, and local modules with what those import. Values are stored as
    literals, JSON or .npy, boosters of XGBoost and LightGBM in their own formats, a fitted estimator
    of scikit-learn by joblib, which is a pickle, when `joblib=True` says so. Installed packages are
    imported: the environment of the commit has them.

    Raises `CaptureError`, which names what is in the way, for anything that can't be stored exactly:
    a name that is defined nowhere, a lambda without source, an open file, a lock, `eval`, an import
    whose name is computed. `modules` declares such imports, `files` further files that local modules
    read, by their path from the root of the working tree.

    Before it is accepted the package answers `sample`, the inputs of one request, in a new process
    that has nothing else, and the answer must be the one that `function` gives here; `compare=False`
    is for a function that draws random numbers. Nothing is written when anything is refused.
    """
    repo = repo if isinstance(repo, Repo) else Repo.discover(os.fspath(repo or "."))
    package = os.fspath(folder).strip("/")
    parts = package.split("/")
    if not all(part.isidentifier() for part in parts):
        raise CaptureError(f"`{package}` is no name of a package: letters, digits and `_`")
    target = os.path.join(repo.root, package)
    _refuse_foreign(target, package)
    with tempfile.TemporaryDirectory() as staging:
        made = os.path.join(staging, package)
        writer = Writer(made, os.fspath(repo.root), joblib=joblib, declared=modules)
        name = writer.write(function)
        for file in files:
            writer.add_file(os.fspath(file))
        entry = f"{'.'.join(parts)}:{name}"
        answer = check.answer(staging, entry, sample, timeout)
        if compare:
            check.compare(function, sample, answer)
        written = sorted(
            os.path.relpath(os.path.join(at, file), made) for at, _, names in os.walk(made) for file in names
        )
        _place(made, target)
    _refuse_ignored(repo, package, written)
    return Captured(entry, package, written, answer)


def _refuse_foreign(target, package):
    """Only a package of ours is ever written over."""
    if not os.path.lexists(target):
        return
    try:
        with open(os.path.join(target, "__init__.py"), encoding="utf-8") as f:
            ours = f.readline().startswith(MARK)
    except (OSError, UnicodeDecodeError):
        ours = False
    if not ours:
        raise CaptureError(f"`{package}` is there already and was not written by a capture: name another folder")


def _place(made, target):
    """Puts the new package where the old one was."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    beside = tempfile.mkdtemp(prefix=".capture-", dir=os.path.dirname(target))
    try:
        shutil.copytree(made, os.path.join(beside, "new"))
        if os.path.lexists(target):
            os.rename(target, os.path.join(beside, "old"))
        os.rename(os.path.join(beside, "new"), target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _refuse_ignored(repo, package, written):
    """A file that no commit takes would be missing when it is served."""
    paths = {f"{package}/{name}" for name in written}
    paths -= {change["path"] for change in repo.status()["changes"]}
    if paths and repo.head is not None:
        paths -= {file["path"] for file in repo.files()}
    if paths:
        raise CaptureError(
            f"written, but no commit would take {', '.join(sorted(paths))}: "
            "see `modelv track --explain` and `.mvignore`"
        )
