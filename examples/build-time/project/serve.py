"""Rows of `requirementsTxt` and `systemPackages` in, `estBuildTimeMs` out."""
import joblib

MODEL = joblib.load("models/model.joblib")


def predict(inputs):
    rows = [inputs] if isinstance(inputs, dict) else inputs
    out = []
    for row, (low, likely, high) in zip(rows, MODEL.intervals(rows)):
        answer = {"estBuildTimeMs": round(likely), "lowMs": round(low), "highMs": round(high)}
        unseen = MODEL.features.unseen(row)
        if unseen:
            answer["unseen"] = unseen
        out.append(answer)
    return out
