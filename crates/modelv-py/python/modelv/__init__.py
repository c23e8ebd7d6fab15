"""Git for models: one commit holds code, data, configuration, environment, weights and the run.

    import modelv as mv

    repo = mv.open()
    commit = repo.commit("clean the tweets")
    with mv.read("HEAD~1", "models/w.npy") as f:
        weights = f.read()
    with mv.run("train", params={"seed": 7}) as run:
        run.metric("loss", 0.5, step=1)
        run.save("models/w.npy", weights)
"""

import os as _os

from ._errors import (
    AlreadyExists,
    CaptureError,
    ConflictError,
    CorruptError,
    Error,
    NewerFormat,
    NotARepository,
    NothingToCommit,
    PathNotFound,
    RevisionError,
    SecretsFound,
)
from ._file import BlobFile
from ._modelv import Commit, Recipe, Repo, __version__
from ._run import Run, active_run, run

__all__ = [
    "AlreadyExists",
    "BlobFile",
    "CaptureError",
    "Captured",
    "Commit",
    "ConflictError",
    "CorruptError",
    "Error",
    "NewerFormat",
    "NotARepository",
    "NothingToCommit",
    "PathNotFound",
    "Recipe",
    "Repo",
    "RevisionError",
    "Run",
    "SecretsFound",
    "__version__",
    "active_run",
    "autolog",
    "capture_function",
    "init",
    "load",
    "open",
    "read",
    "release_function",
    "run",
]

# Imported when they are asked for: most programs need neither, and all wait for an import.
_LATER = {
    "autolog": "._autolog",
    "Captured": "._capture",
    "capture_function": "._capture",
    "release_function": "._capture.release",
}


def __getattr__(name):
    if name not in _LATER:
        raise AttributeError(f"module 'modelv' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(_LATER[name], __name__), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *_LATER})


def open(path=".") -> Repo:
    """Opens the repository that `path` lies in."""
    return Repo.discover(_os.fspath(path))


def init(path=".") -> Repo:
    """Makes a repository in `path`, which is created if it is missing."""
    return Repo.init(_os.fspath(path))


def read(rev, path) -> BlobFile:
    """Opens a file of a commit of the repository around the current folder; see `Repo.read`."""
    return open().read(rev, path)


def load(rev, path, *, framework="numpy", names=None, repo=None):
    """Loads tensors of a commit into memory, without a copy on disk.

        weights = mv.load("HEAD~1", "models/w.safetensors")
        some = mv.load("main", "models/w.safetensors", names=["head.weight"], framework="torch")

    A .safetensors or .npz file gives a dict of NumPy arrays, and so does a .safetensors.index.json
    with the files beside it; a .npy file gives one array. With `framework="torch"` they are tensors.
    With `names` only those are read. Nothing is unpickled: a file that would need it, or that holds
    Python objects, raises `Error`.
    """
    found = repo if isinstance(repo, Repo) else open(repo or ".")
    return found.load(rev, path, framework=framework, names=names)


def load_ipython_extension(ipython):
    """`%load_ext modelv`: brings `%%mv_run`, and has runs capture the running notebook."""
    from . import _magics

    _magics.load(ipython)


def unload_ipython_extension(ipython):
    """`%unload_ext modelv`: takes the magic away again."""
    from . import _magics

    _magics.unload(ipython)
