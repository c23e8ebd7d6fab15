"""Checks an InferenceService against the models of KServe's own Python package: which fields its resources have, and
of which type. What is of Kubernetes itself is for other tools.

    python inference_service.py FILE

The package is read, not imported: it would bring all that it serves with.
"""

import ast
import glob
import importlib.util
import os
import re
import sys

import yaml

folder = os.path.join(os.path.dirname(importlib.util.find_spec('kserve').origin), 'models')
known = {}
for path in glob.glob(folder + '/*.py'):
    for node in ast.parse(open(path).read()).body:
        if isinstance(node, ast.ClassDef):
            own = {a.targets[0].id: a.value for a in node.body if isinstance(a, ast.Assign)}
            if 'openapi_types' in own:
                types, names = ast.literal_eval(own['openapi_types']), ast.literal_eval(own['attribute_map'])
                known[node.name] = {names[key]: types[key] for key in types}
checked = set()


def check(value, kind, at):
    inner = re.fullmatch(r'(?:list\[|dict\(str, )(.*)[\])]', kind)
    if inner:
        assert isinstance(value, list if kind.startswith('list') else dict), (at, kind)
        for key, each in (enumerate(value) if isinstance(value, list) else value.items()):
            check(each, inner[1], f'{at}/{key}')
    elif kind in known:
        checked.add(kind)
        for key, each in value.items():
            assert key in known[kind], f'{at}: {kind} has no {key}'
            check(each, known[kind][key], f'{at}/{key}')
    elif kind in ('str', 'int', 'bool', 'float'):
        assert type(value).__name__ == kind, (at, kind, value)
    elif not re.match(r'V1|object|datetime|ResourceQuantity|Knative|IntOrString', kind):
        raise AssertionError(f'{at}: what is {kind}?')


document = yaml.safe_load(open(sys.argv[1]))
check(document, 'V1beta1InferenceService', '')
assert checked >= {'V1beta1InferenceService', 'V1beta1InferenceServiceSpec', 'V1beta1PredictorSpec'}, checked
# It finds what is wrong.
for spec in ({'predictors': {}}, {'predictor': {'minReplicas': '1'}}, {'predictor': {'container': []}}):
    try:
        check({**document, 'spec': spec}, 'V1beta1InferenceService', '')
    except AssertionError:
        continue
    raise SystemExit(f'taken: {spec}')
