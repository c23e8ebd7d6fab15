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
use crate::capture::system::PREFIX;
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
    plain_point(line).or_else(|| any_point(line))
}

/// One as our journals write it: keys in their order, a name without escapes, finite numbers. Ten times as fast.
fn plain_point(line: &[u8]) -> Option<Point> {
    let (name, rest) = name_of(line)?;
    check_name("metric", name).ok()?;
    let rest = rest.strip_prefix(b",\"step\":")?;
    let (step, rest) = match rest.strip_prefix(b"null") {
        Some(rest) => (None, rest),
        None => {
            let (digits, rest) = number_of(rest)?;
            let step = digits.parse().ok().filter(|_| digits != "-0")?;
            (Some(step), rest)
        }
    };
    let (value, rest) = number_of(rest.strip_prefix(b",\"value\":")?)?;
    let value = match value.bytes().any(|b| matches!(b, b'.' | b'e' | b'E')) {
        true => Value::Float(value.parse().ok().filter(|n: &f64| n.is_finite())?),
        // A zero with a sign is a floating point number.
        false if value == "-0" => return None,
        false => Value::Int(value.parse().ok()?),
    };
    let (time, rest) = number_of(rest.strip_prefix(b",\"time\":")?)?;
    (rest == b"}").then_some(())?;
    Some(Point {
        name: name.to_owned(),
        step,
        value,
        time: time.parse().ok().filter(|t: &f64| t.is_finite())?,
    })
}

/// The name that a line of our journals begins with, and what follows it.
fn name_of(line: &[u8]) -> Option<(&str, &[u8])> {
    let rest = line.strip_prefix(b"{\"name\":\"")?;
    let end = rest.iter().position(|b| *b == b'"')?;
    let (name, rest) = rest.split_at(end);
    let is_plain = name.iter().all(|b| *b != b'\\' && *b >= b' ');
    Some((
        std::str::from_utf8(name).ok().filter(|_| is_plain)?,
        &rest[1..],
    ))
}

/// The number that some bytes begin with, by the grammar of JSON.
fn number_of(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let digits = |from: usize| {
        bytes[from..]
            .iter()
            .take_while(|b| b.is_ascii_digit())
            .count()
    };
    let mut at = usize::from(bytes.first() == Some(&b'-'));
    let whole = digits(at);
    if whole == 0 || whole > 1 && bytes[at] == b'0' {
        return None;
    }
    at += whole;
    if bytes.get(at) == Some(&b'.') {
        let part = digits(at + 1);
        at += 1 + part;
        (part > 0).then_some(())?;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        at += 1 + usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        let power = digits(at.min(bytes.len()));
        at += power;
        (power > 0).then_some(())?;
    }
    let (number, rest) = bytes.split_at_checked(at)?;
    Some((std::str::from_utf8(number).ok()?, rest))
}

/// One as any program may write it.
fn any_point(line: &[u8]) -> Option<Point> {
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
            // What the machine did is no result.
            Some(point) if point.name.starts_with(PREFIX) => {}
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

/// What the machine did in the course of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Mean of all points.
    pub mean: f64,
    /// The largest.
    pub max: f64,
    /// How many there are.
    pub count: u64,
}

impl Repo {
    /// What the machine did in the course of a run, by the names of the series without `system.`.
    ///
    /// # Errors
    /// No such run, or damage.
    pub fn load_of(&self, id: RunId) -> Result<BTreeMap<String, Load>> {
        let mut out: BTreeMap<String, Load> = BTreeMap::new();
        let Some(blob) = self.run_object(id)?.series else {
            return Ok(out);
        };
        lines(self.store.open_blob(&blob)?, |line, whole| {
            let is_ours = whole && name_of(line).is_some_and(|(name, _)| name.starts_with(PREFIX));
            let Some(point) = is_ours.then(|| parse_point(line)).flatten() else {
                return Ok(());
            };
            if let Some(value) = point.value.as_f64().filter(|v| v.is_finite()) {
                let name = point.name[PREFIX.len()..].to_owned();
                let load = out.entry(name).or_insert(Load {
                    mean: 0.0,
                    max: value,
                    count: 0,
                });
                load.count += 1;
                #[expect(clippy::cast_precision_loss, reason = "a mean")]
                let count = load.count as f64;
                load.mean += (value - load.mean) / count;
                load.max = load.max.max(value);
            }
            Ok(())
        })
        .map_err(modelv_store::unwrap_io)?;
        Ok(out)
    }

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
        let is_other = |line: &[u8]| match (name, name_of(line)) {
            (Some(name), Some((found, _))) => found != name,
            _ => false,
        };
        lines(self.store.open_blob(&blob)?, |line, whole| {
            if whole && is_other(line) {
                return Ok(());
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fast_way_finds_what_the_other_does() {
        let numbers = [
            "0",
            "-1",
            "9223372036854775807",
            "9223372036854775808",
            "0.5",
            "-2.5e-7",
            "1E+3",
            "-0",
            "-0.0",
            "00",
            "1.",
            ".5",
            "1e",
            "1e+",
            "1e999",
            "--1",
            "NaN",
            "\"inf\"",
            "",
        ];
        let mut plain = 0;
        for (step, value, time) in numbers
            .iter()
            .flat_map(|n| [("null", *n, "1.5"), (*n, "1", "1.5"), ("1", "2", *n)])
        {
            let line =
                format!("{{\"name\":\"a b\",\"step\":{step},\"value\":{value},\"time\":{time}}}");
            let slow = any_point(line.as_bytes());
            if let Some(point) = plain_point(line.as_bytes()) {
                plain += 1;
                assert_eq!(Some(point), slow, "{line}");
            }
            assert_eq!(parse_point(line.as_bytes()), slow, "{line}");
            assert_eq!(parse_point(&line.as_bytes()[..line.len() - 1]), None);
        }
        assert!(plain > 15, "{plain}");
        for odd in ["a\\nb", "\u{1}", "ß"] {
            let line = format!("{{\"name\":\"{odd}\",\"step\":1,\"value\":2,\"time\":3}}");
            assert_eq!(
                parse_point(line.as_bytes()),
                any_point(line.as_bytes()),
                "{line}"
            );
        }
    }
}
