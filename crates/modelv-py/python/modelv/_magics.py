"""`%load_ext modelv`: the cell magic `%%mv_run`, and runs that know their notebook."""

from IPython.core.magic import Magics, cell_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments, parse_argstring
from IPython.display import display

from . import _notebook, _run


@magics_class
class RunMagics(Magics):
    """Magics of this package."""

    @magic_arguments()
    @argument("message", nargs="*", help="message of the commit")
    @argument(
        "-p", "--param", action="append", default=[], metavar="NAME=VALUE",
        help="a parameter; VALUE is evaluated where it can be",
    )
    @argument("--as", dest="name", default="run", help="the variable that holds the run; `run` by default")
    @cell_magic
    def mv_run(self, line, cell):
        """Executes the cell as a run: `%%mv_run train with more data -p lr=0.1`.

        In the cell, `run` is the run: `run.metric(...)`, `run.save(...)`. It is recorded as
        finished, failed or interrupted like a `with mv.run(...)` block.
        """
        given = parse_argstring(self.mv_run, line)
        message = " ".join(given.message).strip("\"'") or None
        params = dict(self._param(text) for text in given.param)
        with _run.run(message, params=params) as run:
            self.shell.user_ns[given.name] = run
            self._execute(cell)
        display(run)

    def _param(self, text):
        name, sign, value = text.partition("=")
        if not sign:
            raise ValueError(f"`-p {text}` has no value: `-p NAME=VALUE`")
        try:
            return name, self.shell.ev(value)
        except (NameError, SyntaxError):
            return name, value

    def _execute(self, cell):
        """Runs the cell and raises what it raises; the cell around it shows that, once."""
        shell, silent = self.shell, lambda *_, **__: None
        shell.showtraceback = shell.showsyntaxerror = silent
        try:
            result = shell.run_cell(cell, store_history=False)
        finally:
            # The methods of the class are there again.
            del shell.showtraceback, shell.showsyntaxerror
        result.raise_error()


def load(shell):
    """What `%load_ext modelv` does."""
    shell.register_magics(RunMagics)
    _run.before_begin[:] = [lambda repo: _notebook.command(_notebook.capture(shell, repo), repo)]


def unload(shell):
    """What `%unload_ext modelv` does."""
    shell.magics_manager.magics["cell"].pop("mv_run", None)
    _run.before_begin.clear()
