"""Figures as outputs of a run: the same one gives the same bytes."""

import os
import unittest

import matplotlib
import modelv as mv
from PIL import Image
from support import TreeCase

matplotlib.use("Agg")
from matplotlib.figure import Figure  # noqa: E402


def curve():
    figure = Figure()
    axes = figure.subplots()
    axes.plot([3, 2, 1], label="loss")
    axes.legend()
    return figure


class Plotly:
    """What plotly's figures answer to; plotly itself is larger than all we test with."""

    def to_plotly_json(self):
        return {}

    def to_json(self):
        return "{}"


class Figures(TreeCase):
    def test_the_same_figure_is_the_same_bytes(self):
        with mv.run() as run:
            for n in (1, 2):
                for ending in ("png", "svg", "pdf"):
                    run.figure(f"models/{n}/loss.{ending}", curve())
        files = {f["path"]: f for f in self.repo.files(run.commit.id)}
        for ending, head in (("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")):
            one, two = (files[f"models/{n}/loss.{ending}"]["id"] for n in (1, 2))
            self.assertEqual(one, two, ending)
            self.assertEqual(mv.read("HEAD", f"models/1/loss.{ending}").read(len(head)), head)

    def test_axes_images_and_others(self):
        with mv.run() as run:
            run.figure("models/axes.png", curve().axes[0])
            run.figure("models/red.jpg", Image.new("RGB", (4, 3), "red"))
            run.figure("models/plot.json", Plotly())
            for wrong in ("text", object()):
                with self.assertRaisesRegex(TypeError, "no figure"):
                    run.figure("models/x.png", wrong)
            with self.assertRaisesRegex(TypeError, r"\.html or \.json"):
                run.figure("models/x.png", Plotly())
            with self.assertRaisesRegex(mv.Error, "not an output"):
                run.figure("loss.png", curve())
            self.assertEqual(sorted(os.listdir("models")), ["axes.png", "plot.json", "red.jpg"])
        with mv.read("HEAD", "models/red.jpg") as f:
            self.assertEqual(Image.open(f).size, (4, 3))


if __name__ == "__main__":
    unittest.main()
