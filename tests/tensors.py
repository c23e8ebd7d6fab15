#!/usr/bin/env python3
"""Files of tensors as their own libraries write and read them.

    tests/tensors.py write base|ours|theirs|again DIR    m.npz, m.gguf and m.onnx
    tests/tensors.py check both|again DIR                what a merge of ours and theirs, or a decision, came to
"""

import sys
import zipfile
from pathlib import Path

import gguf
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# Of each version: the tensors, a value beside them, and the graph's own words.
VERSIONS = {
    "base": ({"a": 1, "b": 1, "c": 1, "gone": 1}, "m", "old"),
    "ours": ({"a": 2, "b": 1, "c": 1, "gone": 1, "new": 5}, "m", "changed"),
    "theirs": ({"a": 1, "b": 3, "c": 1, "more": 6}, "n", "old"),
    "both": ({"a": 2, "b": 3, "c": 1, "new": 5, "more": 6}, "n", "changed"),
    "again": ({"a": 7, "b": 3, "c": 1, "new": 5, "more": 6}, "n", "changed"),
}


def array(name, n):
    return (np.arange(3 + len(name), dtype=np.float32) * n).reshape(1, -1)


def write(version, folder):
    tensors, title, about = VERSIONS[version]
    arrays = {name: array(name, n) for name, n in tensors.items()}
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "m.npz", **arrays)
    writer = gguf.GGUFWriter(folder / "m.gguf", "llama")
    writer.add_name(title)
    writer.add_array("tokens", ["a", "bc", "def"])
    for name, values in arrays.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    nodes = [helper.make_node("Add", ["x", "a"], ["y"])]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4]) for n in "xy"]
    initial = [numpy_helper.from_array(values, name) for name, values in arrays.items()]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], initial, doc_string=about)
    onnx.save(helper.make_model(graph), folder / "m.onnx")


def check(version, folder):
    tensors, title, about = VERSIONS[version]
    wanted = {name: array(name, n) for name, n in tensors.items()}

    def same(found):
        assert set(found) == set(wanted), (set(found), set(wanted))
        for name, values in wanted.items():
            assert np.array_equal(np.asarray(found[name]).reshape(values.shape), values), name

    assert zipfile.ZipFile(folder / "m.npz").testzip() is None
    with np.load(folder / "m.npz") as found:
        same(dict(found))
    reader = gguf.GGUFReader(folder / "m.gguf")
    same({t.name: t.data for t in reader.tensors})
    assert reader.get_field("general.name").contents() == title
    assert reader.get_field("tokens").contents() == ["a", "bc", "def"]
    model = onnx.load(folder / "m.onnx")
    onnx.checker.check_model(model)
    same({t.name: numpy_helper.to_array(t) for t in model.graph.initializer})
    assert model.graph.doc_string == about


if __name__ == "__main__":
    {"write": write, "check": check}[sys.argv[1]](sys.argv[2], Path(sys.argv[3]))
