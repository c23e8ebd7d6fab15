"""Vendored wheels (wheels.md): the commit, and every file of every wheel."""
import base64
import csv
import hashlib
import io
import re
import zipfile

import tree
from canon import derived_id, need

INSTALLER = ("INSTALLER", "REQUESTED", "RECORD", "direct_url.json", "uv_cache.json", "uv_build.json")
SIGNATURES = ("/RECORD", "/RECORD.jws", "/RECORD.p7s")


def normal(name):
    return re.sub("[-_.]+", "-", name.strip()).lower()


def check(store, name, key):
    """WHEELS-1 of the commit that the ref `name` names, then every wheel."""
    commit = store.object("commit", key)
    env = commit["recipe"]["env"]
    need(name == "refs/wheels/" + env.hex(), "WHEELS-1", "%s names another environment" % name)
    recipe, model = commit["recipe"], commit["model"]
    for part in ("code", "data", "config"):
        need(not tree.directory(store.load_node, recipe[part]), "WHEELS-1", "wheels with %s" % part)
    ids = b"".join(recipe[part] for part in ("code", "data", "config", "env"))
    own = derived_id("recipe", b"MODELV\3\1" + ids)
    need(model and model["recipe"] == own, "WHEELS-1", "wheels of another recipe")
    need(not commit["parents"] and not commit["runs"], "WHEELS-1", "wheels with parents or runs")
    nobody = {"name": "modelv", "email": ""}
    need(commit["author"] == nobody and commit["committer"] == nobody, "WHEELS-1", "wheels of somebody")
    need(set(commit["time"].values()) == {0}, "WHEELS-1", "wheels of some time")
    need(commit["message"] == "wheels of environment " + env.hex()[:12], "WHEELS-1", "another message")
    need(dict(commit["extra"]) == {"wheels": env.hex()}, "WHEELS-1", "other facts")
    packages = {p["name"]: p for p in store.object("env", env)["packages"]}
    for entry in tree.directory(store.load_node, model["tree"]):
        file = entry["name"].decode()
        parts = file[:-4].split("-")
        need(file.endswith(".whl") and len(parts) in (5, 6), "WHEELS-1", "%s is no wheel" % file)
        package = packages.get(normal(parts[0]))
        need(package, "WHEELS-1", "%s is of no package" % file)
        same = parts[1].lower().replace("_", "-") == package["version"].lower().replace("_", "-")
        need(same, "WHEELS-1", "%s is another version" % file)
        wheel(file, store.content(entry["id"]), package)


def wheel(file, data, package):
    """WHEELS-2 to WHEELS-4."""
    archive = zipfile.ZipFile(io.BytesIO(data))
    files = [n for n in archive.namelist() if not n.endswith("/")]
    info = [n[:-7] for n in files if re.fullmatch(r"[^/]+\.dist-info/RECORD", n)]
    need(len(info) == 1, "WHEELS-2", "%s has no RECORD" % file)
    text = archive.read(info[0] + "/RECORD").decode()
    rows = {row[0]: row[1] for row in csv.reader(text.splitlines())}
    for name in files:
        if not name.endswith(SIGNATURES):
            found = base64.urlsafe_b64encode(hashlib.sha256(archive.read(name)).digest()).decode()
            need(rows.get(name, "").rstrip("=") == "sha256=" + found.rstrip("="), "WHEELS-2", "%s of %s" % (name, file))
    for name, found in rows.items():
        need(not found or name in files, "WHEELS-2", "%s is not in %s" % (name, file))
    if package["record_sha256"]:
        need(record_sha256(text, info[0]) == package["record_sha256"], "WHEELS-3", "%s holds other files" % file)
    elif package["archive_sha256"]:
        need(hashlib.sha256(data).digest() == package["archive_sha256"], "WHEELS-4", "%s is another file" % file)


def record_sha256(text, info):
    """As in an environment document, of a wheel."""
    kept = []
    data = info[:-len("dist-info")] + "data/"
    for line in text.splitlines():
        quote, line = ('"', line[1:]) if line.startswith('"') else ("", line)
        path, found = line.rsplit(",", 2)[:2]
        if path.startswith(data):
            scheme, _, path = path[len(data):].partition("/")
            if scheme not in ("purelib", "platlib"):
                continue
        own = path[len(info) + 1:] if path.startswith(info + "/") else None
        skip = own in INSTALLER or path.startswith("../") or path.endswith(".pyc")
        if found and not skip:
            kept.append((quote + path, found))
    rows = "".join("%s,%s\n" % row for row in sorted(kept, key=lambda r: (r[0].encode(), r[1].encode())))
    return hashlib.sha256(rows.encode()).digest()
