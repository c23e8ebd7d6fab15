import json, os, site, sys, sysconfig
v = sys.version_info
suffix = {"alpha": "a", "beta": "b", "candidate": "rc"}.get(v.releaselevel)
paths = sysconfig.get_paths()
base = [paths["purelib"], paths["platlib"]]
base += [p for p in sys.path if p.endswith(("site-packages", "dist-packages"))]

def is_installed_into(folder):
    try:
        return any(name.endswith(".dist-info") for name in os.listdir(folder))
    except OSError:
        return False

# What this session adds: it was started in isolation, so that nothing of the session runs here.
added = []
if sys.argv[1:] == ["session"]:
    added = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if os.path.isabs(p)]
    own = sys.prefix == sys.base_prefix
    try:
        with open(os.path.join(sys.prefix, "pyvenv.cfg")) as f:
            own = own or "include-system-site-packages = true" in f.read().lower()
    except OSError:
        pass
    if own and not os.environ.get("PYTHONNOUSERSITE"):
        added.append(site.getusersitepackages())
sites = [p for p in added if is_installed_into(p)] + base
print(json.dumps({
    "implementation": sys.implementation.name,
    "version": "%d.%d.%d" % v[:3] + ("%s%d" % (suffix, v.serial) if suffix else ""),
    "abi": "%s%d%d%s" % ({"cpython": "cp", "pypy": "pp"}.get(sys.implementation.name, sys.implementation.name), v[0], v[1], getattr(sys, "abiflags", "")),
    "build": " ".join(sys.version.split()),
    "prefix": sys.base_prefix,
    "added": added,
    "sites": sorted(set(sites), key=sites.index),
}))
