#!/usr/bin/env python3
"""Reads repositories from the pages of spec/ alone and checks every byte.

    check.py [REPOSITORY...]     without one: the vectors and repositories of spec/vectors

Ends with status 1, the broken thing and its rule when something is not as the pages say.
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import vectors  # noqa: E402
from canon import Refused  # noqa: E402
from repository import Repository  # noqa: E402

VECTORS = Path(__file__).resolve().parent.parent / "vectors"


def check_repository(place):
    """None, or what is wrong."""
    root = place / ".mv" if (place / ".mv").is_dir() else place
    try:
        print("%s: sound: %s" % (place.name or place, Repository(root).check()))
    except Refused as e:
        return "%s: breaks %s" % (place, e)
    except OSError as e:
        return "%s: %s" % (place, e)
    return None


def main():
    places = [Path(p) for p in sys.argv[1:]]
    problems = []
    if not places:
        count, problems = vectors.check_blake3(VECTORS)
        valid, hostile, more = vectors.check_all(VECTORS)
        problems += more
        print("%d vectors of BLAKE3, %d valid vectors, %d hostile ones" % (count, valid, hostile))
        places = sorted(p.parent for p in VECTORS.glob("*/oplog") if p.is_file())
    problems += filter(None, map(check_repository, places))
    for problem in problems:
        print("error: %s" % problem, file=sys.stderr)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
