"""What the container answers: a label and a score for every text."""
import model
import params
import preprocess

CLASSIFIER = model.Classifier(params.load())


def predict(inputs):
    scores = CLASSIFIER.scores([preprocess.clean(text) for text in inputs])
    return [
        {"label": "positive" if s > 0.5 else "negative", "score": round(float(s), 4)} for s in scores
    ]
