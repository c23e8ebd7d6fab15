"""Reading files of commits: every way Python's file objects are read, and damage."""

import io
import os
import random
import signal
import threading
import unittest

import modelv as mv
from support import TreeCase


class Files(TreeCase):
    def test_a_file_reads_as_one_on_disk(self):
        content = random.Random(7).randbytes(9_000_000)
        self.put("data/big.bin", content)
        self.put("empty.py", b"")
        self.repo.commit("one")
        with self.repo.read("HEAD", "data/big.bin") as ours, io.BytesIO(content) as theirs:
            self.assertIsInstance(ours, io.RawIOBase)
            self.assertEqual((ours.size, ours.name), (len(content), "HEAD:data/big.bin"))
            chance = random.Random(8)
            for _ in range(300):
                whence = chance.choice([os.SEEK_SET, os.SEEK_CUR, os.SEEK_END])
                here = {os.SEEK_SET: 0, os.SEEK_CUR: ours.tell(), os.SEEK_END: len(content)}
                offset = chance.randrange(len(content) + 1000) - here[whence]
                self.assertEqual(ours.seek(offset, whence), theirs.seek(offset, whence))
                count = chance.choice([0, 1, 100, 70_000, 3_000_000])
                if chance.random() < 0.5:
                    self.assertEqual(ours.read(count), theirs.read(count))
                else:
                    mine, other = bytearray(count), bytearray(count)
                    self.assertEqual(ours.readinto(mine), theirs.readinto(other))
                    self.assertEqual(mine, other)
                self.assertEqual(ours.tell(), theirs.tell())
            ours.seek(5)
            self.assertEqual(ours.read(), content[5:])
            self.assertEqual(ours.read(), b"")
            self.assertEqual(ours.read(10), b"")
        with self.assertRaises(ValueError):
            ours.read()
        with self.assertRaises(ValueError):
            ours.tell()
        self.assertEqual(self.repo.read("HEAD", "empty.py").read(), b"")

    def test_text_and_buffers_can_be_laid_over(self):
        self.put("notes.py", "eins\nzwei\ndrei\n".encode())
        self.repo.commit("one")
        with io.TextIOWrapper(io.BufferedReader(mv.read("HEAD", "notes.py"))) as lines:
            self.assertEqual([line.strip() for line in lines], ["eins", "zwei", "drei"])
        with mv.read("HEAD", "notes.py") as f:
            self.assertEqual(f.readline(), b"eins\n")
            self.assertFalse(f.writable())
            with self.assertRaises(io.UnsupportedOperation):
                f.write(b"x")
            with self.assertRaises(OSError):
                f.seek(-1)
            with self.assertRaises(ValueError):
                f.seek(0, 3)

    def test_any_revision_is_read_whatever_the_working_tree_holds(self):
        self.put("models/w.bin", b"one")
        self.repo.commit("one")
        self.put("models/w.bin", b"two")
        self.repo.commit("two")
        (self.root / "models" / "w.bin").unlink()
        self.assertEqual(mv.read("HEAD~1", "models/w.bin").read(), b"one")
        self.assertEqual(self.repo.read("main", "models/w.bin").read(), b"two")
        for path in ("models/w.bin/x", "none"):
            with self.assertRaises(mv.PathNotFound, msg=path):
                mv.read("HEAD", path)
        with self.assertRaisesRegex(mv.Error, "it is a folder, with models/w.bin"):
            mv.read("HEAD", "models")
        for path in ("../x", "", "/etc/passwd", "a//b"):
            with self.assertRaises(mv.Error, msg=path):
                mv.read("HEAD", path)

    def test_threads_share_one_file(self):
        content = random.Random(9).randbytes(6_000_000)
        self.put("data/big.bin", content)
        self.repo.commit("one")
        reader = self.repo.read("HEAD", "data/big.bin")._reader
        wrong = []

        def look(seed):
            chance = random.Random(seed)
            for _ in range(50):
                at = chance.randrange(len(content))
                if reader.read_at(at, 1000) != content[at : at + 1000]:
                    wrong.append(at)

        threads = [threading.Thread(target=look, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])

    def test_a_signal_ends_a_long_read_and_the_file_stays_usable(self):
        content = random.Random(10).randbytes(40 << 20)
        self.put("data/big.bin", content)
        self.repo.commit("one")

        def stop(*_):
            raise InterruptedError("enough")

        before = signal.signal(signal.SIGALRM, stop)
        self.addCleanup(signal.signal, signal.SIGALRM, before)
        reader = self.repo.read("HEAD", "data/big.bin")
        signal.setitimer(signal.ITIMER_REAL, 0.001)
        with self.assertRaisesRegex(InterruptedError, "enough"):
            reader.read()
        reader.seek(0)
        self.assertEqual(reader.read(), content)

    def test_no_damaged_byte_is_given_out(self):
        content = os.urandom(6_000_000)
        self.put("data/big.bin", content)
        self.repo.commit("one")
        largest = max((self.root / ".mv" / "packs").glob("*.pack"), key=os.path.getsize)
        damaged = bytearray(largest.read_bytes())
        damaged[len(damaged) // 2] ^= 0x10
        os.chmod(largest, 0o600)
        largest.write_bytes(damaged)
        with self.assertRaises(mv.CorruptError):
            with self.repo.read("HEAD", "data/big.bin") as f:
                f.read()


if __name__ == "__main__":
    unittest.main()
