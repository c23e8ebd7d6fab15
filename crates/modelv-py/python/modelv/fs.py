"""Commits as a file system for fsspec: `mv://COMMIT/path`.

pandas, pyarrow, datasets, dask and whatever else speaks fsspec read files of a commit by such an
address, without a copy on disk:

    pandas.read_csv("mv://HEAD~1/data/train.csv")

COMMIT is any revision; a `/` in a branch name is written `%2F`. The repository is the one around
the current folder, or `storage_options={"repo": PATH}`. Everything is read-only.
"""

from __future__ import annotations

import errno
import os
from typing import Any
from urllib.parse import quote, unquote

from fsspec.spec import AbstractFileSystem

from ._modelv import Repo

#: Listings of so many commits are kept.
_KEPT = 8


class CommitFileSystem(AbstractFileSystem):
    """The files of all commits of a repository, below the revisions that name them."""

    protocol = "mv"
    root_marker = ""
    # The current folder decides which repository it is, so one for all would be a wrong one.
    cachable = False

    def __init__(self, repo: Any = ".", **options: Any) -> None:
        super().__init__(repo=repo, **options)
        self.repo = repo if isinstance(repo, Repo) else Repo.discover(os.fspath(repo))
        self._folders: dict[str, dict[str, list[dict[str, Any]]]] = {}

    @property
    def fsid(self) -> str:
        """Tells this file system apart from others."""
        return f"mv-{self.repo.root}"

    def __reduce__(self) -> Any:
        # Another process may have another current folder.
        return CommitFileSystem, (str(self.repo.root),)

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(p) for p in path]
        path = os.fspath(path)
        if path.startswith("mv://"):
            path = path[len("mv://") :]
        return path.strip("/")

    def _split(self, path: str) -> tuple[str, str]:
        rev, _, inside = self._strip_protocol(path).partition("/")
        return unquote(rev), inside

    def _commit(self, rev: str, path: str) -> str:
        try:
            return self.repo.rev_parse(rev)
        except Exception as error:
            raise FileNotFoundError(errno.ENOENT, str(error), path) from error

    def _tree(self, rev: str, path: str) -> dict[str, list[dict[str, Any]]]:
        """Entries of every folder of a commit, by path within it."""
        commit = self._commit(rev, path)
        if commit not in self._folders:
            if len(self._folders) >= _KEPT:
                self._folders.pop(next(iter(self._folders)))
            self._folders[commit] = _folders(self.repo.files(commit))
        return self._folders[commit]

    def ls(self, path: str, detail: bool = True, **_: Any) -> Any:
        """What a folder of a commit holds; without a path the branches and tags."""
        rev, inside = self._split(path)
        if not rev:
            found = [
                {"name": quote(name, safe=""), "size": 0, "type": "directory"}
                for name in sorted({**self.repo.branches(), **self.repo.tags()})
            ]
        else:
            tree, prefix = self._tree(rev, path), quote(rev, safe="~^@{}")
            if inside in tree:
                found = [{**e, "name": f"{prefix}/{e['name']}"} for e in tree[inside]]
            else:
                found = [self.info(path)]
        return found if detail else [e["name"] for e in found]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """What a path is: `type`, `size`, for a file `ingredient` and `id` of its content too."""
        rev, inside = self._split(path)
        name = self._strip_protocol(path)
        if not rev:
            return {"name": "", "size": 0, "type": "directory"}
        tree = self._tree(rev, path)
        if inside in tree:
            return {"name": name, "size": 0, "type": "directory"}
        for entry in tree.get(inside.rpartition("/")[0], ()):
            if entry["name"] == inside:
                return {**entry, "name": name}
        raise FileNotFoundError(errno.ENOENT, f"no such file in `{rev}`", inside)

    def _open(self, path: str, mode: str = "rb", **_: Any) -> Any:
        if mode not in ("rb", "r"):
            raise OSError(errno.EROFS, "a commit does not change: it can only be read", path)
        info = self.info(path)
        if info["type"] != "file":
            raise IsADirectoryError(errno.EISDIR, "it is a folder", path)
        rev, inside = self._split(path)
        return self.repo.read(self._commit(rev, path), inside)

    def open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        """Opens a file of a commit for reading."""
        if set(mode) & set("wax+"):
            raise OSError(errno.EROFS, "a commit does not change: it can only be read", path)
        return super().open(path, mode, **options)

    def cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **_: Any
    ) -> bytes:
        """The bytes of a file, or those from `start` to `end`; negative ones count from its end."""
        with self._open(path) as f:
            begin, stop, _step = slice(start, end).indices(f.size)
            f.seek(begin)
            return f.read(max(stop - begin, 0))

    def ukey(self, path: str) -> str:
        """The id of the content: equal for equal files, in whatever commit."""
        return self.info(path).get("id") or self._commit(self._split(path)[0], path)

    checksum = ukey

    def created(self, path: str) -> Any:
        """When the commit was made."""
        return self.repo.show(self._commit(self._split(path)[0], path)).time

    modified = created

    def _read_only(self, path: Any = "", *_: Any, **__: Any) -> Any:
        raise OSError(errno.EROFS, "a commit does not change: it can only be read", str(path))

    mkdir = makedirs = rmdir = _rm = rm = rm_file = cp_file = touch = pipe_file = put_file = _read_only


def _folders(files: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    out: dict[str, list[dict[str, Any]]] = {"": []}
    for file in files:
        path = file["path"]
        entry = {
            "name": path,
            "size": file["size"],
            # A link reads as the name of its target: that is what a commit holds of it.
            "type": "file",
            "ingredient": file["ingredient"],
            "id": file["id"],
        }
        folder = made = path.rpartition("/")[0]
        while made not in out:
            out[made] = []
            made = made.rpartition("/")[0]
        out[folder].append(entry)
    for folder in [f for f in out if f]:
        out[folder.rpartition("/")[0]].append({"name": folder, "size": 0, "type": "directory"})
    for entries in out.values():
        entries.sort(key=lambda e: e["name"])
    return out
