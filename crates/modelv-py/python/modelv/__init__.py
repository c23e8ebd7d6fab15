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
    ConflictError,
    CorruptError,
    Error,
    NotARepository,
    NothingToCommit,
    PathNotFound,
    RevisionError,
)
from ._file import BlobFile
from ._modelv import Commit, Recipe, Repo, __version__
from ._run import Run, run

__all__ = [
    "BlobFile",
    "Commit",
    "ConflictError",
    "CorruptError",
    "Error",
    "NotARepository",
    "NothingToCommit",
    "PathNotFound",
    "Recipe",
    "Repo",
    "RevisionError",
    "Run",
    "__version__",
    "init",
    "open",
    "read",
    "run",
]


def open(path=".") -> Repo:
    """Opens the repository that `path` lies in."""
    return Repo.discover(_os.fspath(path))


def init(path=".") -> Repo:
    """Makes a repository in `path`, which is created if it is missing."""
    return Repo.init(_os.fspath(path))


def read(rev, path) -> BlobFile:
    """Opens a file of a commit of the repository around the current folder; see `Repo.read`."""
    return open().read(rev, path)
