"""Learns from the builds in `data/`, and says how well it does on builds that it has not seen."""
import csv
import json
import os

import joblib
import numpy
from features import Features, Sizes
from model import Model, Names
from sklearn.model_selection import train_test_split

try:
    import tomllib
except ImportError:  # before Python 3.11
    from pip._vendor import tomli as tomllib


def read(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def error(found, times):
    return float(numpy.mean(numpy.abs(numpy.asarray(found) - times)))


def main():
    with open("params.toml", "rb") as file:
        settings = tomllib.load(file)["train"]
    rows, sizes = read("data/builds.csv"), Sizes(read("data/packages.csv"))
    times = numpy.array([float(r[settings["target"]]) for r in rows])
    learn, held, y, held_y = train_test_split(rows, times, test_size=0.25, random_state=settings["seed"])
    fit, aside, fit_y, aside_y = train_test_split(learn, y, test_size=0.25, random_state=settings["seed"])
    # Only rows to learn from decide which names count.
    features = Features(sizes, learn, settings["seen"])
    spread = Model(features, settings).fit(fit, fit_y).calibrate(aside, aside_y).spread
    model = Model(features, settings).fit(learn, y)
    model.spread = spread
    found = model.predict(held)
    slow = held_y >= numpy.quantile(held_y, 0.9)
    inside = [low <= t <= high for (low, _, high), t in zip(model.intervals(held), held_y)]
    names = Names(features, settings).fit(learn, y)
    metrics = {
        "mae_ms": error(found, held_y),
        "mae_of_the_mean_ms": error(numpy.full(len(held), y.mean()), held_y),
        "mae_of_names_ms": error(names.predict(held), held_y),
        "mae_of_the_slowest_tenth_ms": error(found[slow], held_y[slow]),
        "inside_the_interval": float(numpy.mean(inside)),
        "builds": len(rows),
    }
    for name, value in metrics.items():
        print("%-28s %10.3f" % (name, value))
    print("\nthe ten that are worst\n%10s %10s  %s" % ("took ms", "said ms", "asked for"))
    for i in numpy.argsort(-numpy.abs(found - held_y))[:10]:
        print("%10.0f %10.0f  %s" % (held_y[i], found[i], " ".join(held[i]["requirementsTxt"].split())))
    os.makedirs("models", exist_ok=True)
    joblib.dump(model, "models/model.joblib")
    with open("metrics.json", "w", encoding="utf-8") as file:
        json.dump(metrics, file, indent=1)


main()
