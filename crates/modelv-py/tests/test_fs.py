"""Commits as a file system: what pandas, pyarrow and datasets read of one, and what they can't do."""

import os
import pickle
import unittest

import fsspec
import modelv as mv
import numpy
import pandas
import pyarrow.dataset
import pyarrow.fs
import pyarrow.parquet
from support import TreeCase


class FileSystem(TreeCase):
    def setUp(self):
        super().setUp()
        rows = [f"{i},{i * 0.5},w{i}" for i in range(1000)]
        self.put("data/en/train.csv", "id,x,word\n" + "\n".join(rows) + "\n")
        self.table = pandas.read_csv("data/en/train.csv")
        self.table.to_parquet("data/train.parquet")
        self.first = self.repo.commit("first")
        self.repo.branch("feature/x")
        self.put("data/en/train.csv", "id\n1\n")
        self.repo.commit("second")
        for name in ("en/train.csv", "train.parquet"):
            os.unlink(self.root / "data" / name)

    def test_pandas_reads_from_a_commit(self):
        for rev in ("HEAD~1", self.first.id, self.first.id[:12], "feature%2Fx"):
            found = pandas.read_csv(f"mv://{rev}/data/en/train.csv")
            pandas.testing.assert_frame_equal(found, self.table)
        self.assertEqual(list(pandas.read_csv("mv://main/data/en/train.csv")["id"]), [1])
        found = pandas.read_parquet("mv://HEAD/data/train.parquet", columns=["x"])
        pandas.testing.assert_frame_equal(found, self.table[["x"]])
        os.chdir("/")
        found = pandas.read_csv("mv://HEAD~1/data/en/train.csv", storage_options={"repo": self.root})
        self.assertEqual(len(found), 1000)
        with self.assertRaises(FileNotFoundError):
            pandas.read_csv("mv://HEAD/data/none.csv", storage_options={"repo": self.root})
        with self.assertRaises(mv.NotARepository):
            pandas.read_csv("mv://HEAD/data/en/train.csv")

    def test_pyarrow_reads_from_a_commit(self):
        system = fsspec.filesystem("mv")
        found = pyarrow.parquet.read_table("HEAD/data/train.parquet", filesystem=system)
        self.assertEqual(found.column("word").to_pylist(), list(self.table["word"]))
        parts = pyarrow.dataset.dataset("HEAD~1/data/en", format="csv", filesystem=system)
        self.assertEqual(parts.count_rows(), 1000)
        wrapped = pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(system))
        with wrapped.open_input_file("HEAD/modelv.toml") as f:
            self.assertEqual(f.read(), (self.root / "modelv.toml").read_bytes())

    def test_datasets_reads_from_a_commit(self):
        os.environ["HF_HOME"] = str(self.root / ".mv" / "tmp" / "hf")
        import datasets

        datasets.disable_progress_bars()
        found = datasets.load_dataset(
            "csv", data_files="mv://HEAD~1/data/en/train.csv", split="train",
            cache_dir=str(self.root / ".mv" / "tmp" / "cache"),
        )
        self.assertEqual(found["word"][:3], ["w0", "w1", "w2"])
        self.assertEqual(len(found), 1000)

    def test_it_lists_walks_and_matches(self):
        system = fsspec.filesystem("mv", repo=self.root)
        self.assertEqual(system.ls("", detail=False), ["feature%2Fx", "main"])
        self.assertEqual(
            system.ls("mv://HEAD", detail=False), ["HEAD/data", "HEAD/modelv.toml"]
        )
        self.assertEqual(system.ls("HEAD/data/en/", detail=False), ["HEAD/data/en/train.csv"])
        self.assertEqual(system.ls("HEAD/data/en/train.csv")[0]["size"], 5)
        self.assertEqual(system.find("HEAD~1"), [
            "HEAD~1/data/en/train.csv", "HEAD~1/data/train.parquet", "HEAD~1/modelv.toml"
        ])
        self.assertEqual(system.glob("mv://main/data/**/*.csv"), ["main/data/en/train.csv"])
        self.assertTrue(system.isdir("HEAD/data/en") and system.isfile("HEAD/modelv.toml"))
        self.assertFalse(system.exists("HEAD/none") or system.exists("nobody/data"))
        info = system.info("HEAD/data/en/train.csv")
        self.assertEqual((info["ingredient"], info["type"]), ("data", "file"))
        self.assertEqual(system.ukey("HEAD/data/train.parquet"), system.ukey("HEAD~1/data/train.parquet"))
        self.assertNotEqual(system.ukey("HEAD/data/en/train.csv"), system.ukey("HEAD~1/data/en/train.csv"))
        self.assertEqual(system.created("HEAD~1/data"), self.first.time)

    def test_bytes_by_range_and_as_text(self):
        system = pickle.loads(pickle.dumps(fsspec.filesystem("mv")))
        whole = system.cat_file("HEAD~1/data/en/train.csv")
        self.assertEqual(system.cat_file("HEAD~1/data/en/train.csv", 3, 9), whole[3:9])
        self.assertEqual(system.cat_file("HEAD~1/data/en/train.csv", -4), whole[-4:])
        self.assertEqual(system.head("HEAD~1/data/en/train.csv", 5), whole[:5])
        with fsspec.open("mv://HEAD/modelv.toml", "rt") as f:
            self.assertEqual(f.read(), (self.root / "modelv.toml").read_text())
        # A file that was written over: HEAD is what it is now.
        numpy.save("data/new.npy", numpy.arange(3))
        self.repo.commit("third")
        with system.open("HEAD/data/new.npy") as f:
            self.assertEqual(numpy.load(f).tolist(), [0, 1, 2])

    def test_nothing_can_be_written(self):
        system = fsspec.filesystem("mv")
        for act in (
            lambda: system.open("HEAD/new", "wb"), lambda: system.rm("HEAD/modelv.toml"),
            lambda: system.mkdir("HEAD/new"), lambda: system.pipe_file("HEAD/new", b""),
            lambda: system.put_file("modelv.toml", "HEAD/new"), lambda: system.touch("HEAD/new"),
            lambda: system.cp_file("HEAD/modelv.toml", "HEAD/new"),
            lambda: self.table.to_csv("mv://HEAD/new.csv"),
        ):
            with self.assertRaises(OSError):
                act()
        with self.assertRaises(IsADirectoryError):
            system.open("HEAD/data")


if __name__ == "__main__":
    unittest.main()
