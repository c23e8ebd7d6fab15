"""Tensors of a commit in memory: safetensors, .npy and .npz, read straight from the store.

Nothing is written to the disk and nothing is ever unpickled. What a header says is checked against
the size of the file before memory is asked for.
"""

import ast
import json
import math
import os
import struct
import zipfile

from ._errors import Error
from ._save import DTYPES

# A header of safetensors is at most 100 MB by its own definition, one of NumPy's far below this.
_HEADER_MAX = 100_000_000
_NPY_HEADER_MAX = 1 << 20
# So much is read at once: what is held besides the array itself.
_PIECE = 8 << 20
# Deflate can't pack better than this.
_DEFLATE_MAX = 1032

_ITEM = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1,
    "U16": 2, "I16": 2, "F16": 2, "BF16": 2,
    "U32": 4, "I32": 4, "F32": 4,
    "U64": 8, "I64": 8, "F64": 8, "C64": 8,
}
_NUMPY = {ours: numpys for numpys, ours in DTYPES.items()}
_TORCH = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16",
    "U32": "uint32", "I32": "int32", "U64": "uint64", "I64": "int64", "F16": "float16",
    "BF16": "bfloat16", "F32": "float32", "F64": "float64", "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
}


def load(repo, rev, path, framework="numpy", names=None):
    """Reads tensors; `modelv.load` says how."""
    if framework not in ("numpy", "torch"):
        raise ValueError(f"framework `{framework}` is not `numpy` or `torch`")
    ending = os.path.splitext(os.fspath(path))[1].lower()
    read = {".safetensors": _safetensors, ".npy": _npy, ".npz": _npz}.get(ending)
    if read is None:
        raise Error(
            f"`{os.fspath(path)}` is no file of tensors (.safetensors, .npy, .npz); nothing else is "
            "loaded, because loading a pickle runs its code: `modelv.read` gives the bytes"
        )
    if ending == ".npy" and names is not None:
        raise ValueError("a .npy file holds one array without a name")
    with repo.read(rev, path) as f:
        return read(f, framework, None if names is None else list(names))


def _bad(f, why):
    return Error(f"`{f.name}` is damaged or no such file: {why}")


def _chosen(f, names, found):
    """The names to load, in the order of the file or of the question."""
    if names is None:
        return list(found)
    for name in names:
        if name not in found:
            raise KeyError(f"`{f.name}` has no tensor `{name}`")
    return names


def _fill(source, array, size, name):
    """Reads `size` bytes into the memory of `array`, a piece at a time."""
    target = memoryview(array).cast("B") if size else b""
    at = 0
    while at < size:
        data = source.read(min(_PIECE, size - at))
        if not data:
            raise Error(f"`{name}` ends too early")
        target[at : at + len(data)] = data
        at += len(data)


def _numpy():
    try:
        import numpy
    except ImportError as error:
        raise Error("tensors need NumPy: `pip install numpy`") from error
    return numpy


def _empty(size):
    """Writable memory that an array or a tensor can be laid over."""
    return _numpy().empty(size, dtype="u1")


# safetensors


def _safetensors(f, framework, names):
    header, start = _safetensors_header(f)
    out = {}
    for name in _chosen(f, names, header):
        dtype, shape, begin, size = header[name]
        f.seek(start + begin)
        memory = _empty(size)
        _fill(f, memory, size, f.name)
        out[name] = _tensor(f, name, memory, dtype, shape, framework)
    return out


def _safetensors_header(f):
    """Type, shape, position and size of every tensor, and where the tensors begin."""
    head = f.read(8)
    if len(head) < 8:
        raise _bad(f, "it has no header")
    (length,) = struct.unpack("<Q", head)
    if length > min(_HEADER_MAX, f.size - 8):
        raise _bad(f, f"a header of {length} bytes in a file of {f.size}")
    try:
        header = json.loads(f.read(length).decode())
    except (ValueError, RecursionError) as error:
        raise _bad(f, f"its header is no JSON: {error}") from None
    room = f.size - 8 - length
    if not isinstance(header, dict):
        raise _bad(f, "its header is no object")
    header.pop("__metadata__", None)
    return {name: _entry(f, name, entry, room) for name, entry in header.items()}, 8 + length


def _entry(f, name, entry, room):
    try:
        dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        whole = all(type(n) is int and n >= 0 for n in (*shape, begin, end))
    except (TypeError, KeyError, ValueError):
        raise _bad(f, f"tensor `{name}` has no type, shape or place") from None
    if not whole or not isinstance(dtype, str) or dtype not in _ITEM:
        raise _bad(f, f"tensor `{name}` of type {dtype!r} and shape {shape!r}")
    if begin > end or end > room or end - begin != math.prod(shape) * _ITEM[dtype]:
        raise _bad(f, f"tensor `{name}` does not have the size of its shape")
    return dtype, tuple(shape), begin, end - begin


def _tensor(f, name, memory, dtype, shape, framework):
    if framework == "torch":
        import torch

        kind = getattr(torch, _TORCH.get(dtype, ""), None)
        if kind is None:
            raise TypeError(f"this torch has no {dtype} (`{name}` of `{f.name}`)")
        if not memory.size:
            return torch.empty(shape, dtype=kind)
        return torch.from_numpy(memory).view(kind).reshape(shape)
    numpy = _numpy()
    word = _NUMPY.get(dtype)
    try:
        kind = numpy.dtype(word)
    except TypeError:
        kind = _extended(word)
    if word is None or kind is None:
        raise TypeError(
            f"NumPy has no {dtype} (`{name}` of `{f.name}`): `pip install ml_dtypes`, or load it "
            'with framework="torch"'
        )
    if kind.itemsize > 1:
        # The file is little-endian whatever this machine is.
        kind = kind.newbyteorder("<") if word != "bfloat16" else kind
    return memory.view(kind).reshape(shape)


def _extended(word):
    """A type that the package ml_dtypes adds to NumPy; `None` without it."""
    try:
        import ml_dtypes
    except ImportError:
        return None
    found = getattr(ml_dtypes, word or "", None)
    return None if found is None else _numpy().dtype(found)


# NumPy's own


def _npy(f, framework, _names):
    return _converted(_array(f, f.size, f.name), framework)


def _array(source, size, name):
    """One array in NumPy's format, of `size` bytes with its header."""
    numpy = _numpy()
    head = source.read(8)
    if len(head) < 8 or head[:6] != b"\x93NUMPY" or head[6] not in (1, 2, 3):
        raise Error(f"`{name}` is damaged or no .npy file")
    wide = 2 if head[6] == 1 else 4
    length = int.from_bytes(source.read(wide), "little")
    if length > min(_NPY_HEADER_MAX, size):
        raise Error(f"`{name}` has a header of {length} bytes")
    text = source.read(length).decode("latin1" if head[6] < 3 else "utf8", "replace")
    try:
        fields = ast.literal_eval(text.strip())
        dtype = numpy.lib.format.descr_to_dtype(fields["descr"])
        fortran, shape = fields["fortran_order"], fields["shape"]
        whole = isinstance(shape, tuple) and all(type(n) is int and n >= 0 for n in shape)
    except (ValueError, TypeError, KeyError, SyntaxError, MemoryError, RecursionError):
        whole = False
    if not whole:
        raise Error(f"`{name}` has a header that is not NumPy's")
    if dtype.hasobject:
        raise Error(f"`{name}` holds pickled Python objects: they are never loaded")
    room = math.prod(shape) * dtype.itemsize
    if room != size - 8 - wide - length:
        raise Error(f"`{name}` does not have the size of its shape {shape}")
    memory = _empty(room)
    _fill(source, memory, room, name)
    order = "F" if fortran else "C"
    return memory.view(dtype).reshape(shape, order=order) if room else numpy.empty(shape, dtype)


def _npz(f, framework, names):
    try:
        archive = zipfile.ZipFile(f)
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise _bad(f, str(error)) from None
    with archive:
        found = {}
        for entry in archive.infolist():
            if entry.filename.endswith(".npy"):
                found[entry.filename[:-4]] = entry
        return {
            name: _converted(_member(f, archive, found[name]), framework)
            for name in _chosen(f, names, found)
        }


def _member(f, archive, entry):
    name = f"{f.name}:{entry.filename}"
    if entry.file_size > entry.compress_size * _DEFLATE_MAX + 64:
        raise Error(f"`{name}` says that it is larger than it can be")
    try:
        with archive.open(entry) as part:
            return _array(part, entry.file_size, name)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise _bad(f, f"{entry.filename}: {error}") from None


def _converted(array, framework):
    if framework == "numpy":
        return array
    import torch

    native = array.dtype.newbyteorder("=")
    return torch.from_numpy(array.astype(native, order="C", copy=False))
