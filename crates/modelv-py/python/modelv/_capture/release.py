"""A function on its way to an image: captured, named as what is served, and committed."""

import os
import re

from .._errors import CaptureError, NothingToCommit
from .._modelv import Repo
from . import capture_function

_TABLE = re.compile(r"^\s*\[serve\]\s*(?:#.*)?$", re.MULTILINE)
_NEXT = re.compile(r"^\s*\[", re.MULTILINE)
_ENTRY = re.compile(r"""^\s*entry\s*=\s*["']([^"']*)["']""", re.MULTILINE)


def release_function(
    function,
    message=None,
    folder="serving",
    *,
    sample,
    author=None,
    repo=None,
    joblib=False,
    modules=(),
    files=(),
    compare=True,
    timeout=120,
):
    """Captures a function as `capture_function` does, names it as `[serve] entry` in modelv.toml, and
    commits: the commit that comes back in `commit` is what `modelv serve` and `modelv release` take.

        released = mv.release_function(predict, sample=["what a day"])
        released.commit.id                   # modelv release ID --output image

    Where modelv.toml serves something of another package, nothing is written and `CaptureError` says so.
    """
    repo = repo if isinstance(repo, Repo) else Repo.discover(os.fspath(repo or "."))
    path = os.path.join(repo.root, "modelv.toml")
    text = _read(path)
    package = os.fspath(folder).strip("/").replace("/", ".")
    _, served = _entry(text)
    if served is not None and served[1].partition(":")[0] != package:
        raise CaptureError(
            f"modelv.toml serves `{served[1]}`, and this would be in `{package}`: "
            "take `[serve] entry` out, or name the folder of that one"
        )
    captured = capture_function(
        function, folder, sample=sample, joblib=joblib, modules=modules, files=files,
        compare=compare, timeout=timeout, repo=repo,
    )
    named = _with_entry(text, captured.entry)
    if named != text:
        with open(path, "w", encoding="utf-8") as f:
            f.write(named)
    try:
        captured.commit = repo.commit(message or f"release {captured.entry}", author=author)
    except NothingToCommit:
        captured.commit = repo.show()
    return captured


def _read(path):
    if not os.path.exists(path):
        return ""
    with open(path, encoding="utf-8") as f:
        return f.read()


def _entry(text):
    """Where the table `[serve]` begins, and what it has as its entry."""
    table = _TABLE.search(text)
    if table is None:
        return None, None
    after = _NEXT.search(text, table.end())
    return table, _ENTRY.search(text, table.end(), after.start() if after else len(text))


def _with_entry(text, entry):
    """The text of modelv.toml with this entry."""
    table, found = _entry(text)
    line = f'entry = "{entry}"\n'
    if found is not None:
        return text[: found.start(1)] + entry + text[found.end(1) :]
    if table is not None:
        return f"{text[: table.end()]}\n{line}{text[table.end() + 1 :]}"
    gap = "" if not text else "\n" if text.endswith("\n") else "\n\n"
    return f"{text}{gap}[serve]\n{line}"
