//! Pipelines of DVC: stages of `dvc.yaml` as `[stage.NAME]` of `modelv.toml`. Takes what means the same
//! here and names the rest; never changes a stage that is there.

use std::collections::BTreeMap;
use std::path::Path;

use modelv_core::driver::{Format, config_tree};
use modelv_core::path::RepoPath;
use modelv_core::value::Value;
use toml_edit::{Array, DocumentMut, Item, Table};

use super::places::joined;
use crate::error::{Error, Result};
use crate::repo::Repo;
use crate::worktree::{Rules, replace_file};

const TOML: &str = "modelv.toml";

/// What `import dvc` took.
#[derive(Debug, Default)]
pub struct ImportedStages {
    /// Stages that are in `modelv.toml` now.
    pub stages: Vec<String>,
    /// Stages that are not, and why.
    pub left: Vec<(String, String)>,
}

/// A stage as it will be written.
struct Stage {
    command: String,
    inputs: Vec<String>,
    outputs: Vec<String>,
    params: Vec<String>,
}

impl Repo {
    /// Writes the stages of the `dvc.yaml` in a folder into `modelv.toml` of the working tree.
    ///
    /// # Errors
    /// It is not there or can't be read, or what would come of it is no pipeline. Nothing has changed then.
    pub fn import_dvc(&mut self, place: &Path) -> Result<ImportedStages> {
        let _turn = self.take_turn()?;
        let path = place.join("dvc.yaml");
        let bytes = match std::fs::read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let name = path.display().to_string();
                return Err(Error::not_found("pipeline of DVC", name));
            }
            read => read.map_err(Error::io("read", &path))?,
        };
        let bad = |e: &dyn std::fmt::Display| {
            Error::invalid("pipeline of DVC", path.display().to_string(), e.to_string())
        };
        let root = config_tree(Format::Yaml, &bytes).map_err(|e| bad(&e))?;
        let Some(Value::Map(stages)) = root.get("stages") else {
            return Err(bad(&"it has no `stages`"));
        };
        let toml = self.root().join(TOML);
        let text = match std::fs::read_to_string(&toml) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(Error::io("read", &toml)(e)),
        };
        let mut doc: DocumentMut = text
            .parse()
            .map_err(|e: toml_edit::TomlError| Error::invalid("file", TOML, e.to_string()))?;
        let mut out = ImportedStages::default();
        for (name, stage) in stages {
            let is_there = doc.get("stage").and_then(|t| t.get(name)).is_some();
            let found = match stage {
                _ if is_there => Err("`modelv.toml` has a stage of this name".to_owned()),
                Value::Map(stage) => convert(stage),
                _ => Err("it is no map".to_owned()),
            };
            match found {
                Ok(stage) => {
                    write(&mut doc, name, &stage);
                    out.stages.push(name.clone());
                }
                Err(why) => out.left.push((name.clone(), why)),
            }
        }
        let text = doc.to_string();
        // What cannot be run is not written.
        let rules = Rules::parse(&text)?;
        crate::pipeline::Pipeline::new(rules.stages())?;
        if !out.stages.is_empty() {
            replace_file(self.root(), &RepoPath::new(TOML)?, text.as_bytes())?;
        }
        Ok(out)
    }
}

/// A stage of ours that means the same; else what has no counterpart.
fn convert(stage: &BTreeMap<String, Value>) -> std::result::Result<Stage, String> {
    let known = [
        "cmd", "wdir", "deps", "outs", "metrics", "plots", "params", "desc", "meta",
    ];
    if let Some(key) = stage.keys().find(|k| !known.contains(&k.as_str())) {
        return Err(format!("`{key}` has no counterpart here"));
    }
    let lines: Vec<&str> = match stage.get("cmd") {
        Some(Value::Str(line)) => vec![line],
        Some(Value::List(lines)) => lines.iter().filter_map(text).collect(),
        _ => return Err("it has no `cmd`".into()),
    };
    let command = lines.join(" && ");
    let dir = stage.get("wdir").and_then(text).unwrap_or("");
    let mut out = Stage {
        command: match normal("", dir)?.as_str() {
            "" => command,
            dir => format!("cd {} && {command}", quoted(dir)),
        },
        inputs: paths(stage.get("deps"), dir)?,
        outputs: Vec::new(),
        params: params(stage.get("params"), dir)?,
    };
    for key in ["outs", "metrics", "plots"] {
        out.outputs.extend(paths(stage.get(key), dir)?);
    }
    let all = [&out.command]
        .into_iter()
        .chain(&out.inputs)
        .chain(&out.outputs);
    let has_template = all.into_iter().any(|text| text.contains("${"));
    if has_template {
        return Err("its `${...}` templates have no counterpart here".into());
    }
    Ok(out)
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::Str(text) => Some(text),
        _ => None,
    }
}

/// Paths of a list of DVC's: each a text, or a map with one path and its settings.
fn paths(list: Option<&Value>, dir: &str) -> std::result::Result<Vec<String>, String> {
    let Some(Value::List(list)) = list else {
        return Ok(Vec::new());
    };
    let mut out = Vec::with_capacity(list.len());
    for entry in list {
        match entry {
            Value::Str(path) => out.push(normal(dir, path)?),
            Value::Map(map) => {
                for path in map.keys() {
                    out.push(normal(dir, path)?);
                }
            }
            _ => return Err("a path is no text".into()),
        }
    }
    Ok(out)
}

/// Parameters: keys of `params.yaml`, or keys by file.
fn params(list: Option<&Value>, dir: &str) -> std::result::Result<Vec<String>, String> {
    let Some(Value::List(list)) = list else {
        return Ok(Vec::new());
    };
    let mut out = Vec::new();
    for entry in list {
        match entry {
            Value::Str(key) => out.push(format!("{}:{key}", normal(dir, "params.yaml")?)),
            Value::Map(files) => {
                for (file, keys) in files {
                    let file = normal(dir, file)?;
                    match keys {
                        Value::List(keys) => {
                            let keys = keys.iter().filter_map(text);
                            out.extend(keys.map(|key| format!("{file}:{key}")));
                        }
                        _ => out.push(format!("{file}:")),
                    }
                }
            }
            _ => return Err("a parameter is no text".into()),
        }
    }
    Ok(out)
}

/// A path from the top, of one from a folder.
fn normal(dir: &str, path: &str) -> std::result::Result<String, String> {
    let inside = joined(dir.as_bytes(), path).and_then(|p| String::from_utf8(p).ok());
    inside.ok_or_else(|| format!("`{path}` lies outside of the repository"))
}

/// A word for the shell.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    if text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

fn write(doc: &mut DocumentMut, name: &str, stage: &Stage) {
    let stages = doc.entry("stage").or_insert_with(|| {
        let mut table = Table::new();
        table.set_implicit(true);
        Item::Table(table)
    });
    let list = |texts: &[String]| toml_edit::value(texts.iter().collect::<Array>());
    let mut table = Table::new();
    table.insert("command", toml_edit::value(&stage.command));
    for (key, texts) in [
        ("inputs", &stage.inputs),
        ("outputs", &stage.outputs),
        ("params", &stage.params),
    ] {
        if !texts.is_empty() {
            table.insert(key, list(texts));
        }
    }
    if let Some(stages) = stages.as_table_like_mut() {
        stages.insert(name, Item::Table(table));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(yaml: &str) -> std::result::Result<Stage, String> {
        convert(&config_tree(Format::Yaml, yaml.as_bytes()).unwrap())
    }

    #[test]
    fn a_stage_means_the_same_from_the_top() {
        let text = "cmd: [a, b]\nwdir: sub dir\ndeps: [x.py, ../data]\nouts:\n  - m.pkl:\n      cache: false\n\
                    metrics: [s.json]\nparams:\n  - lr\n  - c.toml: [a.b]\n  - whole.json:\n";
        let stage = of(text).unwrap();
        assert_eq!(stage.command, "cd 'sub dir' && a && b");
        assert_eq!(stage.inputs, ["sub dir/x.py", "data"]);
        assert_eq!(stage.outputs, ["sub dir/m.pkl", "sub dir/s.json"]);
        let params = [
            "sub dir/params.yaml:lr",
            "sub dir/c.toml:a.b",
            "sub dir/whole.json:",
        ];
        assert_eq!(stage.params, params);
    }

    #[test]
    fn what_has_no_counterpart_is_named() {
        for (text, why) in [
            ("foreach: [a]\ndo: {cmd: x}\n", "`do` has no counterpart"),
            ("cmd: x ${y}\n", "templates"),
            ("cmd: x\ndeps: [/etc/passwd]\n", "outside of the repository"),
            ("cmd: x\ndeps: [../../x]\n", "outside of the repository"),
            ("deps: [x]\n", "no `cmd`"),
        ] {
            let said = of(text).err().unwrap();
            assert!(said.contains(why), "{said}");
        }
    }
}
