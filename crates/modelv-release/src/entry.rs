//! Whether what a commit serves is in it: a function, told from its files alone (what can't be told without
//! starting it is taken for there), or a model, which is read.

use std::collections::BTreeMap;

use modelv_repo::Repo;
use modelv_repo::core::id::CommitId;
use modelv_repo::core::path::RepoPath;
use modelv_repo::core::tree::Mode;
use modelv_repo::worktree::{Files as RepoFiles, Ingredient, Rules, SnapFile};

use crate::app;
use crate::error::{Error, Result};
use crate::wheel::Wheel;

/// Largest module that is looked into, in bytes.
const SOURCE_BYTES_MAX: u64 = 4 << 20;

/// What a commit serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    /// `module:function`.
    Function(String),
    /// The path of an ONNX model, which needs no Python.
    Model(String),
}

impl Entry {
    /// What `[serve]` names.
    pub(crate) fn of(rules: &Rules) -> Option<Self> {
        let model = rules.serve().model.clone().map(Self::Model);
        model.or_else(|| rules.serve_entry().map(|e| Self::Function(e.to_owned())))
    }

    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Function(name) | Self::Model(name) => name,
        }
    }

    pub(crate) fn is_model(&self) -> bool {
        matches!(self, Self::Model(_))
    }

    /// The function; empty for a model.
    pub(crate) fn function(&self) -> &str {
        match self {
            Self::Function(name) => name,
            Self::Model(_) => "",
        }
    }

    pub(crate) fn model(&self) -> Option<String> {
        self.is_model().then(|| self.name().to_owned())
    }
}

/// Reads the model that is served, whole: what the server could not run is refused now. It and the files of its
/// tensors come into the image, wherever they lie in the commit.
pub(crate) fn take_model(
    repo: &Repo,
    id: CommitId,
    files: &mut RepoFiles,
    path: &str,
) -> Result<()> {
    let refused = |why: modelv_onnx::Error| Error::Model {
        commit: id.short(),
        path: path.to_owned(),
        why,
    };
    let mut taken = vec![path.to_owned()];
    let read = |files: &RepoFiles, path: &str| {
        let bad = |detail: String| modelv_onnx::Error::Read {
            path: path.to_owned(),
            detail,
        };
        let file = files.get(path.as_bytes());
        let file = file.ok_or_else(|| bad("the commit has no such file".into()))?;
        if file.mode != Mode::File && file.mode != Mode::Executable {
            return Err(bad("it is no plain file".into()));
        }
        if file.size > modelv_onnx::FILE_BYTES_MAX {
            return Err(bad("it has more than 2 GiB".into()));
        }
        repo.read_blob(file.blob).map_err(|e| bad(e.to_string()))
    };
    let model = read(files, path).map_err(refused)?;
    let folder = path.rsplit_once('/').map(|(folder, _)| folder);
    let mut other = |name: &str| {
        let path = folder.map_or(name.to_owned(), |folder| format!("{folder}/{name}"));
        if RepoPath::new(path.as_str()).is_err() {
            return Err(modelv_onnx::Error::Read {
                path: name.to_owned(),
                detail: "it is no path below the model's folder".into(),
            });
        }
        taken.push(path.clone());
        read(files, &path)
    };
    modelv_onnx::check(model, &mut other).map_err(refused)?;
    for path in &taken {
        app::take_in(files, Some(path));
    }
    Ok(())
}

/// Where the module of an entry comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The commit has it.
    Commit,
    /// No file of the commit; a package may have it.
    Package(Wanted),
}

/// A module that a package is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Names of folders in each other, and the module in the last of them.
    parts: Vec<String>,
    /// What is said if none has it.
    pub(crate) missing: String,
}

/// `module:function`, in parts.
fn split(entry: &str) -> Option<(Vec<&str>, &str)> {
    let (module, name) = entry.split_once(':').unwrap_or((entry, "predict"));
    let is_name = |text: &&str| {
        let mut chars = text.chars();
        let first = chars.next().is_some_and(|c| c.is_alphabetic() || c == '_');
        first && chars.all(is_inside)
    };
    let parts: Vec<&str> = module.split('.').collect();
    (parts.iter().all(is_name) && is_name(&name)).then_some((parts, name))
}

fn is_inside(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Looks for the function of an entry. `roots` are the folders that modules are imported from, beside the root.
/// The other way around: what is missing.
pub(crate) fn find(
    repo: &Repo,
    files: &RepoFiles,
    roots: &BTreeMap<String, Vec<RepoPath>>,
    entry: &str,
) -> Result<std::result::Result<Origin, String>> {
    let Some((parts, name)) = split(entry) else {
        return Ok(Err("it is no `module:function`".into()));
    };
    let below = roots.values().flatten();
    let below = below.map(|root| [root.as_bytes(), b"/"].concat());
    let roots: Vec<Vec<u8>> = std::iter::once(Vec::new()).chain(below).collect();
    let module = parts.join("/");
    for root in &roots {
        let path = [root.as_slice(), module.as_bytes()].concat();
        for end in [".py", "/__init__.py"] {
            let path = [&path, end.as_bytes()].concat();
            let Some(file) = files.get(path.as_slice()) else {
                continue;
            };
            let path = String::from_utf8_lossy(&path);
            return Ok(look(repo, file, &path, name)?.map(|()| Origin::Commit));
        }
        let compiled = [&path, &b"."[..]].concat();
        let is_compiled = |p: &RepoPath| p.as_bytes().starts_with(&compiled);
        if files.keys().any(is_compiled) {
            return Ok(Ok(Origin::Commit));
        }
    }
    let top = parts.first().copied().unwrap_or_default();
    let beside = |path: &RepoPath, is: fn(&[u8]) -> bool| {
        roots.iter().any(|root| {
            let rest = path.as_bytes().strip_prefix(root.as_slice());
            let rest = rest.and_then(|rest| rest.strip_prefix(top.as_bytes()));
            rest.is_some_and(is)
        })
    };
    let missing = format!("there is no `{module}.py` in it");
    if files.keys().any(|path| beside(path, hides)) {
        return Ok(Err(missing));
    }
    // A folder that is no package yields to a package of its name, if that has the module.
    let is_folder = files
        .keys()
        .any(|path| beside(path, |r| r.starts_with(b"/")));
    let wanted = match is_folder {
        true => Wanted {
            parts: parts.iter().map(|part| (*part).to_owned()).collect(),
            missing,
        },
        false => Wanted {
            parts: vec![top.to_owned()],
            missing: format!("neither it nor its packages have a module `{top}`"),
        },
    };
    Ok(Ok(Origin::Package(wanted)))
}

/// Whether what follows the name of a module makes a file that is it, for which Python looks no further.
fn hides(rest: &[u8]) -> bool {
    let is_compiled = rest.starts_with(b".") && rest.ends_with(b".so");
    rest == b".py" || is_compiled || rest.starts_with(b"/__init__.")
}

fn look(
    repo: &Repo,
    file: &SnapFile,
    path: &str,
    name: &str,
) -> Result<std::result::Result<(), String>> {
    if file.ingredient == Ingredient::Data {
        return Ok(Err(format!(
            "`{path}` is data, which is in no image; `[ingredients]` of modelv.toml says what is"
        )));
    }
    if file.size > SOURCE_BYTES_MAX {
        return Ok(Ok(()));
    }
    let source = repo.read_blob(file.blob)?;
    Ok(match defines(&String::from_utf8_lossy(&source), name) {
        true => Ok(()),
        false => Err(format!("`{path}` has no `{name}`")),
    })
}

/// Whether a module may have something of this name at its top level.
fn defines(source: &str, name: &str) -> bool {
    // How far the functions and classes are indented that we are in.
    let mut within: Vec<usize> = Vec::new();
    for line in source.lines() {
        let text = line.trim_start();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let indent = line.len() - text.len();
        while within.last().is_some_and(|outer| *outer >= indent) {
            within.pop();
        }
        if !within.is_empty() {
            if text.starts_with("global ") && has_word(text, name) {
                return true;
            }
            continue;
        }
        let head = text.strip_prefix("async ").unwrap_or(text).trim_start();
        let head = head.strip_prefix("def ").or(head.strip_prefix("class "));
        match head {
            Some(head) => {
                let defined: String = head
                    .trim_start()
                    .chars()
                    .take_while(|c| is_inside(*c))
                    .collect();
                // Whoever has the other one makes names up as they are asked for.
                if defined == name || defined == "__getattr__" {
                    return true;
                }
                within.push(indent);
            }
            None => {
                let made_up = ["import *", "globals()", "setattr(", "exec("];
                if has_word(text, name) || made_up.iter().any(|m| text.contains(m)) {
                    return true;
                }
            }
        }
    }
    false
}

fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(is_inside) && !after.is_some_and(is_inside)
    })
}

/// Whether a path of a package is a module, or in it.
fn leads_to(path: &str, wanted: &Wanted) -> bool {
    let stem = |part: &str| part.split('.').next().unwrap_or_default().to_owned();
    let names: Vec<String> = path.split('/').map(stem).collect();
    // Wherever it lies: a file `.pth` may lead there.
    let mut places = names.windows(wanted.parts.len());
    places.any(|place| place == wanted.parts.as_slice())
}

/// Whether a package has a module; one that can't be read is another's to refuse.
pub(crate) fn is_in(wheels: &[Wheel], wanted: &Wanted) -> bool {
    wheels.iter().any(|wheel| {
        let file = std::fs::File::open(&wheel.path).ok();
        let zip = file.and_then(|file| zip::ZipArchive::new(file).ok());
        zip.is_none_or(|zip| {
            zip.file_names()
                .any(|name| name.is_ok_and(|name| leads_to(&name, wanted)))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_found_however_it_is_defined() {
        for source in [
            "def predict(x):\n    return x\n",
            "async def predict(x): pass",
            "import os\n\nclass predict:\n    pass\n",
            "predict = load('x')\n",
            "a, predict = f()",
            "predict: Callable = f",
            "from other import (\n    this,\n    predict,\n)\n",
            "from other import *",
            "def __getattr__(name):\n    return 1\n",
            "if FAST:\n    def predict(x):\n        return x\nelse:\n    predict = None\n",
            "def load():\n    global predict\n    predict = 1\nload()\n",
            "def f(\n    a,\n):\n    return a\n\npredict = f\n",
        ] {
            assert!(defines(source, "predict"), "{source}");
        }
    }

    #[test]
    fn one_that_is_elsewhere_is_not() {
        for source in [
            "",
            "# predict\n",
            "def predictions(x):\n    return predict(x)\n",
            "class Model:\n    def predict(self, x):\n        return x\n\nmodel = Model()\n",
            "def outer():\n    def predict(x):\n        return x\n    return predict\n",
            "def prediction(): pass\nunpredict = 1\n",
        ] {
            assert!(!defines(source, "predict"), "{source}");
        }
    }

    #[test]
    fn a_module_hides_a_package_and_a_folder_does_not() {
        for rest in [
            ".py",
            "/__init__.py",
            ".cpython-311-x86_64-linux-gnu.so",
            "/__init__.abi3.so",
        ] {
            assert!(hides(rest.as_bytes()), "{rest}");
        }
        for rest in [
            "/README.md",
            ".toml",
            "s/__init__.py",
            "/serve.py",
            ".so.txt",
        ] {
            assert!(!hides(rest.as_bytes()), "{rest}");
        }
    }

    #[test]
    fn a_module_is_found_in_a_package() {
        let wanted = |module: &str| Wanted {
            parts: module.split('.').map(str::to_owned).collect(),
            missing: String::new(),
        };
        for (path, module, want) in [
            ("acme/serve.py", "acme.serve", true),
            ("acme/serve/__init__.py", "acme.serve", true),
            ("acme/serve.abi3.so", "acme.serve", true),
            ("src/acme/serve.py", "acme.serve", true),
            ("acme/other.py", "acme.serve", false),
            ("serve/acme.py", "acme.serve", false),
            ("acme.py", "acme", true),
            ("acme-1.0.dist-info/METADATA", "acme", false),
        ] {
            assert_eq!(leads_to(path, &wanted(module)), want, "{path} {module}");
        }
    }

    #[test]
    fn entries_are_taken_apart() {
        assert_eq!(split("a.b:f"), Some((vec!["a", "b"], "f")));
        assert_eq!(split("serve"), Some((vec!["serve"], "predict")));
        for wrong in ["", ":f", "a:", "a:b.c", "a..b:f", "a/b:f", "1a:f", "a:f()"] {
            assert_eq!(split(wrong), None, "{wrong}");
        }
    }
}
