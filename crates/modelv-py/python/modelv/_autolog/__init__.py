"""Training libraries that tell the active run what they do, without a line of the user's.

A library is changed when the user imports it, or now if it is imported already; none is imported
from here. What is told never changes what is trained, and a failure to tell is a warning.
"""

import functools
import importlib
import inspect
import sys
import threading
import warnings

from .._run import active_run

#: Library: the module whose import is waited for, and ours that changes it.
LIBRARIES = {
    "sklearn": "sklearn.base",
    "xgboost": "xgboost.training",
    "lightgbm": "lightgbm.engine",
}

_TEXT_MAX = 1000
_LIST_MAX = 100


class _State:
    """What is on, and which libraries are training right now."""

    def __init__(self):
        self.folders = {}
        self.done = set()
        self.busy = []
        self.lock = threading.Lock()


_state = _State()


def autolog(*libraries, models="models", disable=False):
    """Has scikit-learn, XGBoost and LightGBM tell the active run what they train.

        mv.autolog()
        with mv.run("train"):
            XGBClassifier(max_depth=3).fit(x, y, eval_set=[(u, v)])

    Noted are the parameters of every estimator that is fitted, its metrics at each iteration, what
    `score` gives, the results of a search, and at the end of the run the fitted model: XGBoost's
    and LightGBM's in their own formats, scikit-learn's by joblib, which is a pickle, as
    `models/CLASS.joblib`. What an estimator fits inside of itself is not noted, and of several of
    one class the last one counts. Without an active run nothing is noted.

    `libraries` names some of `sklearn`, `xgboost` and `lightgbm`; none stands for all. `models` is
    the folder for models, None keeps none. `disable=True` switches it off again. A library that the
    program does not import is not imported.
    """
    unknown = set(libraries) - set(LIBRARIES)
    if unknown:
        raise ValueError(f"no such library: {', '.join(sorted(unknown))}; there are {', '.join(LIBRARIES)}")
    for library in libraries or LIBRARIES:
        if disable:
            _state.folders.pop(library, None)
            continue
        _state.folders[library] = models
        if library in _state.done:
            continue
        if LIBRARIES[library] in sys.modules:
            _change(library, sys.modules[LIBRARIES[library]])
        elif _FINDER not in sys.meta_path:
            sys.meta_path.insert(0, _FINDER)


def _change(library, module):
    """Changes a library once, when its module is there."""
    if library in _state.done:
        return
    _state.done.add(library)
    try:
        importlib.import_module(f"modelv._autolog._{library}").change(module)
    except Exception as error:  # noqa: BLE001: another version of it must still be importable
        warnings.warn(f"modelv.autolog does not understand this {library}: {error}", stacklevel=2)


class _Finder:
    """Waits for the import of a library, and lets the others find it."""

    def find_spec(self, name, path=None, target=None):
        """A module as others find it, that is changed once it is executed."""
        library = name.partition(".")[0]
        if LIBRARIES.get(library) != name or library in _state.done:
            return None
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            spec = find(name, path, target) if find and finder is not self else None
            if spec is not None and hasattr(spec.loader, "exec_module"):
                execute = spec.loader.exec_module

                def execute_and_change(module):
                    execute(module)
                    _change(library, module)

                spec.loader.exec_module = execute_and_change
                return spec
        return None


_FINDER = _Finder()


class Training:
    """A call of a training function. `run` is the active run, or None when nothing is to be noted:
    no run, switched off, or it is a part of another training."""

    def __init__(self, library):
        self.library = library
        self.run = None

    def __enter__(self):
        me = (threading.get_ident(), self.library)
        with _state.lock:
            # A library that trains by calling itself in one thread is one training; anything else
            # inside of a training, in whatever thread, is a part of it.
            inner = any(other != me for other in _state.busy)
            self.nested = bool(_state.busy)
            _state.busy.append(me)
        if not inner and self.library in _state.folders:
            self.run = active_run()
        return self

    def __exit__(self, *_):
        with _state.lock:
            _state.busy.remove((threading.get_ident(), self.library))

    def keep(self, name, write):
        """Has `write(path)` write a model at the end of the run; the last one of a name counts."""
        folder = _state.folders.get(self.library)
        if self.run is None or folder is None:
            return
        path = f"{folder}/{name}"
        found = next((e for e in self.run._endings if isinstance(e, _Keep) and e.path == path), None)
        if found is None:
            self.run._endings.append(_Keep(path, write))
        else:
            found.write = write


class _Keep:
    def __init__(self, path, write):
        self.path, self.write = path, write

    def __call__(self, run):
        import os

        full = run._output(self.path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        base, dot, ending = full.rpartition(".")
        # Libraries look at the ending, so it stays.
        temporary = f"{base}.{os.getpid()}.tmp{dot}{ending}"
        try:
            self.write(temporary)
            os.replace(temporary, full)
        except BaseException:
            if os.path.exists(temporary):
                os.unlink(temporary)
            raise
        run.artifact(self.path)


def quietly(tell):
    """A function that only tells: what it raises becomes a warning."""

    @functools.wraps(tell)
    def told(*args, **kwargs):
        try:
            return tell(*args, **kwargs)
        except Exception as error:  # noqa: BLE001: training must not end because of us
            warnings.warn(f"modelv.autolog: {error}", stacklevel=3)
            return None

    return told


def note_params(run, prefix, values):
    """Notes parameters: values as they are where they are plain, else what they are."""
    for name, value in values.items():
        run.param(f"{prefix}.{name}", plain(value))


def plain(value):
    """Numbers, texts and short lists of them; the name of a function, class or estimator."""
    if value is None or isinstance(value, (bool, int, float)):
        return value if not isinstance(value, int) or -(2**63) <= value < 2**64 else str(value)
    if isinstance(value, str):
        return value[:_TEXT_MAX]
    if isinstance(value, (list, tuple)) and len(value) <= _LIST_MAX:
        return [plain(v) for v in value]
    if isinstance(value, dict) and len(value) <= _LIST_MAX:
        return {str(k): plain(v) for k, v in value.items()}
    if hasattr(value, "item") and getattr(value, "size", 0) == 1:
        return plain(value.item())
    name = getattr(value, "__name__", None)
    return name if isinstance(name, str) else type(value).__name__


def replace_everywhere(library, name, old, new):
    """Puts `new` where modules of a library, and what imported it by name, hold `old`."""
    for key, module in list(sys.modules.items()):
        if key.partition(".")[0] == library and vars(module).get(name) is old:
            setattr(module, name, new)


def change_train(library, module, file, callback, best):
    """Changes `module.train`, which gives a booster, wherever it is: its parameters, what
    `callback(run)` notes at each iteration, `best(run, booster)`, and the booster as `file`."""
    train = module.train
    signature = inspect.signature(train)

    @functools.wraps(train)
    def told(*args, **kwargs):
        with Training(library) as training:
            if training.run is None:
                return train(*args, **kwargs)
            call = signature.bind(*args, **kwargs)
            call.apply_defaults()
            given = call.arguments
            if not training.nested:
                _note_call(training.run, library, given)
            given["callbacks"] = [*(given["callbacks"] or ()), callback(training.run)]
            booster = train(*call.args, **call.kwargs)
            best(training.run, booster)
            training.keep(file, booster.save_model)
        return booster

    replace_everywhere(library, "train", train, told)


@quietly
def _note_call(run, library, given):
    note_params(run, library, dict(given["params"]))
    note_params(run, library, {"num_boost_round": given["num_boost_round"]})
