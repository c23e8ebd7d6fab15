//! Which path is which ingredient, and why: globs of `modelv.toml`, else sensible defaults.

use std::path::Path;

use globset::{Glob, GlobMatcher, GlobSet, GlobSetBuilder};
use modelv_core::path::RepoPath;
use toml_edit::{DocumentMut, Item};

use super::known;
use super::serving::ServeRules;
use crate::alias::Gates;
use crate::capture::secrets::Allow;
use crate::error::{Error, Result};
use crate::external::parse_declared;
use crate::pipeline::StageSpec;

/// What a file of the working tree belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ingredient {
    /// Source files, and everything that is none of the others.
    Code,
    /// Data sets.
    Data,
    /// Parameters.
    Config,
    /// Outputs of training.
    Model,
}

impl Ingredient {
    /// The word for people, JSON and `modelv.toml`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Data => "data",
            Self::Config => "config",
            Self::Model => "model",
        }
    }

    /// The ingredient that a word names.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::from_word(word)
    }

    fn from_word(word: &str) -> Option<Self> {
        [Self::Code, Self::Data, Self::Config, Self::Model]
            .into_iter()
            .find(|i| i.word() == word)
    }
}

/// Why a path is what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// Where the path belongs.
    pub ingredient: Ingredient,
    /// The pattern that matched.
    pub pattern: Option<String>,
    /// `modelv.toml`, `default`, or `rest`.
    pub from: &'static str,
}

/// Patterns in force when `modelv.toml` has no `[ingredients]`.
const DEFAULTS: &[(Ingredient, &[&str])] = &[
    (Ingredient::Code, &["modelv.toml", "requirements*.txt"]),
    (
        Ingredient::Model,
        &[
            "metrics.json",
            "models/**",
            "checkpoints/**",
            "*.safetensors",
            "*.gguf",
            "*.onnx",
            "*.pt",
            "*.pth",
            "*.ckpt",
            "*.joblib",
            "*.pkl",
            "*.h5",
            "*.keras",
        ],
    ),
    (
        Ingredient::Data,
        &[
            "data/**",
            "*.csv",
            "*.tsv",
            "*.parquet",
            "*.arrow",
            "*.jsonl",
            "*.npy",
            "*.npz",
        ],
    ),
    (
        Ingredient::Config,
        &["params.*", "config.*", "conf/**", "configs/**"],
    ),
];

/// Patterns that hold beside an `[ingredients]` section that does not name them.
const ALWAYS: &[(Ingredient, &str)] = &[
    (Ingredient::Code, "modelv.toml"),
    (Ingredient::Model, "metrics.json"),
];

struct Rule {
    ingredient: Ingredient,
    pattern: String,
    from: &'static str,
}

/// The rules of one working tree, from its `modelv.toml`.
pub struct Rules {
    rules: Vec<Rule>,
    /// The patterns of `rules`, in the same order: one look for all of them.
    set: GlobSet,
    capture: Option<String>,
    python: Option<String>,
    variables: Vec<String>,
    train: Option<String>,
    evaluate: Option<String>,
    gates: Gates,
    hooks: Vec<(String, String)>,
    serve: ServeRules,
    secrets: Allow,
    tables: Vec<(GlobMatcher, String)>,
    externals: Vec<(RepoPath, String)>,
    stages: Vec<StageSpec>,
    unknown: Vec<String>,
    fingerprint: [u8; 32],
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rules")
            .field("rules", &self.rules.len())
            .finish_non_exhaustive()
    }
}

impl Rules {
    /// Reads `modelv.toml` in `root`, if there is one.
    ///
    /// # Errors
    /// It can't be read, is no TOML, or names an unknown ingredient or a malformed pattern.
    pub fn load(root: &Path) -> Result<Self> {
        let path = root.join("modelv.toml");
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Self::parse(""),
            Err(e) if e.kind() == std::io::ErrorKind::InvalidData => {
                Err(invalid("it is no text in UTF-8"))
            }
            Err(e) => Err(Error::io("read", &path)(e)),
        }
    }

    /// Reads the text of a `modelv.toml`.
    ///
    /// # Errors
    /// As [`Rules::load`].
    pub fn parse(text: &str) -> Result<Self> {
        let doc: DocumentMut = text
            .parse()
            .map_err(|e: toml_edit::TomlError| invalid(e.to_string().trim()))?;
        let text_at = |table: &str, key: &str| -> Result<Option<String>> {
            match doc.get(table).and_then(|t| t.get(key)) {
                None => Ok(None),
                Some(item) => item
                    .as_str()
                    .map(|s| Some(s.to_owned()))
                    .ok_or_else(|| invalid(&format!("`{table}.{key}` is not a string"))),
            }
        };
        let capture = text_at("env", "capture")?;
        if let Some(word) = &capture
            && !["auto", "none"].contains(&word.as_str())
        {
            return Err(invalid("`env.capture` is neither \"auto\" nor \"none\""));
        }
        let (rules, set) = compile(doc.get("ingredients"))?;
        Ok(Self {
            rules,
            set,
            capture,
            python: text_at("env", "python")?,
            variables: texts(doc.get("env").and_then(|t| t.get("variables")))?,
            train: text_at("train", "command")?,
            evaluate: text_at("evaluate", "command")?,
            gates: Gates::parse(doc.get("evaluate"))?,
            hooks: hooks(doc.get("hooks"))?,
            serve: ServeRules::parse(doc.get("serve"))?,
            secrets: Allow::parse(doc.get("secrets"))?,
            tables: tables(doc.get("tables"))?,
            externals: parse_declared(doc.get("external")).map_err(|why| invalid(&why))?,
            stages: StageSpec::parse_all(doc.get("stage"))?,
            unknown: known::unknown(&doc),
            fingerprint: fingerprint(text),
        })
    }

    /// Where a path belongs, and by which rule. The first match wins.
    #[must_use]
    pub fn classify(&self, path: &RepoPath) -> Reason {
        use std::os::unix::ffi::OsStrExt;
        // What a stage makes is made by the recipe, and so no part of it.
        let mut outputs = self.stages.iter().flat_map(|s| &s.outputs);
        if let Some(output) = outputs.find(|o| path.is_within(o.as_bytes())) {
            return Reason {
                ingredient: Ingredient::Model,
                pattern: Some(output.to_string()),
                from: "modelv.toml",
            };
        }
        // So are the answers of what was made.
        let golden = self.serve.golden.as_deref();
        if golden.is_some_and(|golden| golden.as_bytes() == path.as_bytes()) {
            return Reason {
                ingredient: Ingredient::Model,
                pattern: golden.map(str::to_owned),
                from: "modelv.toml",
            };
        }
        let path = Path::new(std::ffi::OsStr::from_bytes(path.as_bytes()));
        // In the order they were added, so the first is the one that counts.
        let found = self
            .set
            .matches(path)
            .first()
            .and_then(|i| self.rules.get(*i));
        found.map_or(
            Reason {
                ingredient: Ingredient::Code,
                pattern: None,
                from: "rest",
            },
            |r| Reason {
                ingredient: r.ingredient,
                pattern: Some(r.pattern.clone()),
                from: r.from,
            },
        )
    }

    /// Whether a pattern of `modelv.toml` that ends in the name itself matches a path.
    #[must_use]
    pub(super) fn names(&self, path: &RepoPath) -> bool {
        use std::os::unix::ffi::OsStrExt;
        let name = path.name();
        let path = Path::new(std::ffi::OsStr::from_bytes(path.as_bytes()));
        let named = |i: &usize| {
            let rule = self.rules.get(*i).filter(|r| r.from == "modelv.toml");
            rule.is_some_and(|r| r.pattern.rsplit('/').next().map(str::as_bytes) == Some(name))
        };
        self.set.matches(path).iter().any(named)
    }

    /// Differs when the rules may: in the file, or in the program's defaults.
    #[must_use]
    pub fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }

    /// `auto` or `none`.
    #[must_use]
    pub fn env_capture(&self) -> &str {
        self.capture.as_deref().unwrap_or("auto")
    }

    /// `[env] python`.
    #[must_use]
    pub fn env_python(&self) -> Option<String> {
        self.python.clone()
    }

    /// `[env] variables`: variables whose values a run records, beside those it always does.
    #[must_use]
    pub fn env_variables(&self) -> &[String] {
        &self.variables
    }

    /// `[train] command`.
    #[must_use]
    pub fn train_command(&self) -> Option<&str> {
        self.train.as_deref()
    }

    /// `[evaluate] command`.
    #[must_use]
    pub fn evaluate_command(&self) -> Option<&str> {
        self.evaluate.as_deref()
    }

    /// What else `[evaluate]` says: what an alias demands.
    pub(crate) fn gates(&self) -> &Gates {
        &self.gates
    }

    /// The command of `[hooks]` for an event.
    #[must_use]
    pub fn hook(&self, event: &str) -> Option<&str> {
        let found = self.hooks.iter().find(|(name, _)| name == event);
        found.map(|(_, command)| command.as_str())
    }

    /// `[serve] entry`.
    #[must_use]
    pub fn serve_entry(&self) -> Option<&str> {
        self.serve.entry.as_deref()
    }

    /// `[serve]`.
    #[must_use]
    pub fn serve(&self) -> &ServeRules {
        &self.serve
    }

    /// The key of a table by `[tables]`: columns with commas between them. The first match wins.
    #[must_use]
    pub fn table_key(&self, path: &RepoPath) -> Option<String> {
        use std::os::unix::ffi::OsStrExt;
        let path = Path::new(std::ffi::OsStr::from_bytes(path.as_bytes()));
        let found = self.tables.iter().find(|(glob, _)| glob.is_match(path));
        found.map(|(_, key)| key.clone())
    }

    /// `[external]`: where data belongs that is to be held by reference, and its address.
    #[must_use]
    pub fn externals(&self) -> &[(RepoPath, String)] {
        &self.externals
    }

    /// Sections and keys that this version does not know: a slip of the pen, or of a newer one. They
    /// change nothing.
    #[must_use]
    pub fn unknown(&self) -> &[String] {
        &self.unknown
    }

    /// `[stage.NAME]`, in the order of the file.
    #[must_use]
    pub fn stages(&self) -> &[StageSpec] {
        &self.stages
    }

    /// `[secrets] allow`.
    #[must_use]
    pub fn secrets(&self) -> &Allow {
        &self.secrets
    }
}

/// Reads `[hooks]`: a command for each event.
fn hooks(section: Option<&Item>) -> Result<Vec<(String, String)>> {
    let Some(section) = section else {
        return Ok(Vec::new());
    };
    let table = section
        .as_table_like()
        .ok_or_else(|| invalid("`hooks` is not a table"))?;
    let read = |(event, item): (&str, &Item)| match item.as_str() {
        Some(command) => Ok((event.to_owned(), command.to_owned())),
        None => Err(invalid(&format!("`hooks.{event}` is not a string"))),
    };
    table.iter().map(read).collect()
}

/// Reads `[tables]`: a pattern and `{ key = ["column", …] }` each.
/// `[env] variables`.
fn texts(item: Option<&Item>) -> Result<Vec<String>> {
    let bad = || invalid("`env.variables` is not a list of names");
    let Some(item) = item else {
        return Ok(Vec::new());
    };
    let list = item.as_array().ok_or_else(bad)?;
    list.iter()
        .map(|v| v.as_str().map(str::to_owned).ok_or_else(bad))
        .collect()
}

fn tables(section: Option<&Item>) -> Result<Vec<(GlobMatcher, String)>> {
    let Some(section) = section else {
        return Ok(Vec::new());
    };
    let table = section
        .as_table_like()
        .ok_or_else(|| invalid("`tables` is not a table"))?;
    let read = |(pattern, item): (&str, &Item)| {
        let wrong = || {
            let text = "is not `{ key = [\"column\"] }`";
            invalid(&format!("`tables.\"{pattern}\"` {text}"))
        };
        let key = item.as_table_like().filter(|t| t.len() == 1);
        let key = key.and_then(|t| t.get("key")).ok_or_else(wrong)?;
        let columns: Option<Vec<&str>> = match (key.as_str(), key.as_array()) {
            (Some(one), _) => Some(vec![one]),
            (_, Some(several)) => several.iter().map(toml_edit::Value::as_str).collect(),
            _ => None,
        };
        let columns = columns.filter(|c| !c.is_empty() && c.iter().all(|c| !c.is_empty()));
        Ok((
            glob(pattern)?.compile_matcher(),
            columns.ok_or_else(wrong)?.join(","),
        ))
    };
    table.iter().map(read).collect()
}

fn fingerprint(text: &str) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"outputs of stages");
    for (ingredient, patterns) in DEFAULTS {
        for part in [ingredient.word()].iter().chain(*patterns) {
            hasher.update(part.as_bytes()).update(&[0]);
        }
    }
    *hasher.update(text.as_bytes()).finalize().as_bytes()
}

fn invalid(reason: &str) -> Error {
    Error::invalid("file", "modelv.toml", reason)
}

/// A pattern without `/` matches at any depth, as in .gitignore.
fn glob(pattern: &str) -> Result<Glob> {
    let full = if pattern.contains('/') {
        pattern.into()
    } else {
        format!("**/{pattern}")
    };
    Glob::new(&full).map_err(|e| invalid(&format!("pattern `{pattern}`: {}", e.kind())))
}

fn compile(section: Option<&Item>) -> Result<(Vec<Rule>, GlobSet)> {
    let mut rules = Vec::new();
    let mut set = GlobSetBuilder::new();
    let mut add = |ingredient, pattern: &str, from| -> Result<()> {
        set.add(glob(pattern)?);
        rules.push(Rule {
            ingredient,
            pattern: pattern.into(),
            from,
        });
        Ok(())
    };
    let Some(section) = section else {
        for (ingredient, patterns) in DEFAULTS {
            for pattern in *patterns {
                add(*ingredient, pattern, "default")?;
            }
        }
        return finish(rules, &set);
    };
    let table = section
        .as_table_like()
        .ok_or_else(|| invalid("`ingredients` is not a table"))?;
    for (key, item) in table.iter() {
        let ingredient = Ingredient::from_word(key)
            .ok_or_else(|| invalid(&format!("`ingredients.{key}` names no ingredient")))?;
        let patterns = item
            .as_array()
            .ok_or_else(|| invalid(&format!("`ingredients.{key}` is not a list of patterns")))?;
        for pattern in patterns {
            let pattern = pattern
                .as_str()
                .ok_or_else(|| invalid(&format!("`ingredients.{key}` holds more than strings")))?;
            add(ingredient, pattern, "modelv.toml")?;
        }
    }
    for (ingredient, pattern) in ALWAYS {
        add(*ingredient, pattern, "default")?;
    }
    finish(rules, &set)
}

fn finish(rules: Vec<Rule>, set: &GlobSetBuilder) -> Result<(Vec<Rule>, GlobSet)> {
    let set = set.build().map_err(|e| invalid(&e.to_string()))?;
    Ok((rules, set))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_tables_are_declared_by_pattern() {
        let text = "[tables]\n\"data/*.csv\" = { key = [\"user\", \"day\"] }\n\"*.tsv\" = { key = \"name\" }\n";
        let rules = Rules::parse(text).unwrap();
        let key = |path: &str| rules.table_key(&RepoPath::new(path).unwrap());
        assert_eq!(key("data/a.csv").as_deref(), Some("user,day"));
        assert_eq!(key("deep/b.tsv").as_deref(), Some("name"));
        assert_eq!(key("a.csv"), None);
        for wrong in [
            "tables = 1",
            "[tables]\n\"a\" = 1",
            "[tables]\n\"a\" = { key = [] }",
            "[tables]\n\"a\" = { key = [1] }",
            "[tables]\n\"a\" = { key = [\"x\"], more = 1 }",
            "[tables]\n\"[\" = { key = [\"x\"] }",
        ] {
            assert!(Rules::parse(wrong).is_err(), "{wrong}");
        }
    }
}
