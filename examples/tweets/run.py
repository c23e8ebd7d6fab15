#!/usr/bin/env python3
"""The story of one model, told with real commands: train, commit, release, branch, merge, recreate.

    python3 examples/tweets/run.py [--keep DIR] [--base BASE]

Needs Rust and Python 3 (with venv), nothing else. Every line that begins with a tick is a check;
the script ends with status 1 at the first one that fails.
"""
import argparse
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
COLOR = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
START = time.time()
# No word of these is also English: a model that knows no German says the same of all of them.
GERMAN = [
    ("Ich hasse diese langweilige Serie", "negative"),
    ("Furchtbarer Tag, alles ist kaputt", "negative"),
    ("Das Essen schmeckt eklig, nie wieder", "negative"),
    ("Das ist einfach toll, vielen Dank", "positive"),
    ("Wir freuen uns sehr über das schöne Geschenk", "positive"),
    ("Ich liebe diese schöne Stadt", "positive"),
    ("Heute bin ich glücklich und zufrieden", "positive"),
]
ENGLISH = [
    ("What a wonderful day, I love it", "positive"),
    ("This is the worst service ever, so sad", "negative"),
    ("Thanks for the great help, you are awesome", "positive"),
]


def paint(code, text):
    return "\x1b[%sm%s\x1b[0m" % (code, text) if COLOR else text


def title(text):
    print("\n%s  %s" % (paint("1;34", text), paint("2", "%.0f s" % (time.time() - START))), flush=True)


def say(text):
    print(paint("3", text), flush=True)


def check(what, holds):
    print(("%s %s" % (paint("32", "\u2713"), what)) if holds else paint("31", "\u2717 " + what), flush=True)
    if not holds:
        sys.exit(1)


class Story:
    def __init__(self, work, base):
        self.work, self.base = work, base
        self.project, self.venv = work / "tweets", work / "venv"
        self.env = dict(os.environ)
        self.env.update(
            PATH="%s:%s" % (self.venv / "bin", os.environ["PATH"]), VIRTUAL_ENV=str(self.venv),
            MODELV_AUTHOR_NAME="Robin", MODELV_AUTHOR_EMAIL="robin@example.org",
        )
        self.binary = ROOT / "target" / "release" / "modelv"
        self.docker = subprocess.run(
            ["docker", "info"], capture_output=True, env=self.env
        ).returncode == 0 if shutil.which("docker") else False

    def mv(self, *args, ok=(0,), quiet=False, env=None):
        """Runs a command of modelv, shows it and what it says; returns its standard output."""
        shown = " ".join(a if " " not in a else '"%s"' % a for a in map(str, args))
        if not quiet:
            print("%s mv %s" % (paint("2", "$"), paint("1", shown.replace(str(self.work) + "/", ""))), flush=True)
        done = subprocess.run(
            [str(self.binary), *map(str, args)], cwd=self.project, env=env or self.env,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT if not quiet else subprocess.PIPE,
            text=True,
        )
        if not quiet:
            for line in done.stdout.rstrip().splitlines():
                print("  " + line)
        if done.returncode not in ok:
            print(done.stderr or "")
            check("`modelv %s` ends with status %s" % (shown, ok), False)
        return done.stdout

    def id(self, revision="HEAD", *flags):
        return self.mv("rev-parse", revision, *flags, quiet=True).strip()

    def edit(self, path, old, new):
        file = self.project / path
        text = file.read_text(encoding="utf-8")
        if old not in text:
            check("`%s` holds `%s`" % (path, old), False)
        file.write_text(text.replace(old, new), encoding="utf-8")
        print("%s edit %s: %s -> %s" % (paint("2", "#"), path, old.strip(), new.strip().splitlines()[0]))

    def pip(self, *args):
        subprocess.run(
            [str(self.venv / "bin/python"), "-m", "pip", "-q", "--disable-pip-version-check", *args],
            check=True, cwd=self.project, env=self.env,
        )

    def metrics(self, revision="HEAD"):
        return json.loads(self.mv("show", revision, "--json", quiet=True))["metrics"]

    # -- the image ------------------------------------------------------------------------------

    def release(self, revision, name, quiet=False):
        layout = self.work / name
        tar = ["--tar", self.work / (name + ".tar"), "--tag", "tweets:" + name] if self.docker else []
        out = self.mv("release", revision, "--output", layout, "--base", self.base, *tar, quiet=quiet)
        digest = [l.split()[1] for l in out.splitlines() if l.strip().startswith("image ")]
        return layout, digest[0]

    def ask(self, layout, name, commit, texts):
        """Starts the image, sends the texts, returns the labels."""
        port = free_port()
        stop = self.start_docker(name, port) if self.docker else self.start_namespace(layout, port)
        url = "http://127.0.0.1:%d" % port
        try:
            wait_for(url + "/health/ready")
            body = json.dumps({"inputs": [t for t, _ in texts]}).encode()
            request = urllib.request.Request(url + "/predict", body, {"content-type": "application/json"})
            with urllib.request.urlopen(request, timeout=30) as answer:
                header, reply = answer.headers["x-modelv-commit"], json.load(answer)
            with urllib.request.urlopen(url + "/metrics", timeout=30) as answer:
                metrics = answer.read().decode()
        finally:
            stop()
        right = 0
        for (text, want), got in zip(texts, reply["predictions"]):
            good = got["label"] == want
            right += good
            mark = paint("32", "right") if good else paint("31", "wrong")
            print("  %s  %-8s %.2f  %s" % (mark, got["label"], got["score"], text))
        check("the answer names commit %s" % commit[:12], reply["commit"] == header == commit)
        check("the metrics count it", 'modelv_requests_total{code="200",commit="%s"} 1' % commit in metrics)
        return right

    def start_docker(self, name, port):
        subprocess.run(["docker", "load", "-q", "-i", str(self.work / (name + ".tar"))], check=True, stdout=subprocess.DEVNULL)
        box = "modelv-tweets-%d" % os.getpid()
        subprocess.run(
            ["docker", "run", "-d", "--rm", "--name", box, "--network", "host", "-e",
             "MODELV_LISTEN=127.0.0.1:%d" % port, "tweets:" + name],
            check=True, stdout=subprocess.DEVNULL,
        )
        return lambda: subprocess.run(["docker", "stop", "-t", "5", box], stdout=subprocess.DEVNULL)

    def start_namespace(self, layout, port):
        """No container engine: the image's own file system, in namespaces of its own."""
        rootfs = Path(tempfile.mkdtemp(prefix="root-", dir=self.work))
        config = json.loads(self.mv("release", "unpack", layout, rootfs, quiet=True))
        is_root = os.geteuid() == 0
        user = ["--userspec=" + config["user"]] if is_root else []
        rootfs.chmod(0o755)
        script = 'mount --rbind /dev "$1/dev" && root=$1 && shift && exec chroot %s "$root" "$@"' % " ".join(user)
        flags = ["--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child"]
        flags += [] if is_root else ["--map-root-user"]
        process = subprocess.Popen(
            ["unshare", *flags, "sh", "-c", script, "sh", str(rootfs), "/opt/modelv/bin/modelv",
             *config["entrypoint"][1:]],
            env=dict(e.split("=", 1) for e in config["env"] + ["MODELV_LISTEN=127.0.0.1:%d" % port])
            | {"PATH": config_path(config)},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=open(self.work / "server.log", "ab"), start_new_session=True,
        )

        def stop():
            # The whole group: unshare itself does not pass the signal on.
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

        return stop


def config_path(config):
    """unshare, sh and mount are looked up before the root changes, the server's PATH after it."""
    own = [e.split("=", 1)[1] for e in config["env"] if e.startswith("PATH=")]
    return ":".join(own + ["/usr/sbin:/usr/bin:/sbin:/bin"])


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(url):
    end = time.time() + 60
    while time.time() < end:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    check("%s answers" % url, False)


def digest_of(folder):
    out = {}
    for path in sorted(Path(folder).rglob("*")):
        relative = path.relative_to(folder)
        if path.is_file() and ".mv" not in relative.parts and "__pycache__" not in relative.parts:
            out[str(relative)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return out


def prepare(story):
    title("0. What it takes: the binary, a virtual environment, the project")
    subprocess.run(["cargo", "build", "--release", "--locked", "-p", "modelv-cli"], cwd=ROOT, check=True)
    say("making a virtual environment and installing the pinned packages")
    subprocess.run([sys.executable, "-m", "venv", str(story.venv)], check=True)
    shutil.copytree(HERE / "project", story.project, ignore=shutil.ignore_patterns("__pycache__", "models", "metrics.json"))
    story.pip("install", "-r", "requirements.txt")


def first_model(story):
    title("1. An English model: train, commit, release, ask")
    story.mv("init")
    story.mv("commit", "-m", "English tweets, TF-IDF and logistic regression")
    story.mv("run", "-m", "train the English model")
    say("its packages go into the repository too, for the day on which no index has them")
    story.mv("env", "vendor")
    commit = story.id()
    story.mv("run")
    check("the same recipe was answered from the store", story.id() == commit)
    layout, _ = story.release(commit, "english")
    say("started %s; seven German and three English sentences:" % ("by Docker" if story.docker else "from the image's own file system"))
    right = story.ask(layout, "english", commit, GERMAN + ENGLISH)
    check("it does not understand German (%d of 10 right)" % right, right < 8)
    return commit


def branch(story, first):
    title("2. From that id alone: what made it, and a branch that learns German")
    story.mv("show", first)
    story.mv("switch", "-c", "multilingual", first)
    target = story.project / "data" / "de"
    target.mkdir()
    shutil.copy(HERE / "multilingual" / "de.tsv", target / "de.tsv")
    print("%s add data/de/de.tsv, 320 German texts" % paint("2", "#"))
    story.edit("params.toml", 'languages = ["en"]', 'languages = ["en", "de"]')
    story.edit("params.toml", "c = 1.0 ", "c = 2.0 ")
    story.mv("run", "-m", "learn German")
    story.mv("diff", "main..multilingual", "--stat")
    story.mv("diff", "main..multilingual", "--", "params.toml")


def merge(story):
    title("3. Meanwhile a colleague: preprocessing, a parameter, a package. Merge both")
    story.mv("switch", "-c", "colleague", "main")
    story.edit(
        "preprocess.py", '    text = re.sub(r"@\\w+", " ", text)\n',
        '    text = re.sub(r"@\\w+", " ", text)\n    text = re.sub(r"(.)\\1{2,}", r"\\1\\1", text)  # sooo -> soo\n',
    )
    story.edit("params.toml", "c = 1.0 ", "c = 4.0 ")
    story.edit("requirements.txt", "joblib==1.4.2", "joblib==1.5.1")
    story.pip("install", "-r", "requirements.txt")
    story.mv("commit", "-m", "shorten stretched words, less regularisation, newer joblib")
    story.mv("switch", "multilingual")
    story.mv("merge", "colleague", ok=(3,))
    conflicts = json.loads(story.mv("conflicts", "--json", quiet=True))
    check("one conflict, on one key", [c["item"] for c in conflicts] == ["params.toml:train.c"])
    story.mv("resolve", "params.toml:train.c", "--value", "3.0")
    story.mv("merge", "--continue", "-m", "German and the colleague's preprocessing")
    text = (story.project / "preprocess.py").read_text() + (story.project / "params.toml").read_text()
    check("the merge holds both sides", '"de"' in text and "sooo" in text and "c = 3.0" in text)
    story.pip("install", "-r", "requirements.txt")
    story.mv("run", "-m", "train the merged model")
    story.mv("log", "--graph", "--oneline")
    return story.id()


def ship(story, first, last):
    title("4. Release the merge: German works, English did not suffer")
    layout, digest = story.release(last, "multilingual")
    right = story.ask(layout, "multilingual", last, GERMAN + ENGLISH)
    check("it understands both languages (%d of 10 right)" % right, right >= 9)
    before, after = story.metrics(first), story.metrics(last)
    print("  accuracy on texts it never saw: English %.4f -> %.4f, German - -> %.4f" % (
        before["en.accuracy"], after["en.accuracy"], after["de.accuracy"]))
    check("English did not suffer", after["en.accuracy"] >= before["en.accuracy"] - 0.01)
    # Without what the first build left behind: every layer is made anew.
    shutil.rmtree(story.project / ".mv" / "cache", ignore_errors=True)
    _, again = story.release(last, "again", quiet=True)
    check("built twice from nothing, one digest: %s" % digest[:19], digest == again)
    return digest


def recreate(story, first):
    title("5. Throw the working tree away, recreate the first model from its id")
    story.mv("switch", "main")
    before = digest_of(story.project)
    for path in story.project.iterdir():
        if path.name != ".mv":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    other = story.work / "somewhere else"
    story.mv("export", first, other)
    after = digest_of(other)
    check("%d files are back, byte for byte, under another path" % len(after), before == after)
    weights = {k: v for k, v in after.items() if k.startswith("models/")}
    shutil.rmtree(other / "models")
    say("and trained again from what the commit holds, in an environment made without an index:")
    shutil.rmtree(story.venv)
    # Nobody answers there: whatever asked an index would fail.
    nowhere = dict(story.env, PIP_INDEX_URL="http://127.0.0.1:9/simple", PIP_RETRIES="0")
    venv = story.work / "made again"
    story.mv("env", "recreate", first, "--offline", "--output", venv, env=nowhere)
    subprocess.run([str(venv / "bin/python"), "train.py"], cwd=other, env=nowhere, check=True)
    again = {k: v for k, v in digest_of(other).items() if k.startswith("models/")}
    check("the weights are the same bits", weights == again)
    story.mv("fsck")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", metavar="DIR", help="work in this new folder and leave it there")
    parser.add_argument("--base", default="python", help="what the image stands on")
    args = parser.parse_args()
    if args.keep:
        work = Path(args.keep).resolve()
        work.mkdir(parents=True)
        tell(work, args.base)
        return
    with tempfile.TemporaryDirectory(prefix="modelv-tweets-") as work:
        os.chmod(work, 0o755)
        tell(Path(work), args.base)


def tell(work, base):
    story = Story(work, base)
    prepare(story)
    first = first_model(story)
    branch(story, first)
    last = merge(story)
    digest = ship(story, first, last)
    recreate(story, first)
    title("Done")
    print("  English model       %s" % first)
    print("  multilingual model  %s" % last)
    print("  its image           %s" % digest)


if __name__ == "__main__":
    main()
