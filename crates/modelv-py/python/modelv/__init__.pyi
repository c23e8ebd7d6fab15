import os
from typing import Any, Callable, Optional, Sequence, Union

from ._errors import AlreadyExists as AlreadyExists
from ._errors import CaptureError as CaptureError
from ._errors import ConflictError as ConflictError
from ._errors import CorruptError as CorruptError
from ._errors import Error as Error
from ._errors import NewerFormat as NewerFormat
from ._errors import NotARepository as NotARepository
from ._errors import NothingToCommit as NothingToCommit
from ._errors import PathNotFound as PathNotFound
from ._errors import RevisionError as RevisionError
from ._errors import SecretsFound as SecretsFound
from ._file import BlobFile as BlobFile
from ._modelv import Commit as Commit
from ._modelv import Recipe as Recipe
from ._modelv import Repo as Repo
from ._modelv import __version__ as __version__
from ._run import Run as Run
from ._run import active_run as active_run
from ._run import run as run

_Path = Union[str, "os.PathLike[str]"]

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

def open(path: _Path = ".") -> Repo: ...
def init(path: _Path = ".") -> Repo: ...
def read(rev: str, path: _Path) -> BlobFile: ...
def load(
    rev: str,
    path: _Path,
    *,
    framework: str = "numpy",
    names: Optional[Sequence[str]] = None,
    repo: Union[Repo, _Path, None] = None,
) -> Any: ...

def autolog(*libraries: str, models: Optional[str] = "models", disable: bool = False) -> None: ...
def load_ipython_extension(ipython: Any) -> None: ...
def unload_ipython_extension(ipython: Any) -> None: ...

class Captured:
    def __init__(self, entry: str, folder: str, files: Sequence[str], answer: Any) -> None: ...
    entry: str
    folder: str
    files: list[str]
    answer: Any
    commit: Optional[Commit]

def capture_function(
    function: Callable[..., Any],
    folder: _Path = "serving",
    *,
    sample: Any,
    joblib: bool = False,
    modules: Sequence[str] = (),
    files: Sequence[_Path] = (),
    compare: bool = True,
    timeout: float = 120,
    repo: Union[Repo, _Path, None] = None,
) -> Captured: ...
def release_function(
    function: Callable[..., Any],
    message: Optional[str] = None,
    folder: _Path = "serving",
    *,
    sample: Any,
    author: Optional[str] = None,
    repo: Union[Repo, _Path, None] = None,
    joblib: bool = False,
    modules: Sequence[str] = (),
    files: Sequence[_Path] = (),
    compare: bool = True,
    timeout: float = 120,
) -> Captured: ...
