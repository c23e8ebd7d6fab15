import json, sys, sysconfig
v = sys.version_info
suffix = {"alpha": "a", "beta": "b", "candidate": "rc"}.get(v.releaselevel)
paths = sysconfig.get_paths()
base = [paths["purelib"], paths["platlib"]]
sites = base + [p for p in sys.path if p.endswith(("site-packages", "dist-packages"))]
print(json.dumps({
    "implementation": sys.implementation.name,
    "version": "%d.%d.%d" % v[:3] + ("%s%d" % (suffix, v.serial) if suffix else ""),
    "abi": "%s%d%d%s" % ({"cpython": "cp", "pypy": "pp"}.get(sys.implementation.name, sys.implementation.name), v[0], v[1], getattr(sys, "abiflags", "")),
    "build": " ".join(sys.version.split()),
    "prefix": sys.base_prefix,
    "sites": sorted(set(sites), key=sites.index),
}))
