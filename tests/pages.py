#!/usr/bin/env python3
"""Looks at the reports in a real browser.

    tests/pages.py [--binary PATH] [--keep DIR] [PAGE]...

Makes a repository in which everything differs, renders `diff --html` and `runs compare --html` at
widths of 1280 and 400, light and dark, and checks that nothing is logged, that the expected rows are
visible, that the page does not scroll sideways, and that no request leaves it; of other pages, that nothing
in them runs or loads. `--keep` has the pictures. `cargo test` runs it. Needs chromium-headless-shell (Debian: `apt-get install chromium-headless-shell`) or chromium.
"""

import argparse, base64, json, os, shutil, struct, subprocess, sys, tempfile, zlib
from pathlib import Path


class Browser:
    """A browser that is told what to do through pipes 3 and 4 (DevTools protocol)."""

    def __init__(self, program, home):
        to_browser, self.to = os.pipe()
        self.back, from_browser = os.pipe()

        def pipes():
            a, b = os.dup(to_browser), os.dup(from_browser)
            os.dup2(a, 3), os.dup2(b, 4)

        self.process = subprocess.Popen(
            [program, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", f"--user-data-dir={home}"],
            preexec_fn=pipes, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_browser), os.close(from_browser)
        self.number, self.rest, self.events = 0, b"", []
        target = self("Target.createTarget", {"url": "about:blank"})["targetId"]
        self.session = self("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]

    session = None

    def read(self):
        while b"\0" not in self.rest:
            got = os.read(self.back, 1 << 16)
            if not got:
                sys.exit("error: the browser has ended")
            self.rest += got
        message, self.rest = self.rest.split(b"\0", 1)
        return json.loads(message)

    def __call__(self, method, params=None):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params or {}}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.read()
            if answer.get("id") == self.number:
                assert "error" not in answer, (method, answer)
                return answer["result"]
            self.events.append(answer)

    def open(self, url):
        self.events.clear()
        self("Page.navigate", {"url": url})
        while not any(e["method"] == "Page.loadEventFired" for e in self.events):
            self.events.append(self.read())

    def ask(self, script):
        return self("Runtime.evaluate", {"expression": script, "returnByValue": True})["result"].get("value")


VISIBLE = """(() => [...document.querySelectorAll('th,td,h2,p,summary,title,li,caption,figcaption')]
  .filter(e => { const r = e.getBoundingClientRect(); return r.width > 0 && r.height > 0 && r.left < innerWidth })
  .map(e => e.textContent.trim()))()"""


HARMLESS = """(() => [...document.querySelectorAll('*')].flatMap(e => [...e.attributes].map(a => [e.localName, a.name, a.value]))
  .filter(([tag, name, value]) => name.startsWith('on') || ['script', 'iframe', 'object', 'embed', 'link', 'base', 'form', 'a'].includes(tag)
    || (/^(src|href|xlink:href|srcset|style)$/.test(name) && !/^data:image[/](png|jpeg|gif|webp|bmp);base64,/.test(value)))
  .concat([...document.querySelectorAll('script,iframe,object,embed,link,base,form,a')].map(e => e.outerHTML)))()"""


def look(browser, page, keep, expected):
    for width in (1280, 400):
        for scheme in ("light", "dark"):
            browser("Emulation.setDeviceMetricsOverride", {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False})
            browser("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
            browser.open(page.as_uri())
            seen = browser.ask(VISIBLE)
            name = f"{page.stem}-{width}-{scheme}"
            harm = browser.ask(HARMLESS)
            assert harm == [], f"{name}: active content: {harm}"
            missing = [text for text in expected if not any(text in cell for cell in seen)]
            assert not missing, f"{name}: not visible: {missing}"
            wide = browser.ask("document.documentElement.scrollWidth - innerWidth")
            assert wide <= 0, f"{name}: scrolls sideways by {wide}"
            bad = [e for e in browser.events if e["method"] in ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled")]
            assert not bad, f"{name}: logged: {bad}"
            asked = [e["params"]["request"]["url"] for e in browser.events if e["method"] == "Network.requestWillBeSent"]
            assert all(u.startswith(("file:", "data:")) for u in asked), f"{name}: asked for {asked}"
            picture = browser("Page.captureScreenshot", {"captureBeyondViewport": True})["data"]
            (keep / f"{name}.png").write_bytes(base64.b64decode(picture))


def png(red, green, blue):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = (b"\0" + bytes([red, green, blue]) * 64) * 64
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def safetensors(scale):
    names = [f"layers.{i}.weight" for i in range(6)]
    header, data = {}, b""
    for i, name in enumerate(names):
        values = [((k * 37 + i) % 101 - 50) / 50 * (1 + scale * 10.0 ** -i) for k in range(256)]
        raw = struct.pack("<256f", *values)
        header[name] = {"dtype": "F32", "shape": [16, 16], "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def fill(root, n):
    def put(path, content):
        full = root / path
        full.parent.mkdir(parents=True, exist_ok=True)
        full.write_bytes(content if isinstance(content, bytes) else content.encode())
    body = "".join(f"    layer_{i} = make(width={i * 8}, name='layer {i}')\n" for i in range(30))
    put("modelv.toml", "[env]\ncapture = \"none\"\n")
    put("train.py", f"import os\n\n\ndef build(rate):\n{body.replace('88', str(88 * n))}    return rate * {n}.0  # a rather long comment that says why the rate is what it is, and goes on for a while\n")
    put("params.toml", f"[train]\nlearning_rate = 0.{n}\nseed = 7\n" + ("warm_up = true\n" if n > 1 else ""))
    put("requirements.txt", f"numpy==1.2{n}.0\nscipy==1.13.0\n" + ("torch==2.4.0\n" if n > 1 else ""))
    put("data/train.csv", "id,text,label\n" + "".join(f"{i},some text {i * n if i % 7 == 0 else i},{i % 2}\n" for i in range(20 + n)))
    put("analysis.ipynb", json.dumps({"cells": [{"cell_type": "code", "id": "load", "metadata": {}, "outputs": [], "execution_count": n, "source": [f"x = {n}\n", "y = 2"]}], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    put("figures/curve.png", png(40 * n, 90, 200))
    put("models/net.safetensors", safetensors(0.0 if n == 1 else 0.5))
    course = "".join(json.dumps({"name": name, "step": i, "value": value, "time": 1.0}) + "\n"
                     for i in range(50) for name, value in (("loss", 2.0 / (1 + i * n * 0.1)), ("eval.f1", 1 - 0.8 / (1 + i * 0.2 * n))))
    put("course.jsonl", course)
    put("run.sh", "cat course.jsonl >> $MODELV_RUN/series.jsonl; echo '{\"f1\": 0.%d, \"loss\": 0.%d}' > metrics.json\n" % (60 + 10 * n, 50 - 10 * n))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", default=str(Path(__file__).resolve().parent.parent / "target/debug/modelv"))
    parser.add_argument("--keep")
    parser.add_argument("pages", nargs="*", type=Path)
    options = parser.parse_args()
    program = next((p for p in map(shutil.which, ("chromium-headless-shell", "chromium", "chrome")) if p), None)
    if not program:
        sys.exit("error: no browser to look at the pages with: `apt-get install chromium-headless-shell`, as tests/all does")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        root, keep = folder / "repo", Path(options.keep or folder / "pictures").resolve()
        root.mkdir(), keep.mkdir(parents=True, exist_ok=True)
        environ = dict(os.environ, MODELV_AUTHOR_NAME="Ada Lovelace", MODELV_AUTHOR_EMAIL="ada@example.org", HOME=str(folder))
        def mv(*args):
            subprocess.run([options.binary, *args], cwd=root, env=environ, check=True, stdout=subprocess.DEVNULL)
        mv("init")
        for n in (1, 2):
            fill(root, n)
            mv("run", "-m", f"train it, round {n}", "--", "sh", "run.sh")
        mv("diff", "HEAD~1", "HEAD", "--html", str(keep / "diff.html"))
        mv("runs", "compare", "HEAD~1", "HEAD", "--html", str(keep / "runs.html"))
        browser = Browser(program, folder / "browser")
        for domain in ("Page", "Log", "Runtime", "Network"):
            browser(f"{domain}.enable")
        look(browser, keep / "diff.html", keep, ["train.learning_rate", "numpy", "Ada Lovelace", "f1", "better", "def build(rate):",
             "layers.0.weight", "F32 [16, 16]", "load", "rows by id", "Configuration", "figures/curve.png",
             "after: PNG 64 × 64", "shapes 0 of 63 differ"])
        look(browser, keep / "runs.html", keep, ["train.learning_rate", "differs", "finished", "f1"])
        assert browser.ask("document.querySelectorAll('svg.chart path').length") == 4
        for page in options.pages:
            look(browser, page.resolve(), keep, [])
        browser.process.terminate()
        browser.process.wait()
    print("the pages are as they should be, at both widths, light and dark")


main()
