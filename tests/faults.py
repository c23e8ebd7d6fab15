#!/usr/bin/env python3
"""The long form of the fault programme: what is left when the machine, the disk or a process fails.

    tests/faults.py [PART ...]        parts: states flips errors kills reads room cuts (all)

Needs Linux, root, Rust, strace, e2fsprogs and xfsprogs; says so when one is missing. Prints a table, and
fails when anything that was acknowledged is lost, fsck finds anything, a lock is left or a control finds
nothing. Numbers can be changed: --states 200000 --flips 524288 --kills 10000 --cuts 5000 (for each file system).
What is tested is built and copied first, so that the sources may change while it runs. MODELV_FAULT_PROFILE=dev
builds faster, and is no slower to run: the time goes into system calls.
"""

import argparse
import fcntl
import json
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN, XFS_IOC_GOINGDOWN
# Without a flush of the log, and with one: the journal is lost, or the data alone.
FLAGS = [2, 1]
# The power is cut within this time, in seconds: some commits long.
WINDOW = float(os.environ.get("MODELV_FAULT_WINDOW", "0.05"))
CALLS = (
    "write,pwrite64,openat,openat2,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,symlinkat,"
    "unlink,unlinkat,rmdir,fsync,fdatasync,ftruncate,flock,fcntl"
)
READS = "read,pread64,openat,openat2,statx,newfstatat,getdents64,lseek"
# `dev` where building takes longer than running.
PROFILE = "--profile=" + os.environ.get("MODELV_FAULT_PROFILE", "release")
ROWS = []


def row(part, what, figure, ok):
    ROWS.append((part, what, figure, "ok" if ok else "FAILED"))
    print(f"{part:8} {what:44} {figure:40} {'ok' if ok else 'FAILED'}", flush=True)


def need(*programs):
    missing = [p for p in programs if not shutil.which(p)]
    if missing:
        sys.exit(f"error: {', '.join(missing)} missing: apt-get install strace e2fsprogs xfsprogs util-linux")


def cargo(*args, **env):
    return subprocess.run(
        ["cargo", *args], cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True
    )


COPIES = tempfile.TemporaryDirectory()


def built(kind, name, *args):
    """Builds something with what is only for tests in it, and gives the path of a copy."""
    done = cargo(*args, "--message-format=json")
    for line in done.stdout.splitlines():
        told = json.loads(line) if line.startswith("{") else {}
        target = told.get("target", {})
        if told.get("executable") and target.get("name") == name and kind in target["kind"]:
            return shutil.copy(told["executable"], Path(COPIES.name) / name)
    sys.exit(f"error: {name} can't be built:\n{done.stderr[-3000:]}")


def library(part, test, what, **env):
    """A test of the library in its long form."""
    program = built("test", "faults", "test", PROFILE, "-p", "modelv-repo", "--test", "faults", "--no-run")
    start = time.monotonic()
    done = subprocess.run(
        [program, test, "--nocapture"], cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True
    )
    # The names of tests stand on the same lines.
    lines = (done.stdout + done.stderr).splitlines()
    told = [found[0] for found in (re.search(r"\d+ (calls|bits|lengths|files|failures|of \d+ bits).*", line) for line in lines) if found]
    figure = f"{'; '.join(told[-3:])}, {time.monotonic() - start:.0f} s"
    row(part, what, figure, done.returncode == 0)
    if done.returncode:
        print(done.stdout[-3000:], done.stderr[-3000:])
    return done.stdout + done.stderr


def states(options):
    told = library(
        "states", "power::", "simulated power cuts", MODELV_FAULT_STATES=str(options.states), MODELV_FAULT_LONG="1"
    )
    caught = len(re.findall("without the sync", told))
    row("states", "each sync left out is found", f"{caught} of {caught}", caught >= 8)


def flips(options):
    library(
        "flips", "flips::", "bits, lengths, blocks, swaps", MODELV_FAULT_LONG="1", MODELV_FAULT_FLIPS=str(options.flips)
    )


def errors(_):
    library("errors", "errors::", "every call fails, once and for ever", MODELV_FAULT_LONG="1")


class Place:
    """Folders with something to do in them, at a path that stays the same."""

    COMMANDS = [
        ("commit", "a", ["commit", "-m", "second"]),
        ("switch", "b", ["switch", "topic"]),
        ("merge", "b", ["merge", "topic"]),
        ("undo", "b", ["undo"]),
        ("push", "b", ["push"]),
        ("fetch", "c", ["fetch"]),
        ("clone", "", ["clone", "REMOTE", "d"]),
        ("init", "", ["init", "new/e"]),
    ]

    def __init__(self, binary, base):
        self.binary, self.base, self.at = binary, Path(base), Path(base) / "disk"
        self.remote = f"file://{self.at}/remote"
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(base),
            "MODELV_AUTHOR_NAME": "Ada",
            "MODELV_AUTHOR_EMAIL": "ada@example.org",
        }
        self.at.mkdir(parents=True)
        self.prepare()
        self.commands = list(self.COMMANDS)
        if "gc" in self.run("", ["--help"]).stdout.split():
            self.commands.append(("gc", "b", ["gc", "--now", "--repack", "--keep-days", "0"]))
        self.at.rename(self.base / "origin")

    def run(self, place, args, prefix=()):
        args = [self.remote if a == "REMOTE" else a for a in args]
        return subprocess.run(
            [*prefix, self.binary, *args], cwd=self.at / place, env=self.env, capture_output=True, text=True
        )

    def must(self, place, *args):
        done = self.run(place, list(args))
        if done.returncode:
            raise AssertionError(f"{' '.join(args)}: {done.stderr}")
        return done.stdout

    def put(self, path, text):
        full = self.at / path
        full.parent.mkdir(parents=True, exist_ok=True)
        full.write_text(text)

    def prepare(self):
        self.must("", "init", "a")
        self.put("a/modelv.toml", '[env]\ncapture = "none"\n')
        self.put("a/train.py", "print(1)\n")
        self.must("a", "commit", "-m", "first")
        self.must("a", "remote", "add", "origin", self.remote)
        self.must("a", "push")
        for name in ["b", "c", "other"]:
            self.must("", "clone", self.remote, name)
        self.put("a/train.py", "print(2)\n")
        self.put("a/models/w.bin", "weights " * 700)
        self.must("b", "switch", "-c", "dead")
        self.put("b/dead.bin", "dead " * 900)
        self.must("b", "commit", "-m", "dead")
        self.must("b", "switch", "main")
        self.must("b", "branch", "-d", "dead")
        self.must("b", "switch", "-c", "topic")
        self.put("b/data/rows.csv", "a,b\n1,2\n")
        self.put("b/train.py", "print(3)\n")
        self.must("b", "commit", "-m", "topic")
        self.must("b", "switch", "main")
        self.put("b/eval.py", "print('b')\n")
        self.must("b", "commit", "-m", "main")
        self.must("other", "switch", "-c", "side")
        self.put("other/more.py", "print('more')\n")
        self.must("other", "commit", "-m", "more")
        self.must("other", "push", "-u", "origin", "side")

    def reset(self):
        shutil.rmtree(self.at, ignore_errors=True)
        shutil.copytree(self.base / "origin", self.at, symlinks=True)

    def check(self, name, place, args, what):
        """After a fault: sound, and the same command works, and the next one."""
        where = {"clone": "d", "init": "new/e"}.get(name, place)
        if (self.at / where / ".mv/oplog").exists():
            self.must(where, "fsck")
        again = self.run(place, args)
        done_before = re.search("already|nothing to|a merge is not finished", again.stderr)
        if again.returncode and not done_before:
            raise AssertionError(f"{name} again after {what}: {again.stderr}")
        self.put(f"{where}/next.txt", what)
        self.must(where, "commit", "-m", "next")
        self.must(where, "fsck")


def share(total, work, binary, base):
    """Works on all cores until `total` points are done; each core has a place of its own."""
    cores = os.cpu_count() or 2
    with ThreadPoolExecutor(cores) as pool:
        hands = [pool.submit(work, Place(binary, Path(base) / str(i)), i, cores, total // cores + 1) for i in range(cores)]
        return [h.result() for h in hands]


def inject(place, core, cores, wanted, calls, action):
    """Injects a fault into every Nth system call of every command; how many, and what was wrong."""
    done, wrong, seen = 0, [], set()
    trace = place.base / "trace"
    # Threads make every round another one, although the numbers are the same.
    while done < wanted:
        before = done
        for name, where, args in place.commands:
            when = core + 1
            while done < wanted:
                place.reset()
                told = place.run(
                    where,
                    args,
                    ["strace", "-f", "-qq", "-o", str(trace), "-e", f"trace={calls}", "-e", f"inject={calls}:{action}:when={when}"],
                )
                # The command no longer gets that far.
                killed = action.startswith("signal") and told.returncode != 0
                if not killed and "INJECTED" not in trace.read_text(errors="replace"):
                    break
                seen.add((name, when))
                try:
                    place.check(name, where, args, f"{action} at call {when}")
                except AssertionError as e:
                    wrong.append(str(e))
                done += 1
                when += cores
        if done == before:
            break
    return done, wrong, seen


def injected(part, what, options, total, calls, action):
    need("strace")
    binary = built("bin", "modelv", "build", PROFILE, "-p", "modelv-cli")
    start = time.monotonic()
    with tempfile.TemporaryDirectory(dir=memory()) as base:
        found = share(total, lambda p, i, n, w: inject(p, i, n, w, calls, action), binary, base)
    points, wrong = sum(f[0] for f in found), [w for f in found for w in f[1]]
    distinct = len(set().union(*(f[2] for f in found)))
    row(part, what, f"{points} points ({distinct} distinct), {len(wrong)} wrong, {time.monotonic() - start:.0f} s", not wrong)
    for text in wrong[:10]:
        print("   ", text.strip())


def kills(options):
    injected("kills", "kill -9 at the Nth system call", options, options.kills, CALLS, "signal=KILL")


def reads(options):
    total = max(options.kills // 10, 100)
    injected("reads", "EIO from the Nth reading system call", options, total, READS, "error=EIO")
    injected("reads", "EIO from the Nth writing system call", options, total, CALLS.replace(",flock,fcntl", ""), "error=EIO")


def memory():
    return "/dev/shm" if os.path.isdir("/dev/shm") else None


def mounted(kind, options, where):
    subprocess.run(["mount", "-t", kind, *options, str(where)], check=True)


def room(_):
    """No room and read-only, for real: a tmpfs of 1 MiB."""
    need("mount", "umount")
    binary = built("bin", "modelv", "build", PROFILE, "-p", "modelv-cli")
    wrong = []
    with tempfile.TemporaryDirectory() as base:
        where = Path(base) / "small"
        where.mkdir()
        mounted("tmpfs", ["-o", "size=1m", "tmpfs"], where)
        try:
            place = Place.__new__(Place)
            place.binary, place.base, place.at = binary, where, where
            place.env = {"PATH": os.environ["PATH"], "HOME": base, "MODELV_AUTHOR_NAME": "Ada", "MODELV_AUTHOR_EMAIL": "a@b.c"}
            place.must("", "init", "a")
            place.put("a/modelv.toml", '[env]\ncapture = "none"\n')
            place.must("a", "commit", "-m", "first")
            weights = os.urandom(700 << 10)
            (where / "a/w.bin").write_bytes(weights)
            for _ in range(5):
                if place.run("a", ["commit", "-m", "too large"]).returncode == 0:
                    wrong.append("a commit without room succeeded")
            if (where / "a/w.bin").read_bytes() != weights:
                wrong.append("the user's file changed")
            place.must("a", "fsck")
            os.unlink(where / "a/w.bin")
            place.put("a/small.txt", "small")
            place.must("a", "commit", "-m", "small")
            subprocess.run(["mount", "-o", "remount,ro", str(where)], check=True)
            for args in [["fsck"], ["log"], ["status"]]:
                if place.run("a", args).returncode:
                    wrong.append(f"{args[0]} fails on a read-only file system")
            if place.run("a", ["branch", "x"]).returncode == 0:
                wrong.append("a write succeeded on a read-only file system")
            subprocess.run(["mount", "-o", "remount,rw", str(where)], check=True)
            place.must("a", "branch", "x")
            place.must("a", "fsck")
        except AssertionError as e:
            wrong.append(str(e))
        finally:
            subprocess.run(["umount", str(where)], check=True)
    row("room", "1 MiB of room; read-only", f"{len(wrong)} wrong", not wrong)
    for text in wrong:
        print("   ", text)


class Cuts:
    """A file system on a loop device, whose power is cut while a writer works on it."""

    def __init__(self, kind, base, writer):
        self.kind, self.writer = kind, writer
        self.image, self.where = Path(base) / f"{kind}.img", Path(base) / kind
        self.where.mkdir()
        self.promised, self.lost, self.broken, self.acked, self.cuts = {}, 0, [], 0, 0

    def format(self):
        with open(self.image, "wb") as image:
            image.truncate(320 << 20)
        make = {"ext4": ["mkfs.ext4", "-q", "-F"], "xfs": ["mkfs.xfs", "-q", "-f"]}[self.kind]
        subprocess.run([*make, str(self.image)], check=True)
        self.promised = {}

    def cut(self, skip=None):
        """One power cut. What was acknowledged before it must be there the next time."""
        mounted(self.kind, ["-o", "loop", str(self.image)], self.where)
        env = {**os.environ, **({"MODELV_TEST_SKIP_SYNC": skip} if skip else {})}
        worker = subprocess.Popen(
            [self.writer, str(self.where / "repo")], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env, bufsize=0
        )
        first = worker.stdout.readline().decode()
        self.judge(first)
        handle = os.open(self.where, os.O_RDONLY)
        time.sleep(random.uniform(0, WINDOW))
        # A sync that is in flight when the power goes may still return: only what is in the pipe
        # by now was acknowledged before.
        os.set_blocking(worker.stdout.fileno(), False)
        told = worker.stdout.read() or b""
        fcntl.ioctl(handle, SHUTDOWN, struct.pack("I", random.choice(FLAGS)))
        os.close(handle)
        for line in told.decode().splitlines(keepends=True):
            parts = line.split()
            if line.endswith("\n") and len(parts) == 3 and parts[0] == "done":
                self.promised[parts[2]] = int(parts[1])
                self.acked += 1
        worker.kill()
        worker.wait()
        subprocess.run(["umount", str(self.where)], check=True)
        self.cuts += 1

    def judge(self, line):
        if not line.startswith("holds"):
            self.broken.append(line.strip() or "the writer could not begin")
            return
        held = set(line.split()[2:])
        self.lost += sum(1 for commit in self.promised if commit not in held)


def run_cuts(kind, count, base, writer, skip=None, stop=lambda c: False):
    cuts = Cuts(kind, base, writer)
    try:
        while cuts.cuts < count and not stop(cuts):
            # A short history is checked fast.
            if cuts.cuts % 40 == 0 or cuts.broken or cuts.lost:
                cuts.format()
            cuts.cut(skip)
    finally:
        if os.path.ismount(cuts.where):
            subprocess.run(["umount", str(cuts.where)], check=False)
        shutil.rmtree(cuts.where, ignore_errors=True)
    return cuts


def cuts(options):
    need("mount", "umount", "mkfs.ext4", "mkfs.xfs")
    if os.geteuid():
        sys.exit("error: loop mounts need root")
    writer = built("example", "committer", "build", PROFILE, "-p", "modelv-repo", "--example", "committer")
    for kind in ["ext4", "xfs"]:
        with tempfile.TemporaryDirectory(dir=memory()) as base:
            start = time.monotonic()
            done = run_cuts(kind, options.cuts, base, writer)
            figure = f"{done.cuts} cuts, {done.acked} acknowledged, {done.lost} lost, {len(done.broken)} broken"
            ok = not done.lost and not done.broken and done.acked > done.cuts // 4
            row("cuts", f"power cuts on {kind}", f"{figure}, {time.monotonic() - start:.0f} s", ok)
            for text in done.broken[:5]:
                print("   ", text)
            for skip, what in [(".pack", "packs"), ("oplog", "the log")]:
                bad = run_cuts(kind, 50, base, writer, skip, lambda c: c.lost or c.broken)
                figure = f"found after {bad.cuts} cuts ({bad.lost} lost, {len(bad.broken)} broken)"
                row("cuts", f"{kind}: {what} not synced", figure, bool(bad.lost or bad.broken))


def main():
    parts = {"states": states, "flips": flips, "errors": errors, "kills": kills, "reads": reads, "room": room, "cuts": cuts}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="*", choices=[*parts, []], help="all when none is named")
    parser.add_argument("--states", type=int, default=200_000)
    parser.add_argument("--flips", type=int, default=1 << 40, help="bits, spread evenly; all when not given")
    parser.add_argument("--kills", type=int, default=10_000)
    parser.add_argument("--cuts", type=int, default=5_000)
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in options.part or parts:
        parts[name](options)
    failed = [r for r in ROWS if r[3] != "ok"]
    print(f"\n{len(ROWS)} rows, {len(failed)} failed")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
