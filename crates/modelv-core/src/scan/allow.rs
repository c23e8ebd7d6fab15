//! What pickles may import: an allow list, because every list of what is forbidden has been got
//! around. The names that are known to run code only decide how loud the verdict is.

use super::Verdict;

/// Names that only build data, with their modules in full.
const NAMES: [&str; 61] = [
    "_codecs.encode",
    "builtins.bytearray",
    "builtins.bytes",
    "builtins.complex",
    "builtins.dict",
    "builtins.float",
    "builtins.frozenset",
    "builtins.int",
    "builtins.list",
    "builtins.object",
    "builtins.range",
    "builtins.set",
    "builtins.slice",
    "builtins.str",
    "builtins.tuple",
    "__builtin__.bytearray",
    "__builtin__.complex",
    "__builtin__.float",
    "__builtin__.frozenset",
    "__builtin__.int",
    "__builtin__.list",
    "__builtin__.long",
    "__builtin__.object",
    "__builtin__.set",
    "__builtin__.unicode",
    "argparse.Namespace",
    "collections.Counter",
    "collections.OrderedDict",
    "collections.defaultdict",
    "collections.deque",
    "copyreg._reconstructor",
    "copy_reg._reconstructor",
    "datetime.date",
    "datetime.datetime",
    "datetime.timedelta",
    "datetime.timezone",
    "decimal.Decimal",
    "fractions.Fraction",
    "joblib.numpy_pickle.NumpyArrayWrapper",
    "numpy.dtype",
    "numpy.ndarray",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy.core.numeric._frombuffer",
    "numpy._core.numeric._frombuffer",
    "numpy.random._pickle.__randomstate_ctor",
    "numpy.random._pickle.__generator_ctor",
    "numpy.random._pickle.__bit_generator_ctor",
    "numpy.random._mt19937.MT19937",
    "pathlib.PosixPath",
    "scipy.sparse._csr.csr_matrix",
    "scipy.sparse._csc.csc_matrix",
    "scipy.sparse.csr.csr_matrix",
    "torch.Size",
    "torch.device",
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_sparse_tensor",
];

/// Modules of estimators: everything public in them is a class of data and coefficients.
const ESTIMATORS: [&str; 3] = ["sklearn.", "lightgbm.", "xgboost."];

/// Types of PyTorch's numbers.
const TORCH_TYPES: [&str; 12] = [
    "float16",
    "bfloat16",
    "float32",
    "float64",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "bool",
    "complex64",
    "complex128",
];

/// Modules whose use means that code runs.
const RUNS: [&str; 25] = [
    "os",
    "posix",
    "nt",
    "subprocess",
    "sys",
    "socket",
    "shutil",
    "runpy",
    "pty",
    "pickle",
    "_pickle",
    "code",
    "codeop",
    "importlib",
    "imp",
    "ctypes",
    "operator",
    "functools",
    "webbrowser",
    "types",
    "asyncio",
    "multiprocessing",
    "commands",
    "pip",
    "timeit",
];

/// Functions of `builtins` that run or reach anything.
const BUILTINS: [&str; 13] = [
    "eval",
    "exec",
    "execfile",
    "compile",
    "open",
    "input",
    "getattr",
    "setattr",
    "delattr",
    "__import__",
    "apply",
    "breakpoint",
    "globals",
];

/// What to think of an import.
pub(super) fn judge(global: &str) -> Verdict {
    let (module, name) = global.rsplit_once('.').unwrap_or(("", global));
    if NAMES.contains(&global) {
        return Verdict::Safe;
    }
    let top = module.split('.').next().unwrap_or_default();
    let is_builtin = ["builtins", "__builtin__"].contains(&module);
    if RUNS.contains(&top) || (is_builtin && BUILTINS.contains(&name)) {
        return Verdict::Dangerous;
    }
    let is_class = name.starts_with(|c: char| c.is_ascii_uppercase());
    let is_plain = |text: &str| {
        text.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_.".contains(&b))
    };
    if top == "torch" {
        let is_storage =
            (module == "torch" || module == "torch.storage") && name.ends_with("Storage");
        let is_type = module == "torch" && TORCH_TYPES.contains(&name);
        // Layers are classes; functions and the rest of torch may load and run.
        let is_layer = module.starts_with("torch.nn.modules.") && is_class;
        if is_storage || is_type || is_layer {
            return Verdict::Safe;
        }
    }
    let is_estimator = ESTIMATORS.iter().any(|m| global.starts_with(m));
    if is_estimator && is_class && is_plain(global) {
        return Verdict::Safe;
    }
    if is_estimator && SKLEARN.contains(&global) {
        return Verdict::Safe;
    }
    Verdict::Suspicious
}

/// Private modules of scikit-learn whose classes estimators are pickled by.
const SKLEARN: [&str; 2] = [
    "sklearn.tree._tree.Tree",
    "sklearn.neighbors._dist_metrics.newObj",
];
