from types import TracebackType
from typing import Any, Callable, Mapping, Optional, SupportsFloat, TypeVar, Union, overload
import os

from ._modelv import ActiveRun, Commit, Repo

_Path = Union[str, "os.PathLike[str]"]
_F = TypeVar("_F", bound=Callable[..., Any])

before_begin: list[Callable[[Repo], Optional[list[str]]]]

class Run:
    id: Optional[str]
    commit: Optional[Commit]
    status: Optional[str]
    repo: Optional[Repo]
    _endings: list[Callable[["Run"], object]]
    def _running(self) -> ActiveRun: ...
    def _output(self, path: _Path) -> str: ...
    def __init__(
        self,
        message: Optional[str] = None,
        *,
        params: Optional[Mapping[str, Any]] = None,
        repo: Union[Repo, _Path, None] = None,
        author: Optional[str] = None,
        allow_secret: bool = False,
    ) -> None: ...
    def metric(self, name: str, value: SupportsFloat, step: Optional[int] = None) -> None: ...
    def metrics(self, values: Mapping[str, SupportsFloat], step: Optional[int] = None) -> None: ...
    def param(self, name: str, value: Any) -> None: ...
    def params(self, values: Mapping[str, Any]) -> None: ...
    def artifact(self, path: _Path) -> None: ...
    def save(self, path: _Path, value: Any) -> None: ...
    def figure(self, path: _Path, figure: Any) -> None: ...
    def __enter__(self) -> Run: ...
    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> bool: ...
    def __call__(self, function: _F) -> _F: ...

@overload
def run(message: _F) -> _F: ...
@overload
def run(
    message: Optional[str] = None,
    *,
    params: Optional[Mapping[str, Any]] = None,
    repo: Union[Repo, _Path, None] = None,
    author: Optional[str] = None,
    allow_secret: bool = False,
) -> Run: ...
def active_run() -> Optional[Run]: ...
