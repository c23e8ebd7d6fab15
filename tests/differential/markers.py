"""What packaging says of markers and requirements."""

import json
import sys

from packaging.markers import Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name


def requirement(text):
    try:
        found = Requirement(text)
    except InvalidRequirement:
        return None
    extras = sorted({canonicalize_name(e) for e in found.extras})
    return [canonicalize_name(found.name), extras, found.url, found.marker is not None]


question = json.load(open(sys.argv[1]))
answers = {
    "markers": [[Marker(m).evaluate(e) for e in question["environments"]] for m in question["markers"]],
    "requirements": [requirement(r) for r in question["requirements"]],
}
json.dump(answers, sys.stdout)
