"""A file of a commit as Python's file object."""

import errno
import io
import os


class BlobFile(io.RawIOBase):
    """A file of a commit, open for reading in binary, with seeking.

    Only the chunks that are asked for are read, and every one is checked against its id first; a
    damaged one raises `CorruptError`. Wrap it in `io.TextIOWrapper` to read text.
    """

    def __init__(self, reader, name):
        super().__init__()
        self._reader = reader
        self._position = 0
        #: `REVISION:PATH`.
        self.name = name
        self.mode = "rb"

    @property
    def size(self):
        """Bytes of the whole file."""
        return self._reader.size

    def readable(self):
        """True: it is open for reading."""
        return True

    def seekable(self):
        """True: it can be read at any position."""
        return True

    def read(self, size=-1):
        """Up to `size` bytes, fewer only at the end; all that is left when negative or None."""
        self._check()
        count = self.size if size is None or size < 0 else size
        data = self._reader.read_at(self._position, count)
        self._position += len(data)
        return data

    def readall(self):
        """All that is left."""
        return self.read(-1)

    def readinto(self, buffer):
        """Fills `buffer`, less only at the end, and gives the number of bytes."""
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def write(self, data):
        """Never: a commit does not change."""
        raise io.UnsupportedOperation("a file of a commit can't be written")

    def seek(self, offset, whence=os.SEEK_SET):
        """Moves to a position from the start, from here or from the end, and gives it."""
        self._check()
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}
        if whence not in base:
            raise ValueError(f"whence {whence} is not 0, 1 or 2")
        target = base[whence] + offset
        if target < 0:
            # As a file on disk says it: zipfile, for one, relies on that.
            raise OSError(errno.EINVAL, f"position {target} is before the start", self.name)
        self._position = target
        return target

    def tell(self):
        """The position."""
        self._check()
        return self._position

    def _check(self):
        if self.closed:
            raise ValueError("I/O operation on closed file")

    def __repr__(self):
        return f"<BlobFile {self.name!r} {self.size} bytes>"
