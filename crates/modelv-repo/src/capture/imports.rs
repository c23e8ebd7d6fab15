//! What code imports, found in its text: nothing is executed. Modules that are named at run time only
//! (`importlib`, plugins) are not seen.

use std::collections::{BTreeMap, BTreeSet};

/// Distributions by the top module that each installs; several share a namespace.
pub type Modules = BTreeMap<String, Vec<String>>;

/// The first part of every module that a text imports absolutely.
#[must_use]
pub fn modules_of(source: &str) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    for line in source.lines().map(str::trim_start) {
        let named = match (line.strip_prefix("import "), line.strip_prefix("from ")) {
            (Some(list), _) => list.split(',').collect::<Vec<_>>(),
            (_, Some(rest)) if rest.contains(" import ") => vec![rest],
            _ => continue,
        };
        for module in named {
            let end = |c: char| !(c.is_alphanumeric() || c == '_');
            let first = module.trim_start().split(end).next().unwrap_or("");
            if !first.is_empty() && !first.starts_with(|c: char| c.is_ascii_digit()) {
                out.insert(first.to_owned());
            }
        }
    }
    out
}

/// The top modules in the rows of a RECORD.
#[must_use]
pub fn modules_in_record(record: &str) -> BTreeSet<&str> {
    let mut out = BTreeSet::new();
    let mut last = "";
    for line in record.lines() {
        let path = line.split(',').next().unwrap_or("");
        let (first, is_folder) = match path.split_once('/') {
            Some((first, _)) => (first, true),
            None => (path, false),
        };
        // Most rows lie in the folder of the row before.
        if first == last {
            continue;
        }
        last = first;
        let module = match (is_folder, first.split_once('.')) {
            (true, None) => first,
            // `name.py`, or `name.cpython-311-x86_64-linux-gnu.so`.
            (false, Some((stem, tail))) if tail == "py" || tail.ends_with("so") => stem,
            _ => continue,
        };
        let is_name = |c: char| c.is_alphanumeric() || c == '_';
        if !module.is_empty() && module.chars().all(is_name) && module != "__pycache__" {
            out.insert(module);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_imports_are_found_wherever_they_stand() {
        let source = "import os, numpy as np, xgboost.sklearn\nfrom sklearn.svm import SVC\n\
                      from . import mine\nfrom .mine import x\ndef f():\n    import torch  # late\n\
                      text = 'import no'\nimportant = 1\nfrom nothing\nimport 9x\n";
        let found: Vec<String> = modules_of(source).into_iter().collect();
        assert_eq!(found, ["numpy", "os", "sklearn", "torch", "xgboost"]);
    }

    #[test]
    fn a_record_tells_which_modules_it_brings() {
        let record = "../../../bin/f2py,sha256=x,1\nnumpy/__init__.py,sha256=x,1\nnumpy/core/a.py,sha256=x,1\n\
                      numpy.libs/lib.so,sha256=x,1\nsix.py,sha256=x,1\n__pycache__/six.pyc,,\n\
                      _cffi.cpython-311-x86_64-linux-gnu.so,sha256=x,1\nnumpy-1.dist-info/RECORD,,\nREADME,,\n";
        let found: Vec<&str> = modules_in_record(record).into_iter().collect();
        assert_eq!(found, ["_cffi", "numpy", "six"]);
    }
}
