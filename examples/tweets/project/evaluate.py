"""Scores the saved model on the texts it has not seen, language by language."""
import glob
import os

import model
import params
import preprocess


def scores(p):
    classifier = model.Classifier(p)
    out = {}
    for language in sorted(os.path.basename(d) for d in glob.glob("data/*") if os.path.isdir(d)):
        rows = zip(*preprocess.load(language, p["data"]["threshold"]))
        unseen = [(t, l) for key, t, l in rows if preprocess.is_test(key, p["data"]["test_share"])]
        guesses = classifier.scores([t for t, _ in unseen]) > 0.5
        right = sum(int(g) == l for g, (_, l) in zip(guesses, unseen))
        out[language] = {"accuracy": round(right / len(unseen), 4), "texts": len(unseen)}
    return out


if __name__ == "__main__":
    print("language  texts  accuracy")
    for language, score in scores(params.load()).items():
        print("%-8s %6d  %8.4f" % (language, score["texts"], score["accuracy"]))
