"""Runs: training code that records itself."""

import atexit
import functools
import os
import sys
import warnings

from ._errors import Error
from ._modelv import ActiveRun, Repo

_VARIABLE = "MODELV_RUN"
# What is done before a run begins, with its repository: `%load_ext modelv` puts something here.
before_begin: list = []
# Runs of this process that are in their block, the innermost last.
_entered = []


class Run:
    """One execution of training code, as a context manager or a decorator; see `run`."""

    def __init__(self, message=None, *, params=None, repo=None, author=None, allow_secret=False):
        self._arguments = dict(
            message=message, params=params, repo=repo, author=author, allow_secret=allow_secret
        )
        self._active = None
        self._artifacts = []
        self._endings = []
        #: The run id, once it is recorded; None inside of another run.
        self.id = None
        #: The commit of its outputs, once there is one.
        self.commit = None
        #: `active`, `finished`, `failed` or `interrupted`; None before it begins.
        self.status = None
        #: The repository.
        self.repo = None

    def metric(self, name, value, step=None):
        """Notes a metric: a number, at a step if there is one. All points are kept, and the last
        one of a name is what `log` and `diff` show. Cheap enough for every batch."""
        self._running().metric(name, value, step)

    def metrics(self, values, step=None):
        """Notes several metrics at once, from a dict."""
        active = self._running()
        for name, value in values.items():
            active.metric(name, value, step)

    def param(self, name, value):
        """Notes a parameter: a number, text or list. A dict is taken apart, its keys become names
        with dots. The leaves of the configuration files are noted by themselves."""
        self._running().param(name, value)

    def params(self, values):
        """Notes several parameters at once, from a dict."""
        active = self._running()
        for name, value in values.items():
            active.param(name, value)

    def artifact(self, path):
        """Names a file as an output of the run; it must be below `[ingredients] model`. A relative
        path counts from the root of the working tree, or of the clean checkout that `modelv run
        --sweep` or `modelv reproduce` executes the run in."""
        full = self._output(path)
        if not os.path.lexists(full):
            raise FileNotFoundError(f"there is no output `{os.fspath(path)}`")
        self._artifacts.append(os.path.relpath(full, self._active.tree))

    def save(self, path, value):
        """Writes an output and names it: bytes or text as they are, arrays by the ending of the
        path, .npy for one, .npz or .safetensors for a dict of them, .json for plain values."""
        full = self._output(path)
        from ._save import save

        save(full, value)
        self.artifact(path)

    def figure(self, path, figure):
        """Draws a figure to an output and names it: one of matplotlib, or axes of it, as .png, .svg
        or .pdf, one of plotly as .html or .json, an image of Pillow. The same figure gives the same
        bytes."""
        full = self._output(path)
        from ._save import figure as draw

        draw(full, figure)
        self.artifact(path)

    def _output(self, path):
        """Where an output goes; raises `Error` for a path that is none."""
        active = self._running()
        full = os.path.join(active.tree, os.fspath(path))
        ingredient = active.ingredient(full)
        if ingredient != "model":
            raise Error(
                f"`{os.fspath(path)}` is {ingredient}, not an output: "
                "name it under `[ingredients] model` in modelv.toml"
            )
        return full

    def _running(self):
        """What is active; raises `Error` where nothing is."""
        if self._active is None:
            raise Error("the run is not active: use it in a `with` block")
        return self._active

    def __enter__(self):
        if self.status is not None:
            raise Error("a run happens once: make another with `modelv.run`")
        given = self._arguments
        repo = given["repo"]
        self.repo = repo if isinstance(repo, Repo) else Repo.discover(os.fspath(repo or "."))
        outer = os.environ.get(_VARIABLE)
        active = ActiveRun.join(self.repo, outer) if outer else None
        if active is None:
            command = _command(self.repo.root)
            for act in before_begin:
                command = act(self.repo) or command
            active = ActiveRun.begin(
                self.repo, command, given["message"], given["author"], given["allow_secret"]
            )
        self._begin(active, outer)
        try:
            for name, value in (given["params"] or {}).items():
                active.param(str(name), value)
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def _begin(self, active, outer):
        self._active, self._outer, self.status = active, outer, "active"
        self._process = os.getpid()
        # Processes that this one starts belong to the run.
        os.environ[_VARIABLE] = os.fspath(active.folder)
        # The class's method, without the way through Python.
        self.metric = active.metric
        _entered.append(self)

    def __exit__(self, kind, error, trace):
        if os.getpid() != self._process:
            # A forked child that leaves the block does not end its parent's run.
            self._leave()
            return False
        if kind is None:
            self._end()
        active = self._leave()
        if self._outer is None:
            os.environ.pop(_VARIABLE, None)
        else:
            os.environ[_VARIABLE] = self._outer
        self.status, code = _ending(kind, error)
        log = None
        if self.status == "failed" and not isinstance(error, SystemExit):
            import traceback

            log = "".join(traceback.format_exception(kind, error, trace))
        try:
            outcome = active.finish(self.status, code, log)
        except Error as failure:
            if error is None:
                raise
            # What the code raised is what its author wants to see.
            warnings.warn(f"the run could not be recorded: {failure}", stacklevel=2)
            return False
        if outcome is not None:
            self.id, self.commit = outcome.id, outcome.commit
            self._warn(outcome)
        return False

    def _end(self):
        """What is to be done at the end of a run that finished; a failure is told and no more."""
        for act in self._endings:
            try:
                act(self)
            except Exception as failure:  # noqa: BLE001: whatever it is, the run is recorded
                warnings.warn(f"not saved at the end of the run: {failure}", stacklevel=3)

    def _leave(self):
        active, self._active = self._active, None
        del self.metric
        _entered.remove(self)
        return active

    def _warn(self, outcome):
        doubts = [f"`{path}` changed meanwhile" for path in outcome.moved]
        if outcome.beside:
            doubts.append("another run was under way in the same folder")
        if doubts:
            warnings.warn(
                "the run is recorded and its outputs are not committed: " + ", ".join(doubts),
                stacklevel=3,
            )
        strays = [path for path in outcome.strays if path not in outcome.moved]
        if strays:
            warnings.warn(
                "the run changed files that are no model, they stay uncommitted: "
                + ", ".join(strays)
                + "; name outputs under `[ingredients] model` in modelv.toml",
                stacklevel=3,
            )
        for path in self._artifacts if self.commit else ():
            try:
                self.repo.read(self.commit.id, path).close()
            except FileNotFoundError:
                warnings.warn(f"`{path}` is ignored and was not committed", stacklevel=3)

    def __call__(self, function):
        """Decorates a function: every call is a run. A parameter named `run` gets the run."""
        import inspect

        wanted = "run" in inspect.signature(function).parameters

        @functools.wraps(function)
        def recorded(*args, **kwargs):
            with Run(**self._arguments) as active:
                if wanted and "run" not in kwargs:
                    kwargs["run"] = active
                return function(*args, **kwargs)

        return recorded

    def _repr_html_(self):
        from ._views import run as shown

        return shown(self)

    def __repr__(self):
        return f"<Run {self.id[:12] if self.id else self.status or 'not begun'}>"


def run(message=None, *, params=None, repo=None, author=None, allow_secret=False):
    """Records what happens in a `with` block, or in a function, as a run, and commits its outputs.

        with mv.run("train", params={"lr": 0.1}) as run:
            for step, batch in enumerate(batches):
                run.metric("loss", train(batch), step)
            run.save("models/w.safetensors", weights)
        print(run.id, run.commit.id)

    On entry the files, the parameters in them and this interpreter's packages are stored: that is
    the recipe, whatever is edited meanwhile. On exit the run is recorded as finished, as failed
    when an exception leaves the block, or as interrupted by Ctrl-C; a finished one is committed
    with its outputs as the model of the recipe, unless files that it began with changed meanwhile or
    another run was under way in the same folder: then nobody knows what its outputs come from. When the process dies, the next run records it.

    `message` is that of the commit. A run inside of another, or in a process that `modelv run` or
    another run has started, is a part of it: its metrics and parameters are recorded there.
    """
    if callable(message):
        return Run()(message)
    return Run(
        message, params=params, repo=repo, author=author, allow_secret=allow_secret
    )


def active_run():
    """The run this code belongs to: the innermost `with mv.run(...)` block of this process, else
    the run of `modelv run` or of another process that started this one, else None."""
    if _entered and _entered[-1]._process == os.getpid():
        return _entered[-1]
    folder = os.environ.get(_VARIABLE)
    if not folder or not os.path.isdir(folder):
        return None
    try:
        # Its folder is below `.mv/tmp` of the working tree.
        repo = Repo.discover(os.path.join(folder, "..", "..", ".."))
    except Error:
        return None
    active = ActiveRun.join(repo, folder)
    if active is None:
        return None
    joined = Run(repo=repo)
    joined.repo = repo
    joined._begin(active, folder)
    atexit.register(_end_joined, joined)
    return joined


def _end_joined(joined):
    if joined._active is not None:
        # What an exception that nobody caught leaves behind.
        kind = getattr(sys, "last_type", None)
        joined.__exit__(kind, getattr(sys, "last_value", None), None)


def _ending(kind, error):
    """Status and exit status of a block that ended so."""
    if kind is None:
        return "finished", 0
    if issubclass(kind, KeyboardInterrupt):
        return "interrupted", None
    if issubclass(kind, SystemExit):
        code = 0 if error.code is None else error.code if isinstance(error.code, int) else 1
        return ("failed", code) if code else ("finished", 0)
    return "failed", 1


def _command(root):
    """What was typed to start this program, as it can be typed again at the root of the tree."""
    given = getattr(sys, "orig_argv", None)
    given = list(given) if given else [sys.executable or "python", *sys.argv]
    below = os.path.relpath(os.path.realpath(os.getcwd()), os.path.realpath(root))
    if below == "." or below.split(os.sep)[0] == "..":
        return given
    import shlex

    program = os.path.basename(given[0])
    return ["sh", "-c", f"cd {shlex.quote(below)} && exec {' '.join(map(shlex.quote, [program, *given[1:]]))}"]
