"""What decides how long a build takes: the files to be packed, and the names that say what sizes don't."""
from statistics import median

from requirements import packages, system_packages

MIB = 1 << 20
PHYSICAL = ["a build", "wheels", "MiB of wheels", "MiB of files", "thousand files", "MiB of the largest"]


class Sizes:
    """Sizes and demands of the packages that were seen, by name."""

    def __init__(self, rows):
        self.known = {
            r["name"]: (int(r["bytes"]), int(r["unpackedBytes"]), int(r["files"]), r["requires"].split())
            for r in rows
        }
        columns = list(zip(*(k[:3] for k in self.known.values())))
        # What nobody has seen is taken for the one in the middle.
        self.middle = tuple(median(c) for c in columns) + ([],)

    def closure(self, names):
        """The packages with all that they demand."""
        out, open_ = set(), list(names)
        while open_:
            name = open_.pop()
            if name not in out:
                out.add(name)
                open_.extend(self.known.get(name, self.middle)[3])
        return out

    def physical(self, names):
        sizes = [self.known.get(name, self.middle) for name in self.closure(names)]
        unpacked = [s[1] for s in sizes]
        return [
            1.0, len(sizes), sum(s[0] for s in sizes) / MIB, sum(unpacked) / MIB,
            sum(s[2] for s in sizes) / 1000, max(unpacked, default=0) / MIB,
        ]


class Features:
    """Turns rows into numbers. Names count if at least `seen` rows to learn from have them."""

    def __init__(self, sizes, rows, seen):
        self.sizes = sizes
        count = {}
        for row in rows:
            for name in self.names(row):
                count[name] = count.get(name, 0) + 1
        self.columns = sorted(name for name, n in count.items() if n >= seen)

    @staticmethod
    def names(row):
        system = ("system " + name for name in system_packages(row.get("systemPackages")))
        return packages(row["requirementsTxt"]) + sorted(system)

    def physical(self, row):
        return self.sizes.physical(packages(row["requirementsTxt"]))

    def named(self, row):
        has = set(self.names(row))
        return [float(name in has) for name in self.columns]

    def unseen(self, row):
        return [name for name in packages(row["requirementsTxt"]) if name not in self.sizes.known]
