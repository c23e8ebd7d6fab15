"""The model as two files that are safe to load: weights as safetensors, words as JSON."""
import json
import os
import struct

import numpy as np


def save(folder, vocabulary, tensors):
    os.makedirs(folder, exist_ok=True)
    header, body = {}, b""
    for name in sorted(tensors):
        raw = np.ascontiguousarray(tensors[name], dtype="<f8").tobytes()
        header[name] = {
            "dtype": "F64",
            "shape": list(tensors[name].shape),
            "data_offsets": [len(body), len(body) + len(raw)],
        }
        body += raw
    text = json.dumps(header, sort_keys=True).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(folder, "weights.safetensors"), "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + body)
    with open(os.path.join(folder, "vocabulary.json"), "w", encoding="utf-8") as file:
        json.dump(vocabulary, file, ensure_ascii=False, sort_keys=True)


def load(folder):
    with open(os.path.join(folder, "weights.safetensors"), "rb") as file:
        size = struct.unpack("<Q", file.read(8))[0]
        header, body = json.loads(file.read(size)), file.read()
    tensors = {}
    for name, about in header.items():
        start, end = about["data_offsets"]
        tensors[name] = np.frombuffer(body[start:end], dtype="<f8").reshape(about["shape"])
    with open(os.path.join(folder, "vocabulary.json"), encoding="utf-8") as file:
        return json.load(file), tensors


def vectorizer(params, vocabulary=None):
    from sklearn.feature_extraction.text import TfidfVectorizer

    features = params["features"]
    return TfidfVectorizer(
        ngram_range=(1, features["max_ngram"]),
        min_df=features["min_df"],
        sublinear_tf=True,
        token_pattern=r"[^\W\d_]{2,}|[!?:;)(]+",
        vocabulary=vocabulary,
    )


class Classifier:
    """Scores texts with the saved weights."""

    def __init__(self, params, folder="models"):
        vocabulary, tensors = load(folder)
        self.vectorizer = vectorizer(params, vocabulary)
        self.vectorizer.idf_ = tensors["idf"]
        self.weights, self.bias = tensors["weights"], float(tensors["bias"][0])

    def scores(self, texts):
        """Probability that each cleaned text is positive."""
        z = self.vectorizer.transform(texts) @ self.weights + self.bias
        return 1.0 / (1.0 + np.exp(-z))
