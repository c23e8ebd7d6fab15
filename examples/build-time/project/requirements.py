"""Which packages a `requirements.txt` asks for.

Names are in the normal form of PEP 503 and are compared whole: `torchvision` is not `torch`, and `Foo_Bar` is
`foo-bar`. Versions, extras and markers are left away: what is asked for under a condition may be there.
"""
import json
import re

NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def name_of(line):
    """The package of one line; None where it names none."""
    line = re.split(r"(?:^|\s)#", line, maxsplit=1)[0].strip()
    if line.startswith("-e ") or line.startswith("--editable"):
        line = line.split(None, 1)[-1].split("=", 1)[-1].strip()
    if not line or line.startswith("-"):
        return None
    egg = re.search(r"[#&]egg=([^&\[]+)", line)
    if egg:
        return normal(egg.group(1))
    if "://" in line and not re.match(r"[A-Za-z0-9._\[\], -]+@", line):
        path = re.split(r"[#?]", line.split("://", 1)[1])[0].rstrip("/")
        last = path.rsplit("/", 1)[-1].split("@")[0]
        if last.endswith(".whl"):
            return normal(last.split("-")[0])
        return normal(re.sub(r"\.git$|(-[0-9][^-]*)?\.(tar\.gz|zip)$", "", last)) or None
    found = NAME.match(line)
    return normal(found.group()) if found else None


def packages(text):
    """Names in a `requirements.txt`, each once, sorted. Lines that go on after a `\\` are one."""
    lines = re.sub(r"\\\r?\n", " ", text or "").splitlines()
    return sorted({name for name in map(name_of, lines) if name})


def system_packages(text):
    """Names in a JSON list as text; nothing, `None` and blanks are an empty one."""
    if text is None or not str(text).strip():
        return []
    return sorted({str(name).strip().lower() for name in json.loads(text)})
