"""From files of rated texts to cleaned texts with labels."""
import glob
import hashlib
import html
import re


def clean(text):
    """Lower case, without markup, links and names."""
    text = html.unescape(text)
    text = re.sub(r"https?://\S+", " ", text)
    text = re.sub(r"@\w+", " ", text)
    return " ".join(text.lower().split())


def load(language, threshold):
    """Keys, texts and labels (1 is positive) of one language. The order is that of the files."""
    keys, texts, labels = [], [], []
    for path in sorted(glob.glob("data/%s/*.tsv" % language)):
        with open(path, encoding="utf-8") as file:
            for line in file:
                key, rating, text = line.rstrip("\n").split("\t", 2)
                if abs(float(rating)) > threshold:
                    keys.append("%s/%s" % (language, key))
                    texts.append(clean(text))
                    labels.append(int(float(rating) > 0))
    return keys, texts, labels


def is_test(key, share):
    """Decided by the key alone, so that a text never changes sides, however it is cleaned."""
    digest = hashlib.sha256(key.encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32 < share
