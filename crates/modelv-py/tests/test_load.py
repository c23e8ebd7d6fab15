"""Tensors of commits in memory: equal to what other readers give, and never code."""

import io
import json
import os
import pickle
import random
import struct
import unittest
import zipfile

import modelv as mv
import numpy
from support import TreeCase


def safetensors(header, body=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


class Load(TreeCase):
    def commit(self, path, content):
        self.put(path, content)
        self.repo.commit(path, allow_empty=True)

    def arrays(self):
        chance = numpy.random.default_rng(5)
        kinds = ["bool", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", "c8"]
        out = {f"t/{k}": chance.integers(0, 2, (3, 5)).astype(k) for k in kinds}
        out["large"] = chance.random((1100, 1000))
        out["none"] = numpy.empty((0, 4), "f4")
        out["one"] = numpy.array(2.5)
        out["turned"] = chance.random((6, 7)).T
        return out

    def same(self, ours, theirs):
        self.assertEqual((ours.dtype, ours.shape), (theirs.dtype, theirs.shape))
        self.assertEqual(ours.tobytes(), theirs.tobytes())
        self.assertTrue(ours.flags.writeable)

    def test_what_a_run_saved_is_what_is_loaded(self):
        arrays = self.arrays()
        with mv.run() as run:
            run.save("models/w.safetensors", arrays)
            run.save("models/w.npz", arrays)
            run.save("models/w.npy", arrays["turned"])
        for path in ("models/w.safetensors", "models/w.npz"):
            os.unlink(path)
            found = mv.load("HEAD", path)
            self.assertEqual(set(found), set(arrays))
            for name, array in found.items():
                self.same(array, arrays[name])
            some = self.repo.load(run.commit.id, path, names=["one", "large"])
            self.assertEqual(list(some), ["one", "large"])
            with self.assertRaisesRegex(KeyError, "no tensor `other`"):
                mv.load("HEAD", path, names=["other"])
        self.same(mv.load("HEAD", "models/w.npy", repo=self.root), arrays["turned"])
        self.assertEqual(os.listdir("models"), ["w.npy"])

    def test_files_of_numpy_itself(self):
        arrays = {"a": numpy.arange(12.0).reshape(3, 4), "big": numpy.arange(5, dtype=">i4"),
                  "rows": numpy.array([(1, 2.5)], dtype=[("n", "i4"), ("x", "f8")]),
                  "words": numpy.array(["ab", "ü"]), "fortran": numpy.asfortranarray(numpy.eye(3))}
        os.mkdir("models")
        numpy.savez("models/plain.npz", **arrays)
        numpy.savez_compressed("models/packed.npz", **arrays)
        self.repo.commit("one")
        for path in ("models/plain.npz", "models/packed.npz"):
            for name, array in mv.load("HEAD", path).items():
                self.same(array, arrays[name])
                self.assertEqual(array.flags.f_contiguous, arrays[name].flags.f_contiguous)

    def test_nothing_is_unpickled(self):
        class Canary:
            def __reduce__(self):
                return (os.mkdir, ("canary",))

        buffer = io.BytesIO()
        numpy.save(buffer, numpy.array([Canary()], dtype=object), allow_pickle=True)
        self.put("models/objects.npy", buffer.getvalue())
        with zipfile.ZipFile("models/objects.npz", "w") as archive:
            archive.writestr("a.npy", buffer.getvalue())
        for path in ("models/w.pkl", "models/w.pt", "models/w.joblib"):
            self.put(path, pickle.dumps(Canary()))
        self.repo.commit("one")
        for path in sorted(os.listdir("models")):
            with self.assertRaisesRegex(mv.Error, "pickle", msg=path):
                mv.load("HEAD", f"models/{path}")
        self.assertFalse(os.path.exists("canary"))

    def test_damaged_headers_are_refused(self):
        deep = b"[" * 100_000
        fine = entry("F32", [2], 0, 8)
        for content in (
            b"", b"\0" * 7, safetensors({"a": fine}), safetensors(b"{", length=2**62), safetensors(deep),
            safetensors(b"[]"), safetensors(b"\xff"), safetensors({"a": 1}), safetensors({"a": {}}),
            safetensors({"a": entry("F32", [3], 0, 8)}, bytes(8)),
            safetensors({"a": entry("F32", [2], 8, 0)}, bytes(8)),
            safetensors({"a": entry("F32", [-2], 0, 8)}, bytes(8)),
            safetensors({"a": entry("F32", [2.0], 0, 8)}, bytes(8)),
            safetensors({"a": entry("X9", [2], 0, 8)}, bytes(8)),
            safetensors({"a": entry(["F32"], [2], 0, 8)}, bytes(8)),
            safetensors({"a": entry("U8", [2**40], 0, 2**40)}, bytes(8)),
        ):
            self.commit("models/w.safetensors", content)
            with self.assertRaisesRegex(mv.Error, "damaged or no such", msg=content[:80]):
                mv.load("HEAD", "models/w.safetensors")
        head = b"\x93NUMPY\x01\0"
        for text in ("{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,)}", "{}", "1",
                     "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}", "(" * 900,
                     "{'descr': 'no', 'fortran_order': False, 'shape': ()}", "__import__('os')"):
            self.commit("models/w.npy", head + struct.pack("<H", len(text)) + text.encode())
            with self.assertRaises(mv.Error, msg=text[:60]):
                mv.load("HEAD", "models/w.npy")
        for content in (b"", b"PK\5\6" + bytes(18), b"\x93NUMPY\x01\0\xff\xff"):
            self.commit("models/w.npz", content)
            self.assertRaises(mv.Error, mv.load, "HEAD", "models/w.npz") if content[:2] != b"PK" else \
                self.assertEqual(mv.load("HEAD", "models/w.npz"), {})

    def test_random_damage_raises_errors_of_ours_alone(self):
        chance = random.Random(3)
        sound = {"safetensors": safetensors({"a": entry("F32", [2], 0, 8)}, bytes(8))}
        for ending, array in (("npy", numpy.arange(6.0)), ("npz", None)):
            buffer = io.BytesIO()
            numpy.save(buffer, array) if array is not None else numpy.savez_compressed(buffer, a=[1.5])
            sound[ending] = buffer.getvalue()
        cases = []
        for ending, content in sound.items():
            for n in range(60):
                bad = bytearray(content)
                for _ in range(chance.randrange(1, 4)):
                    bad[chance.randrange(len(bad))] = chance.randrange(256)
                self.put(f"models/{n}.{ending}", bytes(bad[: chance.randrange(1, len(bad) + 1)]))
                cases.append(f"models/{n}.{ending}")
        self.repo.commit("damage")
        refused = 0
        for path in cases:
            try:
                mv.load("HEAD", path)
            except mv.Error:
                refused += 1
        self.assertGreater(refused, 60)

    def test_wrong_questions(self):
        self.put("models/w.npy", b"")
        self.repo.commit("one")
        for wrong in (dict(framework="jax"), dict(names=["a"])):
            with self.assertRaises(ValueError):
                mv.load("HEAD", "models/w.npy", **wrong)
        with self.assertRaises(mv.PathNotFound):
            mv.load("HEAD", "models/none.npy")

    def test_all_files_of_a_commit_are_listed(self):
        self.put("data/rohe Daten/ü.csv", b"a\n1\n")
        self.put("models/w.bin", b"12345")
        os.symlink("models/w.bin", "link")
        self.repo.commit("one")
        found = {f["path"]: f for f in self.repo.files()}
        self.assertEqual(set(found), {"data/rohe Daten/ü.csv", "models/w.bin", "link", "modelv.toml"})
        self.assertEqual((found["models/w.bin"]["size"], found["models/w.bin"]["ingredient"]), (5, "model"))
        self.assertEqual(found["data/rohe Daten/ü.csv"]["ingredient"], "data")
        self.assertEqual((found["link"]["kind"], found["modelv.toml"]["kind"]), ("link", "file"))
        self.assertEqual(len(found["link"]["id"]), 64)


if __name__ == "__main__":
    unittest.main()
