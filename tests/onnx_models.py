"""Models by real tools, and what the reference runtime says to some rows: onnx_models.py FOLDER.

Writes NAME.onnx and NAME.json with `inputs` and `outputs` by their names.
"""

import json
import sys
import warnings

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.ensemble import (ExtraTreesClassifier, GradientBoostingClassifier, GradientBoostingRegressor,
                              RandomForestClassifier, RandomForestRegressor)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Binarizer, MinMaxScaler, Normalizer, OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

warnings.simplefilter("ignore")
folder = sys.argv[1]
rng = np.random.default_rng(7)


def plain(value):
    """Maps of probabilities as rows, arrays as lists."""
    if isinstance(value, list):
        return [list(row.values()) for row in value]
    return value.tolist()


def write(name, model, inputs, truth=None):
    data = model.SerializeToString()
    session = onnxruntime.InferenceSession(data)
    found = session.run(None, inputs)
    names = [o.name for o in session.get_outputs()]
    open(f"{folder}/{name}.onnx", "wb").write(data)
    found = found if truth is None else [found[0], truth, *found[2:]]
    told = {"inputs": {n: v.tolist() for n, v in inputs.items()}, "outputs": {n: plain(v) for n, v in zip(names, found)}}
    json.dump(told, open(f"{folder}/{name}.json", "w"))


def classical():
    x, y = load_iris(return_X_y=True)
    two, yes = load_breast_cancer(return_X_y=True)
    many, target = load_diabetes(return_X_y=True)
    x, two, many = (a.astype(np.float32) for a in (x, two[:, :6], many))
    gaps = x.copy()
    gaps[::7, 1] = np.nan
    words = np.array(["setosa", "versicolor", "virginica"])[y]
    scaled = lambda: make_pipeline(StandardScaler(), LogisticRegression())
    models = {
        "logistic": (scaled(), x, y), "logistic-two": (scaled(), two, yes), "logistic-words": (scaled(), x, words),
        "ridge": (RidgeClassifier(), x, y), "linear": (make_pipeline(MinMaxScaler(), LinearRegression()), many, target),
        "forest": (RandomForestClassifier(12, random_state=1), x, y), "forest-two": (RandomForestClassifier(12, random_state=1), two, yes),
        "forest-words": (ExtraTreesClassifier(5, random_state=1), x, words),
        "forest-numbers": (RandomForestRegressor(12, random_state=1), many, target),
        "boosted": (GradientBoostingClassifier(n_estimators=9, random_state=1), x, y),
        "boosted-two": (GradientBoostingClassifier(n_estimators=9, random_state=1), two, yes),
        "boosted-numbers": (GradientBoostingRegressor(n_estimators=9, random_state=1), many, target),
        "tree-words": (DecisionTreeClassifier(random_state=1), x, words),
        "perceptron": (MLPClassifier((8,), max_iter=80, random_state=1), x, y),
        "perceptron-two": (MLPClassifier((8,), max_iter=80, random_state=1), two, yes),
        "imputed": (make_pipeline(SimpleImputer(), Normalizer(), LogisticRegression()), gaps, y),
        "binary": (make_pipeline(Binarizer(threshold=3.0), LogisticRegression()), x, y),
        "clusters": (KMeans(3, n_init=2, random_state=1), x, y),
    }
    for name, (model, rows, labels) in models.items():
        some = rows[rng.permutation(len(rows))[:24]]
        if name == "imputed":
            some = np.nan_to_num(some, nan=1.5)
        write(name, to_onnx(model.fit(rows, labels), rows[:1]), {"X": some})
    import pandas
    table = pandas.DataFrame({"colour": ["red", "blue", "red", "green"], "size": np.array([1, 2, 3, 4], dtype=np.float32)})
    encode = ColumnTransformer([("colour", OneHotEncoder(handle_unknown="ignore"), ["colour"]), ("size", "passthrough", ["size"])])
    model = make_pipeline(encode, LogisticRegression()).fit(table, [0, 1, 0, 1])
    types = [("colour", StringTensorType([None, 1])), ("size", FloatTensorType([None, 1]))]
    rows = {"colour": np.array([["red"], ["green"], ["violet"]]), "size": np.array([[1.5], [3], [2]], dtype=np.float32)}
    write("table", to_onnx(model, initial_types=types), rows)


def texts():
    """Vectorizers. The case of letters is that of Unicode: of the runtime's own locale not every system has."""
    from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
    some = ["the cat sat on the mat", "a dog ate my homework!", "Élan vital über Straße", "naïve café, façade", "",
            "日本 語 テキスト", "cats and dogs and cats", "I can't even", "   ", "ÀÉ ÎÕ #tag @you http://x.y/z?q=1"]
    labels = [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]
    asked = some + ["The CAT and THE Dog", "STRASSE straße ÜBER", "nothing known", "\t\n", "a" * 300, "語 語 日本"]
    two = [label % 2 for label in labels]
    models = {
        "text-words": (TfidfVectorizer(), labels, {}), "text-two": (TfidfVectorizer(), two, {}),
        "text-counts": (CountVectorizer(binary=True), labels, {}),
        "text-pairs": (TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), labels, {}),
        "text-letters": (TfidfVectorizer(analyzer="char", ngram_range=(1, 3)), labels, {}),
        "text-stop": (TfidfVectorizer(stop_words="english", norm="l1"), labels, {}),
        "text-case": (CountVectorizer(lowercase=False), labels, {}),
        "text-own": (TfidfVectorizer(token_pattern=r"[^ ,.!]+"), labels, {}),
        "text-pattern": (CountVectorizer(token_pattern=r"\b\w\w+\b"), labels, {}),
        "text-parts": (CountVectorizer(token_pattern=r"[^ ,]+"), labels, {"separators": [" ", ","]}),
    }
    for name, (vectorizer, labels, options) in models.items():
        model = make_pipeline(vectorizer, LogisticRegression()).fit(some, labels)
        options = {id(vectorizer): {"locale": "C.UTF-8", **options}}
        made = to_onnx(model, initial_types=[("text", StringTensorType([None]))], options=options)
        write(name, made, {"text": np.array(asked, dtype=object)})
    import pandas
    table = pandas.DataFrame({"text": some, "size": np.arange(10, dtype=np.float32)})
    columns = ColumnTransformer([("text", TfidfVectorizer(), "text"), ("size", StandardScaler(), ["size"])])
    model = make_pipeline(columns, LogisticRegression()).fit(table, ["no", "yes"] * 5)
    types = [("text", StringTensorType([None, 1])), ("size", FloatTensorType([None, 1]))]
    made = to_onnx(model, initial_types=types, options={TfidfVectorizer: {"locale": "C.UTF-8"}})
    sizes = np.arange(len(asked), dtype=np.float32).reshape(-1, 1)
    write("text-table", made, {"text": np.array(asked, dtype=object).reshape(-1, 1), "size": sizes})
    pairs = pandas.DataFrame({"colour": ["red", "blue", "red", "blue"], "shape": ["round", "flat", "flat", "round"]})
    columns = ColumnTransformer([("words", OneHotEncoder(handle_unknown="ignore"), ["colour", "shape"])])
    model = make_pipeline(columns, LogisticRegression()).fit(pairs, [0, 1, 1, 0])
    types = [(name, StringTensorType([None, 1])) for name in pairs]
    rows = {"colour": np.array([["red"], ["green"]], dtype=object), "shape": np.array([["flat"], ["round"]], dtype=object)}
    write("text-columns", to_onnx(model, initial_types=types), rows)


def vectors():
    """Support vectors and nearest neighbours."""
    from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
    from sklearn.svm import SVC, SVR, NuSVC, OneClassSVM
    x, y = load_iris(return_X_y=True)
    many, target = load_diabetes(return_X_y=True)
    x, many = x.astype(np.float32), many[:200].astype(np.float32)
    target, words = target[:200], np.array(["setosa", "versicolor", "virginica"])[y]
    models = {}
    for kernel in ("linear", "poly", "rbf", "sigmoid"):
        models[f"svc-{kernel}"] = (SVC(kernel=kernel), x, y)
        models[f"svc-{kernel}-shares"] = (SVC(kernel=kernel, probability=True, random_state=1), x, y)
        models[f"svr-{kernel}"] = (SVR(kernel=kernel), many, target)
    models |= {
        "svc-two": (SVC(), x[:100], y[:100]), "svc-two-shares": (SVC(probability=True, random_state=1), x[50:], words[50:]),
        "svc-nu": (NuSVC(), x, words), "svc-scaled": (make_pipeline(StandardScaler(), SVC(degree=2, kernel="poly")), x, y),
        "one-class": (OneClassSVM(nu=0.2), x, y),
        "neighbours": (KNeighborsClassifier(3), x, y), "neighbours-words": (KNeighborsClassifier(5), x, words),
        "neighbours-weighed": (KNeighborsClassifier(3, weights="distance"), x, y),
        "neighbours-manhattan": (KNeighborsClassifier(3, metric="manhattan"), x, y),
        "neighbours-minkowski": (KNeighborsClassifier(3, p=3), x, y),
        "neighbours-numbers": (KNeighborsRegressor(4), many, target),
    }
    for name, (model, rows, labels) in models.items():
        some = rows[rng.permutation(len(rows))[:24]] + np.float32(0.013)
        made = to_onnx(model.fit(rows, labels), rows[:1])
        # The runtime adds kernels up as singles: what scikit-learn says itself is nearer to the truth.
        truth = model.predict_proba(some) if name.endswith("-shares") else None
        write(name, made, {"X": some}, truth)
    model = KNeighborsRegressor(3, weights="distance").fit(many, target)
    made = to_onnx(model, many[:1], options={id(model): {"optim": "cdist"}},
                   target_opset={"": 18, "com.microsoft": 1, "ai.onnx.ml": 3})
    write("neighbours-cdist", made, {"X": many[:9] + np.float32(0.001)})


def ties():
    """Models whose classes often win together, or that ask whether a number is zero."""
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.ensemble import AdaBoostClassifier, BaggingClassifier, IsolationForest, StackingClassifier
    from sklearn.linear_model import SGDClassifier
    from sklearn.mixture import GaussianMixture
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.naive_bayes import BernoulliNB, GaussianNB, MultinomialNB
    from sklearn.preprocessing import PolynomialFeatures
    x, y = load_iris(return_X_y=True)
    x = x.astype(np.float32)
    parts = [("line", LogisticRegression()), ("tree", DecisionTreeClassifier(random_state=1))]
    models = {
        "bagging": BaggingClassifier(n_estimators=4, random_state=1), "ada": AdaBoostClassifier(n_estimators=4, random_state=1),
        "calibrated": CalibratedClassifierCV(LogisticRegression()), "stacking": StackingClassifier(parts),
        "one-by-one": OneVsRestClassifier(LogisticRegression()), "descent": SGDClassifier(loss="log_loss", random_state=1),
        "bernoulli": BernoulliNB(), "gauss": GaussianNB(), "multinomial": MultinomialNB(),
        "mixture": GaussianMixture(3, random_state=1), "products": make_pipeline(PolynomialFeatures(), LogisticRegression()),
        "isolation": IsolationForest(n_estimators=5, random_state=1),
    }
    for name, model in models.items():
        made = to_onnx(model.fit(x, y), x[:1], target_opset={"": 18, "ai.onnx.ml": 3})
        write(f"ties-{name}", made, {"X": x[::5]})


def trees():
    """The forms of trees that converters write seldom."""
    f, ml = TensorProto.FLOAT, "ai.onnx.ml"
    floats = lambda *x: numpy_helper.from_array(np.array(x, np.float32))
    shape = [("x", f, ["n", 2])], [("y", f, ["n", 2])]
    rows = {"x": np.array([[0, 0], [1, 9], [3, 1], [7, 7], [2.5, 5], [1e30, -1e30]], np.float32)}
    branches = dict(nodes_featureids=[0, 1, 0, 1], nodes_truenodeids=[1, 0, 2, 2], nodes_falsenodeids=[2, 1, 3, 3],
                    nodes_trueleafs=[0, 1, 1, 1], nodes_falseleafs=[0, 1, 1, 1], tree_roots=[0, 3], n_targets=2,
                    leaf_targetids=[0, 1, 0, 1])
    for name, how, after in (("sum", 1, 0), ("average", 0, 3), ("least", 2, 0), ("most", 3, 0)):
        modes = numpy_helper.from_array(np.array([0, 6, 3, 2], np.uint8))
        node = helper.make_node("TreeEnsemble", ["x"], ["y"], domain=ml, **branches, nodes_splits=floats(2.5, 0, 5, 5),
                                nodes_modes=modes, leaf_weights=floats(1, -2, 4, 8), membership_values=floats(9, 3, np.nan),
                                aggregate_function=how, post_transform=after)
        model = graph([node], *shape, opset=21, domain=[helper.make_opsetid(ml, 5)])
        write(f"ensemble-{name}", model, rows)


def halves():
    """Networks of 16-bit floats: results are as near as those are."""
    f, half = TensorProto.FLOAT, TensorProto.FLOAT16
    weights = lambda *shape: (rng.standard_normal(shape) / 4).astype(np.float16)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Add", ["m", "b"], ["a"]),
             helper.make_node("Relu", ["a"], ["r"]), helper.make_node("MatMul", ["r", "v"], ["s"]),
             helper.make_node("Softmax", ["s"], ["y"], axis=1)]
    tensors = [("w", weights(6, 8)), ("b", weights(8)), ("v", weights(8, 3))]
    x = rng.standard_normal((5, 6)).astype(np.float16)
    write("half", graph(nodes, [("x", half, ["n", 6])], [("y", half, ["n", 3])], tensors), {"x": x})
    casts = [helper.make_node("Cast", ["z"], ["x"], to=half), *nodes, helper.make_node("Cast", ["y"], ["t"], to=f)]
    write("half-inside", graph(casts, [("z", f, ["n", 6])], [("t", f, ["n", 3])], tensors), {"z": x.astype(np.float32)})


def graph(nodes, inputs, outputs, tensors=(), opset=18, domain=()):
    value = lambda name, kind, shape: helper.make_tensor_value_info(name, kind, shape)
    made = helper.make_graph(nodes, "g", [value(*i) for i in inputs], [value(*o) for o in outputs],
                             [numpy_helper.from_array(t, n) for n, t in tensors])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset), *domain], ir_version=10)


def networks():
    f, i64 = TensorProto.FLOAT, TensorProto.INT64
    normal = lambda *shape: rng.standard_normal(shape).astype(np.float32)
    nodes = [helper.make_node("Conv", ["image", "w"], ["c"], pads=[1, 1, 1, 1]), helper.make_node("Relu", ["c"], ["r"]),
             helper.make_node("GlobalAveragePool", ["r"], ["p"]), helper.make_node("Flatten", ["p"], ["f"]),
             helper.make_node("Gemm", ["f", "m", "b"], ["logits"]), helper.make_node("Softmax", ["logits"], ["shares"]),
             helper.make_node("ArgMax", ["logits"], ["label"], axis=1, keepdims=0)]
    model = graph(nodes, [("image", f, ["n", 3, 8, 8])], [("shares", f, ["n", 4]), ("label", i64, ["n"])],
                  [("w", normal(5, 3, 3, 3)), ("m", normal(5, 4)), ("b", normal(4))])
    write("convolution", model, {"image": normal(3, 3, 8, 8)})
    nodes = [helper.make_node("Gather", ["table", "tokens"], ["e"]), helper.make_node("Transpose", ["e"], ["t"], perm=[0, 2, 1]),
             helper.make_node("MatMul", ["e", "t"], ["scores"]), helper.make_node("Softmax", ["scores"], ["a"], axis=-1),
             helper.make_node("MatMul", ["a", "e"], ["mixed"]), helper.make_node("LayerNormalization", ["mixed", "g", "h"], ["out"]),
             helper.make_node("Greater", ["scale", "zero"], ["positive"])]
    model = graph(nodes, [("tokens", i64, ["n", "length"]), ("scale", f, [])],
                  [("out", f, ["n", "length", 6]), ("positive", TensorProto.BOOL, [])],
                  [("table", normal(11, 6)), ("g", np.ones(6, np.float32)), ("h", np.zeros(6, np.float32)),
                   ("zero", np.float32(0))])
    write("attention", model, {"tokens": np.array([[1, 2, 3], [10, 0, 4]]), "scale": np.array(2, dtype=np.float32)})


def slow():
    """As many rounds as the input says."""
    f, i64, truth = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
    value = helper.make_tensor_value_info
    nodes = [helper.make_node("Identity", ["go"], ["more"]), helper.make_node("Add", ["sum", "one"], ["next"])]
    body = helper.make_graph(nodes, "body", [value("round", i64, []), value("go", truth, []), value("sum", f, [])],
                             [value("more", truth, []), value("next", f, [])])
    model = graph([helper.make_node("Loop", ["rounds", "", "zero"], ["total"], body=body)], [("rounds", i64, [])],
                  [("total", f, [])], [("zero", np.float32(0)), ("one", np.float32(1))])
    write("slow", model, {"rounds": np.array(5)})


def scaled_by(name, factor):
    """`y = factor * x`."""
    nodes = [helper.make_node("Mul", ["x", "k"], ["y"])]
    f = TensorProto.FLOAT
    model = graph(nodes, [("x", f, ["n"])], [("y", f, ["n"])], [("k", np.float32(factor))])
    write(name, model, {"x": np.array([1, 2], dtype=np.float32)})


def refused():
    f, i64 = TensorProto.FLOAT, TensorProto.INT64
    ml = [helper.make_opsetid("ai.onnx.ml", 3)]
    one = [("x", f, ["n", 2])], [("y", f, ["n", 2])]
    many = [("y", TensorProto.DOUBLE, ["n"])]
    cases = {
        "no-hardmax": graph([helper.make_node("Hardmax", ["x"], ["y"], name="last")], *one),
        "no-map": graph([helper.make_node("CategoryMapper", ["x"], ["y"], domain="ai.onnx.ml")], *one, domain=ml),
        "no-double": graph([helper.make_node("Identity", ["x"], ["y"])], [("x", TensorProto.DOUBLE, ["n"])], many),
        "no-large": graph([helper.make_node("Add", ["x", "k"], ["y"])], [("x", i64, [1])], [("y", i64, [1])],
                          [("k", np.array([1 << 40]))]),
    }
    brain = helper.make_tensor("k", TensorProto.BFLOAT16, [2], [1.0, 2.0])
    cases["no-brain"] = graph([helper.make_node("Cast", ["k"], ["c"], to=f), helper.make_node("Add", ["x", "c"], ["y"])], *one)
    cases["no-brain"].graph.initializer.append(brain)
    for name, model in cases.items():
        open(f"{folder}/{name}.onnx", "wb").write(model.SerializeToString())
    far = graph([helper.make_node("Add", ["x", "k"], ["y"])], *one, [("k", np.ones(2, np.float32))])
    tensor = far.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for name, place in (("near", "near.weights"), ("far", "../../outside"), ("linked", "linked.weights")):
        del tensor.external_data[:]
        for key, value in (("location", place), ("offset", "0"), ("length", "8")):
            entry = tensor.external_data.add()
            entry.key, entry.value = key, value
        open(f"{folder}/{name}.onnx", "wb").write(far.SerializeToString())
    open(f"{folder}/near.weights", "wb").write(np.array([2, 3], np.float32).tobytes())


classical()
texts()
vectors()
ties()
trees()
networks()
halves()
slow()
scaled_by("two", 2)
scaled_by("three", 3)
refused()
print("done", onnx.__version__)
