"""The running notebook as a part of the recipe.

A run's recipe is the files of the working tree. What a notebook executes is there only when the
notebook is a saved file of the tree, with the cell that runs in it; otherwise what the session has
executed is written to a file of Python beside it, before the run begins. Nothing is guessed: a
notebook counts as the running one only when its server says so.
"""

import json
import os
import re
import warnings

_BYTES_MAX = 64 << 20
_NAME = "ipython.session.py"
_HEAD = "# What this IPython session has executed, cell by cell. Written by modelv when a run began.\n"


def capture(shell, repo):
    """Sees to it that what `shell` executes is in a file of the working tree; gives its path."""
    found = _saved(shell, repo.root)
    current = _inputs(shell)[-1:]
    if found is not None and current and _strip(current[0][1]) in _cells(found):
        return found
    if found is not None:
        path = os.path.splitext(found)[0] + ".session.py"
    else:
        path = os.path.join(repo.root, _NAME)
    text = session(_inputs(shell))
    if not os.path.exists(path) or _read(path) != text:
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
    if found is not None:
        warnings.warn(
            f"`{os.path.basename(found)}` has unsaved changes: the run's recipe has what was executed, "
            f"as `{os.path.basename(path)}`",
            stacklevel=4,
        )
    return path


def command(path, repo):
    """What executes a captured file again, from the root of the tree."""
    below = os.path.relpath(path, os.path.realpath(repo.root))
    return ["jupyter", "execute", below] if path.endswith(".ipynb") else ["python", below]


def session(inputs):
    """Cells as Python: magics and commands of a shell become comments, so that it can be read by
    whatever reads Python."""
    parts = [_HEAD]
    for number, text in inputs:
        parts.append(f"\n# In [{number}]\n" + "\n".join(_plain(text)) + "\n")
    return "".join(parts)


def _plain(text):
    lines = text.rstrip().split("\n")
    if lines[0].startswith("%%mv_run"):
        # Executed again, it is a part of the run that repeats it.
        name = re.search(r"\s--as[\s=](\w+)", lines[0])
        joined = f"{name[1] if name else 'run'} = __import__('modelv').active_run()"
        return [f"# {lines[0]}", joined, *_plain("\n".join(lines[1:]))] if lines[1:] else [f"# {lines[0]}"]
    if lines[0].startswith("%%"):
        # The cell is another language's, or is handled in another way.
        return [f"# {line}".rstrip() for line in lines]
    return [f"# {line}" if line.lstrip()[:1] in ("%", "!", "?") else line for line in lines]


def _inputs(shell):
    """Number and text of every cell of this session, the running one last."""
    history = shell.history_manager.get_range(raw=True, output=False)
    return [(line, text) for _session, line, text in history if line > 0]


def _saved(shell, root):
    """The file of the running notebook, where it is known, exists and is in the tree."""
    told = shell.user_ns.get("__vsc_ipynb_file__") or os.environ.get("JPY_SESSION_NAME")
    if not isinstance(told, str) or not told.endswith(".ipynb"):
        return None
    for base in (os.getcwd(), str(root)):
        # Servers tell the path from their own root, kernels run beside the notebook.
        for name in (told, os.path.basename(told)):
            path = os.path.realpath(os.path.join(base, name))
            if os.path.isfile(path) and path.startswith(os.path.join(os.path.realpath(root), "")):
                return path
    return None


def _read(path):
    if os.path.getsize(path) > _BYTES_MAX:
        return ""
    with open(path, encoding="utf-8", errors="replace") as f:
        return f.read()


def _cells(path):
    """The code cells of a notebook on disk."""
    try:
        cells = json.loads(_read(path))["cells"]
        return {_strip("".join(c["source"])) for c in cells if c["cell_type"] == "code"}
    except (ValueError, KeyError, TypeError, RecursionError):
        return set()


def _strip(text):
    return "\n".join(line.rstrip() for line in text.strip().split("\n"))
