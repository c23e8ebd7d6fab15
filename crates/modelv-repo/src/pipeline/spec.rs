//! Stages as `modelv.toml` declares them. Reads text, looks at no file.

use modelv_core::path::RepoPath;
use toml_edit::Item;

use crate::error::{Error, Result};

/// Most stages of one pipeline.
const STAGES_MAX: usize = 10_000;

/// One stage of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageSpec {
    /// Its name.
    pub name: String,
    /// A line for the shell.
    pub command: String,
    /// Files and folders that it reads.
    pub inputs: Vec<RepoPath>,
    /// Files and folders that it writes.
    pub outputs: Vec<RepoPath>,
    /// Parameters that it reads from configuration files.
    pub params: Vec<ParamName>,
    /// Stages that come before, whatever they write.
    pub after: Vec<String>,
}

/// A declared parameter of a stage: a key and everything below it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ParamName {
    /// The file; `None`: the one configuration file that has the key.
    pub file: Option<RepoPath>,
    /// Dotted key; empty: the whole file.
    pub key: String,
}

impl std::fmt::Display for ParamName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{file}:{}", self.key),
            None => f.write_str(&self.key),
        }
    }
}

pub(super) fn invalid(reason: impl Into<String>) -> Error {
    Error::invalid("file", "modelv.toml", reason)
}

impl StageSpec {
    /// Reads the table `stage`.
    ///
    /// # Errors
    /// A name, key or value is none that a stage can have.
    pub(crate) fn parse_all(section: Option<&Item>) -> Result<Vec<Self>> {
        let Some(section) = section else {
            return Ok(Vec::new());
        };
        let table = section
            .as_table_like()
            .ok_or_else(|| invalid("`stage` is not a table of stages: write `[stage.NAME]`"))?;
        if table.len() > STAGES_MAX {
            return Err(invalid(format!("more than {STAGES_MAX} stages")));
        }
        table
            .iter()
            .map(|(name, item)| Self::parse(name, item))
            .collect()
    }

    fn parse(name: &str, item: &Item) -> Result<Self> {
        let is_word = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        if name.is_empty()
            || name.len() > 100
            || !name.chars().all(is_word)
            || name.starts_with('-')
        {
            let text = "is no name of a stage: letters, digits, `_`, `-` and `.`, at most 100";
            return Err(invalid(format!("`{}` {text}", name.escape_debug())));
        }
        let table = item
            .as_table_like()
            .ok_or_else(|| invalid(format!("`stage.{name}` is not a table")))?;
        let known = ["command", "inputs", "outputs", "params", "after"];
        if let Some((key, _)) = table.iter().find(|(key, _)| !known.contains(key)) {
            let text = format!("`stage.{name}.{key}` is none of {}", known.join(", "));
            return Err(invalid(text));
        }
        let command = table.get("command").and_then(Item::as_str).map(str::trim);
        let command = command.filter(|c| !c.is_empty()).ok_or_else(|| {
            invalid(format!(
                "`stage.{name}.command` is missing, or no line for the shell"
            ))
        })?;
        let list = |key: &str| texts(name, key, table.get(key));
        let paths = |key: &str| -> Result<Vec<RepoPath>> {
            let mut paths = list(key)?
                .iter()
                .map(|text| path_of(name, key, text))
                .collect::<Result<Vec<_>>>()?;
            paths.sort();
            paths.dedup();
            Ok(paths)
        };
        let mut params = list("params")?
            .iter()
            .map(|text| param_of(name, text))
            .collect::<Result<Vec<_>>>()?;
        params.sort();
        params.dedup();
        let outputs = paths("outputs")?;
        if let Some(own) = outputs.iter().find(|o| o.as_bytes() == b"modelv.toml") {
            return Err(invalid(format!(
                "`{own}` in `stage.{name}.outputs` is what says so: no stage may write it"
            )));
        }
        Ok(Self {
            name: name.to_owned(),
            command: command.to_owned(),
            inputs: paths("inputs")?,
            outputs,
            params,
            after: list("after")?,
        })
    }
}

fn texts(name: &str, key: &str, item: Option<&Item>) -> Result<Vec<String>> {
    let wrong = || invalid(format!("`stage.{name}.{key}` is not a list of texts"));
    let Some(item) = item else {
        return Ok(Vec::new());
    };
    let list = item.as_array().ok_or_else(wrong)?;
    let text = |v: &toml_edit::Value| v.as_str().map(str::to_owned).ok_or_else(wrong);
    list.iter().map(text).collect()
}

fn path_of(name: &str, key: &str, text: &str) -> Result<RepoPath> {
    let plain = text.strip_prefix("./").unwrap_or(text);
    let plain = plain.strip_suffix('/').unwrap_or(plain);
    RepoPath::new(plain).map_err(|e| {
        let reason = match plain.starts_with('/') {
            true => {
                "it begins with `/`; stages read and write below the top of the working tree alone"
            }
            false => e.reason,
        };
        invalid(format!(
            "`{text}` in `stage.{name}.{key}` is no path from the top: {reason}"
        ))
    })
}

fn param_of(name: &str, text: &str) -> Result<ParamName> {
    match text.split_once(':') {
        Some((file, key)) => Ok(ParamName {
            file: Some(path_of(name, "params", file)?),
            key: key.to_owned(),
        }),
        None if text.is_empty() => Err(invalid(format!(
            "`stage.{name}.params` holds an empty name"
        ))),
        None => Ok(ParamName {
            file: None,
            key: text.to_owned(),
        }),
    }
}
