"""What packaging says of versions and specifiers, and whether our witnesses are some."""

import json
import sys
from itertools import product

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version


def version(text):
    try:
        return Version(text)
    except InvalidVersion:
        return None


def specifiers(text):
    try:
        return SpecifierSet(text)
    except InvalidSpecifier:
        return None


def holds(spec, found):
    return spec.contains(found, prereleases=True)


GRID = [
    Version(f"{e}{'.'.join(map(str, r))}{tail}")
    for e, r, tail in product(
        ["", "1!"], product(range(5), range(5), range(2)), ["", "a0", "a2", "rc1", "rc9", ".post0", ".post4", ".dev0", "+x"]
    )
]


def together(a, b, said):
    """Whether an answer about two sets is right: a witness, or nothing in the grid."""
    if a is None or b is None or said is None or said is True:
        return True
    if said is False:
        return not any(holds(a, v) and holds(b, v) for v in GRID)
    found = Version(said)
    return holds(a, found) and holds(b, found)


question = json.load(open(sys.argv[1]))
out = []
for (a, b, s, t), said in zip(question["cases"], question["witnesses"]):
    va, vb, ss, st = version(a), version(b), specifiers(s), specifiers(t)
    both = va is not None and vb is not None
    out.append(
        {
            "normal": [v if v is None else str(v) for v in (va, vb)],
            "order": ((va > vb) - (va < vb)) if both else None,
            "valid": ss is not None,
            "holds": holds(ss, va) if ss is not None and va is not None else None,
            "together": together(ss, st, said),
        }
    )
json.dump(out, sys.stdout)
