"""Trains the classifier named by params.toml and writes models/ and metrics.json."""
import json
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one order of additions, one result

import numpy as np
from sklearn.linear_model import LogisticRegression

import evaluate
import model
import params
import preprocess


def main():
    p = params.load()
    texts, labels = [], []
    for language in p["data"]["languages"]:
        rows = zip(*preprocess.load(language, p["data"]["threshold"]))
        for key, text, label in rows:
            if not preprocess.is_test(key, p["data"]["test_share"]):
                texts.append(text)
                labels.append(label)
    vectorizer = model.vectorizer(p)
    matrix = vectorizer.fit_transform(texts)
    classifier = LogisticRegression(
        C=p["train"]["c"], max_iter=p["train"]["max_iter"], random_state=p["seed"],
        class_weight="balanced",
    )
    classifier.fit(matrix, labels)
    vocabulary = {word: int(i) for word, i in vectorizer.vocabulary_.items()}
    tensors = {
        "idf": vectorizer.idf_,
        "weights": classifier.coef_[0],
        "bias": np.asarray(classifier.intercept_),
    }
    model.save("models", vocabulary, tensors)
    metrics = evaluate.scores(p)
    metrics["texts"] = len(texts)
    with open("metrics.json", "w") as file:
        json.dump(metrics, file, indent=1, sort_keys=True)
    print("trained on %d texts, %d features" % (len(texts), matrix.shape[1]))


if __name__ == "__main__":
    main()
