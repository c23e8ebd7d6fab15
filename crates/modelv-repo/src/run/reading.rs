//! Reading the journal of a run: its lines, checked one by one, and what they come to.
//!
//! Lines may come from any program, so nothing here trusts them: lengths are bounded, and what is no
//! metric point or parameter is counted and left out, for a bad line must not cost a run its record.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use modelv_core::id::RunId;
use modelv_core::value::Value;
use modelv_store::fs;
use serde::Deserialize;

use super::journal::{LINE_BYTES_MAX, PARAMS_FILE, Point, SERIES_FILE, check_name};
use crate::error::{Error, Result};
use crate::repo::Repo;

/// A line of `series.jsonl`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PointLine {
    name: String,
    step: Option<i64>,
    value: serde_json::Value,
    time: f64,
}

/// A line of `params.jsonl`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ParamLine {
    name: String,
    value: serde_json::Value,
}

/// Reads one metric point; `None` when it is none.
pub(super) fn parse_point(line: &[u8]) -> Option<Point> {
    let PointLine {
        name,
        step,
        value,
        time,
    } = serde_json::from_slice(line).ok()?;
    let value = match &value {
        serde_json::Value::Number(_) => Value::from_json(&value),
        serde_json::Value::String(text) => match text.as_str() {
            "NaN" => Value::Float(f64::NAN),
            "inf" => Value::Float(f64::INFINITY),
            "-inf" => Value::Float(f64::NEG_INFINITY),
            _ => return None,
        },
        _ => return None,
    };
    check_name("metric", &name).ok()?;
    Some(Point {
        name,
        step,
        value,
        time,
    })
}

/// Calls `each` with every line and whether it is whole. A line that is too long is given cut, and
/// not whole, as is a last one without its end.
pub(super) fn lines(
    input: impl std::io::Read,
    mut each: impl FnMut(&[u8], bool) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let mut input = BufReader::with_capacity(LINE_BYTES_MAX, input);
    let mut line = Vec::new();
    loop {
        let (used, ended) = {
            let bytes = input.fill_buf()?;
            if bytes.is_empty() {
                break;
            }
            let end = bytes.iter().position(|b| *b == b'\n');
            let part = &bytes[..end.unwrap_or(bytes.len())];
            let room = (LINE_BYTES_MAX + 1).saturating_sub(line.len());
            line.extend_from_slice(&part[..part.len().min(room)]);
            (end.map_or(bytes.len(), |at| at + 1), end.is_some())
        };
        input.consume(used);
        if ended {
            each(&line, line.len() <= LINE_BYTES_MAX)?;
            line.clear();
        }
    }
    if line.is_empty() {
        Ok(())
    } else {
        each(&line, false)
    }
}

/// So much of a series is held back at most while it is rewritten, in bytes.
const BUFFER_BYTES: usize = 64 << 10;

/// What a series came to.
#[derive(Debug, Default)]
pub(super) struct Summary {
    /// Last value of every metric.
    pub(super) last: BTreeMap<String, Value>,
    /// Lines that are no metric point.
    pub(super) bad: u64,
}

/// Looks through the series of a run and, when some lines are no metric points, rewrites the file
/// without them: what is stored must be readable to all.
pub(super) fn close_series(folder: &Path) -> Result<Summary> {
    let path = folder.join(SERIES_FILE);
    let mut summary = Summary::default();
    let Some(file) = open_if_there(&path)? else {
        return Ok(summary);
    };
    lines(file, |line, whole| {
        match parse_point(line).filter(|_| whole) {
            Some(point) => drop(summary.last.insert(point.name, point.value)),
            None => summary.bad += 1,
        }
        Ok(())
    })
    .map_err(Error::io("read", &path))?;
    if summary.bad == 0 {
        return Ok(summary);
    }
    let clean = folder.join("series.clean");
    let mut out = fs::create(&clean).map_err(Error::io("create", &clean))?;
    let mut kept = Vec::new();
    let file = File::open(&path).map_err(Error::io("open", &path))?;
    lines(file, |line, whole| {
        if whole && parse_point(line).is_some() {
            kept.extend_from_slice(line);
            kept.push(b'\n');
        }
        if kept.len() >= BUFFER_BYTES {
            fs::write_all(&mut out, &kept)?;
            kept.clear();
        }
        Ok(())
    })
    .and_then(|()| fs::write_all(&mut out, &kept))
    .map_err(Error::io("write", &clean))?;
    fs::replace(&clean, &path).map_err(Error::io("write", &path))?;
    Ok(summary)
}

/// Reads the parameters a run has noted, and how many lines are none.
pub(super) fn read_params(folder: &Path) -> Result<(BTreeMap<String, Value>, u64)> {
    let path = folder.join(PARAMS_FILE);
    let (mut out, mut bad) = (BTreeMap::new(), 0);
    let Some(file) = open_if_there(&path)? else {
        return Ok((out, bad));
    };
    lines(file, |line, whole| {
        match serde_json::from_slice::<ParamLine>(line) {
            Ok(param) if whole && check_name("parameter", &param.name).is_ok() => {
                out.insert(param.name, Value::from_json(&param.value).or_summary());
            }
            _ => bad += 1,
        }
        Ok(())
    })
    .map_err(Error::io("read", &path))?;
    Ok((out, bad))
}

fn open_if_there(path: &Path) -> Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io("open", path)(e)),
    }
}

impl Repo {
    /// The metric points of a run, or those of one metric, in the order they were noted.
    ///
    /// # Errors
    /// No such run, or damage.
    pub fn series(&self, id: RunId, name: Option<&str>) -> Result<Vec<Point>> {
        let mut points = Vec::new();
        let Some(blob) = self.run_object(id)?.series else {
            return Ok(points);
        };
        let mut damaged = false;
        lines(self.store.open_blob(&blob)?, |line, whole| {
            match parse_point(line).filter(|_| whole) {
                Some(point) if name.is_none_or(|n| n == point.name) => points.push(point),
                Some(_) => {}
                None => damaged = true,
            }
            Ok(())
        })
        .map_err(modelv_store::unwrap_io)?;
        if damaged {
            return Err(Error::Corrupt {
                what: format!("metric series of run `{}`", id.short()),
                detail: "a line is no metric point".into(),
            });
        }
        Ok(points)
    }
}
