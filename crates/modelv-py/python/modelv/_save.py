"""Writing outputs: bytes as they are, arrays as .npy, .npz or .safetensors.

Equal values give equal bytes: nothing here depends on the clock or on the order of a dict, so that
the same training gives the same model. NumPy is used when it is there and never demanded before.
"""

import json
import os
import struct
import sys
import zipfile

# safetensors: the names of NumPy's types, and those of ml_dtypes.
DTYPES = {
    "bool": "BOOL",
    "uint8": "U8",
    "int8": "I8",
    "uint16": "U16",
    "int16": "I16",
    "uint32": "U32",
    "int32": "I32",
    "uint64": "U64",
    "int64": "I64",
    "float16": "F16",
    "bfloat16": "BF16",
    "float32": "F32",
    "float64": "F64",
    "complex64": "C64",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
}


def save(path, value):
    """Writes `value` to `path` by its ending; the file appears whole or not at all."""
    write = {".npy": _npy, ".npz": _npz, ".safetensors": _safetensors, ".json": _json}.get(
        os.path.splitext(os.fspath(path))[1], _bytes
    )
    if isinstance(value, (bytes, bytearray, memoryview)):
        write = _bytes
    try:
        whole(path, lambda out: write(out, value))
    except TypeError as error:
        raise TypeError(f"can't write `{os.fspath(path)}`: {error}") from None


def whole(path, write):
    """Has `write` fill a file, which appears at `path` once it is whole."""
    path = os.fspath(path)
    parent = os.path.dirname(path)
    if parent:
        os.makedirs(parent, exist_ok=True)
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with open(temporary, "wb") as out:
            write(out)
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


def figure(path, drawn):
    """Draws a figure of matplotlib, plotly or Pillow to `path`, with nothing in it that says when."""
    path = os.fspath(path)
    kind = os.path.splitext(path)[1].lstrip(".").lower()
    drawn = getattr(drawn, "figure", None) or drawn
    if hasattr(drawn, "savefig"):
        whole(path, lambda out: _matplotlib(out, kind, drawn))
    elif hasattr(drawn, "to_plotly_json"):
        whole(path, lambda out: out.write(_plotly(path, kind, drawn).encode()))
    elif hasattr(drawn, "save") and hasattr(drawn, "convert"):
        whole(path, lambda out: drawn.save(out, format={"jpg": "jpeg"}.get(kind, kind)))
    else:
        raise TypeError(
            f"a {type(drawn).__name__} is no figure of matplotlib or plotly and no image of Pillow"
        )


def _matplotlib(out, kind, drawn):
    from matplotlib import rc_context

    silent = {
        "png": {"Software": None},
        "svg": {"Date": None, "Creator": None},
        "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    }
    # Ids in an SVG are random without a salt.
    with rc_context({"svg.hashsalt": "modelv"}):
        drawn.savefig(out, format=kind, metadata=silent.get(kind))


def _plotly(path, kind, drawn):
    if kind == "json":
        return drawn.to_json()
    if kind == "html":
        return drawn.to_html(include_plotlyjs="cdn", div_id="figure")
    raise TypeError(f"a figure of plotly becomes .html or .json, not `{path}`")


def _bytes(out, value):
    if isinstance(value, str):
        value = value.encode()
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise TypeError(
            f"a {type(value).__name__} is neither bytes nor text; .npy, .npz and .safetensors take arrays, .json "
            "plain values, and `run.artifact` names a file that something else has written"
        )
    out.write(value)


def _json(out, value):
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
    out.write((text + "\n").encode())


def _array(value):
    """A NumPy array of what has one inside: arrays, scalars, lists, tensors."""
    try:
        import numpy
    except ImportError as error:
        raise TypeError("arrays need NumPy: `pip install numpy`, or give bytes") from error
    for step in ("detach", "cpu"):
        # Tensors that record gradients or live on an accelerator.
        value = getattr(value, step, lambda value=value: value)()
    array = numpy.asarray(value)
    if array.dtype.hasobject:
        raise TypeError("an array of Python objects has no bytes of its own")
    return array


def _arrays(value):
    if not hasattr(value, "items"):
        raise TypeError(f"expected a dict of arrays, not a {type(value).__name__}")
    return {str(name): _array(array) for name, array in value.items()}


def _npy(out, value):
    array = _array(value)
    from numpy.lib import format as npy

    npy.write_array(out, array, allow_pickle=False)


def _npz(out, value):
    arrays = _arrays(value)
    from numpy.lib import format as npy

    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            # Without a date of its own an entry would carry that of now.
            entry = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            with archive.open(entry, "w", force_zip64=True) as part:
                npy.write_array(part, arrays[name], allow_pickle=False)


def _safetensors(out, value):
    """8 bytes length, a JSON header, then the tensors: largest items first, so all are aligned."""
    if not hasattr(value, "items"):
        raise TypeError(f"expected a dict of arrays, not a {type(value).__name__}")
    tensors = {str(name): _tensor(str(name), tensor) for name, tensor in value.items()}
    order = sorted(tensors, key=lambda name: (-tensors[name][1].itemsize, name))
    header, at = {}, 0
    for name in order:
        word, array = tensors[name]
        end = at + array.nbytes
        header[name] = {"dtype": word, "shape": list(array.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    out.write(struct.pack("<Q", len(text)))
    out.write(text)
    for name in order:
        array = tensors[name][1]
        out.write(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())


def _tensor(name, value):
    """The type by the name of safetensors, and an array with the bytes."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        # NumPy has no bfloat16 and no float8, but integers that are as wide.
        word = DTYPES.get(str(value.dtype).rpartition(".")[2])
        if word in ("BF16", "F8_E4M3", "F8_E5M2"):
            wide = torch.int16 if word == "BF16" else torch.uint8
            return word, _array(value.detach().cpu().contiguous().view(wide))
    array = _array(value)
    if array.dtype.name not in DTYPES:
        raise TypeError(f"safetensors has no {array.dtype} (`{name}`)")
    return DTYPES[array.dtype.name], array
