"""What nbdime makes of notebooks."""

import json
import sys

import nbformat
from nbdime.merging.notebooks import decide_notebook_merge
from nbdime.merging.decisions import apply_decisions

answers = []
for world in json.load(open(sys.argv[1])):
    base, ours, theirs = (nbformat.from_dict(book) for book in world)
    decisions = decide_notebook_merge(base, ours, theirs)
    merged = apply_decisions(base, decisions)
    answers.append({"merged": merged, "open": any(d.conflict for d in decisions)})
json.dump(answers, sys.stdout)
