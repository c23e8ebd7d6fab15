"""What can go wrong, by kind."""


class Error(Exception):
    """Base of all errors of this package."""


class NotARepository(Error):
    """There is no repository here or above."""


class RevisionError(Error):
    """A revision, branch or tag is unknown, ambiguous or malformed."""


class PathNotFound(Error, FileNotFoundError):
    """A path that a commit or the working tree does not hold."""

    def __str__(self):
        return str(self.args[0]) if self.args else ""


class ConflictError(Error):
    """Two changes contradict each other: an open conflict of a merge, a file with uncommitted
    changes that would be overwritten, or a branch that another process moved meanwhile."""

    #: What is left to decide after a merge: `path`, `path:key`, `path:package` or `env:package`.
    conflicts: "list[str]"

    def __init__(self, message="", conflicts=()):
        super().__init__(message)
        self.conflicts = list(conflicts)


class CorruptError(Error):
    """Stored bytes are damaged; `modelv fsck` lists all damage. No damaged byte is given out."""


class CaptureError(Error):
    """A function needs something that can't be stored exactly, or its capture answers otherwise."""


class NothingToCommit(Error):
    """The working tree is what HEAD holds."""
