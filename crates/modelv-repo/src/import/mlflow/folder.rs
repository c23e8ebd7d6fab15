//! MLflow's folder `mlruns`: `EXPERIMENT/RUN/{meta.yaml,params,metrics,tags,artifacts}`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use modelv_core::driver::{Format, config_tree};
use modelv_core::value::Value;

use super::{Foreign, Tracked, bad, files_below, local, point};
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::run::Point;

/// A longer line of a metric is none.
const LINE_PARTS: std::ops::RangeInclusive<usize> = 2..=3;
/// Status by number, as MLflow's protocol has it.
const STATUS: [&str; 6] = ["", "RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"];

/// A folder of runs.
pub(super) struct Folder {
    root: PathBuf,
}

type Meta = BTreeMap<String, Value>;

impl Folder {
    /// Opens a folder.
    ///
    /// # Errors
    /// It holds no experiment.
    pub(super) fn open(root: &Path) -> Result<Self> {
        let out = Self {
            root: root.to_owned(),
        };
        if out.experiments().is_empty() {
            return Err(bad(
                root,
                "it holds neither `mlflow.db` nor experiments of `mlruns`",
            ));
        }
        Ok(out)
    }

    /// Folders of experiments with what they say of themselves.
    fn experiments(&self) -> Vec<(PathBuf, Meta)> {
        let found = folders(&self.root).into_iter();
        found
            .filter_map(|dir| Some((dir.clone(), meta(&dir).ok().flatten()?)))
            .filter(|(_, meta)| meta.contains_key("experiment_id"))
            .collect()
    }

    fn run(&self, dir: &Path, experiment: &str) -> Result<Option<Foreign>> {
        let Some(meta) = meta(dir)? else {
            return Ok(None);
        };
        if text(&meta, "lifecycle_stage") == "deleted" {
            return Ok(None);
        }
        let number = |key: &str| match meta.get(key) {
            Some(Value::Int(n)) => *n,
            _ => 0,
        };
        let status = usize::try_from(number("status")).unwrap_or(0);
        let start = number("start_time");
        let artifacts = dir.join("artifacts").display().to_string();
        Ok(Some(Foreign {
            id: text(&meta, "run_id"),
            experiment: experiment.to_owned(),
            name: text(&meta, "run_name"),
            status: STATUS.get(status).copied().unwrap_or("").to_owned(),
            start,
            end: number("end_time").max(start),
            params: values(&dir.join("params"))?,
            tags: values(&dir.join("tags"))?.into_iter().collect(),
            artifacts: vec![(String::new(), artifacts)],
        }))
    }

    fn dir_of(&self, run: &Foreign) -> Option<PathBuf> {
        let mut all = self.experiments().into_iter();
        all.find_map(|(dir, _)| Some(dir.join(&run.id)).filter(|d| d.is_dir()))
    }
}

/// Folders in a folder, by name.
fn folders(dir: &Path) -> Vec<PathBuf> {
    let found = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut out: Vec<PathBuf> = found.map(|e| e.path()).filter(|p| p.is_dir()).collect();
    out.sort();
    out
}

/// The `meta.yaml` of a folder, where there is one.
fn meta(dir: &Path) -> Result<Option<Meta>> {
    let path = dir.join("meta.yaml");
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io("read", path)(e)),
    };
    let found = config_tree(Format::Yaml, &bytes);
    found.map(Some).map_err(|e| bad(&path, e))
}

fn text(meta: &Meta, key: &str) -> String {
    match meta.get(key) {
        Some(Value::Str(text)) => text.clone(),
        // An id of digits only.
        Some(Value::Int(n)) => n.to_string(),
        Some(Value::UInt(n)) => n.to_string(),
        _ => String::new(),
    }
}

/// Regular files below a folder by what they are the value of: a name with a `/` is a file in a folder.
fn files(dir: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut found = files_below(dir)?;
    found.retain(|(_, path)| path.symlink_metadata().is_ok_and(|m| m.is_file()));
    let named = |(inside, path): (Vec<u8>, PathBuf)| match String::from_utf8(inside) {
        Ok(name) => Ok((name, path)),
        Err(_) => Err(bad(&path, "a name of MLflow's is UTF-8")),
    };
    found.into_iter().map(named).collect()
}

fn values(dir: &Path) -> Result<Vec<(String, String)>> {
    let read = |(name, path): (String, PathBuf)| {
        let bytes = std::fs::read(&path).map_err(Error::io("read", &path))?;
        Ok((
            name,
            String::from_utf8_lossy(&bytes)
                .trim_end_matches('\n')
                .to_owned(),
        ))
    };
    files(dir)?.into_iter().map(read).collect()
}

impl Tracked for Folder {
    fn runs(&self, ctx: &Ctx<'_>) -> Result<Vec<Foreign>> {
        let mut out = Vec::new();
        for (dir, meta) in self.experiments() {
            let experiment = text(&meta, "name");
            for dir in folders(&dir) {
                ctx.cancel.check()?;
                let is_run = dir.file_name().is_some_and(|n| n.len() == 32);
                if is_run {
                    out.extend(self.run(&dir, &experiment)?);
                }
            }
            for dir in folders(&dir.join("models")) {
                let Some(model) = self::meta(&dir)? else {
                    continue;
                };
                let source = text(&model, "source_run_id");
                if let Some(run) = out.iter_mut().find(|run| run.id == source) {
                    let place = dir.join("artifacts").display().to_string();
                    run.artifacts.push((text(&model, "name"), place));
                }
            }
        }
        out.sort_by(|a, b| (a.start, &a.id).cmp(&(b.start, &b.id)));
        Ok(out)
    }

    fn points(&self, run: &Foreign, each: &mut dyn FnMut(Point) -> Result<()>) -> Result<()> {
        let Some(dir) = self.dir_of(run) else {
            return Ok(());
        };
        for (name, path) in files(&dir.join("metrics"))? {
            let file = std::fs::File::open(&path).map_err(Error::io("open", &path))?;
            for line in std::io::BufRead::lines(std::io::BufReader::new(file)) {
                let line = line.map_err(Error::io("read", &path))?;
                let parts: Vec<&str> = line.split_ascii_whitespace().collect();
                if !LINE_PARTS.contains(&parts.len()) {
                    return Err(bad(&path, "a line is no metric"));
                }
                let number = |at: usize| parts.get(at).map_or(Some(0), |p| p.parse::<i64>().ok());
                let value = parts[1].parse::<f64>().ok();
                let (Some(millis), Some(value), Some(step)) = (number(0), value, number(2)) else {
                    return Err(bad(&path, "a line is no metric"));
                };
                each(point(&name, value, step, millis))?;
            }
        }
        Ok(())
    }

    fn place(&self, uri: &str) -> Option<PathBuf> {
        local(uri)
    }
}
