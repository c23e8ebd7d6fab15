#!/usr/bin/env python3
"""Bad input in full size, through the real binary: 1 GB of JSON, a million keys, nesting 100,000 deep,
a zip bomb, two tables of a gigabyte. Each is committed, compared and merged by a process that may
write to 1 GiB of memory, and ends with a word instead of a crash.

    tests/bad_input.py [MODELV]        (default: target/release/modelv; needs 12 GB of room, prlimit)
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARY = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else ROOT / "target/release/modelv")
MEMORY = 1 << 30
GIGABYTE = 1_000_000_000


def run(folder, *args, want=(0,)):
    """Runs a command in bounded memory; its output and what it says must be words."""
    limited = ["prlimit", f"--data={MEMORY}", "--core=0", BINARY, *args]
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "MODELV_AUTHOR_NAME": "Ada", "MODELV_AUTHOR_EMAIL": "a@b.c"}
    done = subprocess.run(limited, cwd=folder, env=env, capture_output=True, text=True)
    said = done.stdout + done.stderr
    if done.returncode not in want or "panicked" in said:
        sys.exit(f"error: `{' '.join(args)}` came to {done.returncode}:\n{said[-2000:]}")
    return said


def big_json(path, value):
    with open(path, "w") as out:
        out.write('{"first": %d, "list": [\n' % value)
        line = '{"name": "row", "numbers": [1, 2, 3, 4.5]},\n' * 20000
        for _ in range(GIGABYTE // len(line)):
            out.write(line)
        out.write("{}]}\n")


def big_csv(path, changed):
    with open(path, "w") as out:
        out.write("id,text\n")
        for i in range(GIGABYTE // 40):
            out.write(f"{i},{'changed' if changed and i % 10000 == 5 else 'the same as before'} {i}\n")


def keys(path, value):
    path.write_text("{\n" + ",\n".join(f'  "key{i}": {value if i == 7 else i}' for i in range(1_000_000)) + "\n}\n")


def nested(path, value):
    path.write_text(f'{{"v": {value}, "a": {"[" * 100_000}{"]" * 100_000}}}\n')


def bomb(path, value):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("x.npy", bytes([value]) * GIGABYTE)


CASES = {"big.json": big_json, "keys.json": keys, "nested.json": nested, "bomb.npz": bomb, "big.csv": big_csv}


def check(name, write, folder):
    path = folder / name
    run(folder, "init")
    (folder / "modelv.toml").write_text('[env]\ncapture = "none"\n[ingredients]\ndata = ["*.json", "*.npz", "*.csv"]\n')
    write(path, 0)
    run(folder, "commit", "-m", "one")
    run(folder, "branch", "other")
    write(path, 1)
    said = run(folder, "diff")
    run(folder, "commit", "-m", "two")
    run(folder, "switch", "other")
    write(path, 2)
    run(folder, "commit", "-m", "three")
    # Both changed it: merged inside, or a conflict; never a crash, never a silent loss.
    run(folder, "merge", "main", want=(0, 3))
    run(folder, "merge", "--abort", want=(0, 1))
    run(folder, "fsck")
    print(f"{name}: {said.strip().splitlines()[0][:150]}", flush=True)


def main():
    for name, write in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            check(name, write, pathlib.Path(folder))


if __name__ == "__main__":
    main()
