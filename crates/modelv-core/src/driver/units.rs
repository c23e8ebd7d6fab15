//! The parts of a file that can be traced through its history: lines, keys, demands, rows. Takes
//! one version apart and says which part of another it is; knows no history.

use std::collections::HashMap;

use super::{Driver, config_values, packages, table, text};

/// A part of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Number of the line from 1, key, package, or key of the row.
    pub name: String,
    /// What stands there.
    pub text: String,
}

/// The parts of one version of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Units {
    /// What they are called: `line`, `key`, `package`, `row`.
    pub kind: &'static str,
    /// The column whose values name the rows of a table.
    pub column: Option<String>,
    /// In the order of the file; keys in theirs.
    pub list: Vec<Unit>,
}

impl Units {
    /// Takes content apart by a driver; `like` is another version whose kinds of parts are wanted.
    /// `None`: there are no such parts.
    #[must_use]
    pub fn of(driver: Driver, content: &[u8], like: Option<&Self>) -> Option<Self> {
        if like.is_some_and(|l| l.kind == "line") {
            return Self::of_lines(content);
        }
        let (kind, column, list) = match driver {
            Driver::Config(format) => ("key", None, keys(format, content)?),
            Driver::Packages => ("package", None, named(packages::listed(content)?)),
            Driver::Table(separator) => rows(Some(separator), content, like)?,
            Driver::JsonLines => rows(None, content, like)?,
            Driver::Text | Driver::Wide | Driver::Notebook | Driver::PackageFile(_) => {
                return Self::of_lines(content);
            }
            Driver::Tensors(_) | Driver::Parquet | Driver::Image | Driver::Binary => return None,
        };
        Some(Self { kind, column, list })
    }

    /// The lines of a text.
    #[must_use]
    pub fn of_lines(content: &[u8]) -> Option<Self> {
        let content = super::as_utf8(content);
        if !text::is_text(&content) {
            return None;
        }
        let lines = std::str::from_utf8(&content).ok()?.lines();
        let unit = |(i, line): (usize, &str)| Unit {
            name: (i + 1).to_string(),
            text: line.to_owned(),
        };
        Some(Self {
            kind: "line",
            column: None,
            list: lines.enumerate().map(unit).collect(),
        })
    }

    /// For each part, the place of the same part in an older version, if it is there unchanged.
    #[must_use]
    pub fn found_in(&self, old: &Self) -> Vec<Option<usize>> {
        if self.kind == "line" {
            fn lines(units: &Units) -> Vec<&[u8]> {
                units.list.iter().map(|u| u.text.as_bytes()).collect()
            }
            return text::matches(&lines(self), &lines(old));
        }
        let places: HashMap<(&str, &str), usize> = old
            .list
            .iter()
            .enumerate()
            .map(|(i, u)| ((u.name.as_str(), u.text.as_str()), i))
            .collect();
        let place = |u: &Unit| places.get(&(u.name.as_str(), u.text.as_str())).copied();
        self.list.iter().map(place).collect()
    }
}

fn named(list: impl IntoIterator<Item = (String, String)>) -> Vec<Unit> {
    let unit = |(name, text)| Unit { name, text };
    list.into_iter().map(unit).collect()
}

fn keys(format: super::Format, content: &[u8]) -> Option<Vec<Unit>> {
    let values = config_values(format, content).ok()?;
    Some(named(values.into_iter().map(|(k, v)| (k, v.to_string()))))
}

type Parts = (&'static str, Option<String>, Vec<Unit>);

/// Rows by key; lines where no column names them.
fn rows(separator: Option<char>, content: &[u8], like: Option<&Units>) -> Option<Parts> {
    let column = like.and_then(|l| l.column.as_deref());
    match table::keyed_rows(separator, content, column) {
        Some((column, rows)) => Some(("row", Some(column), named(rows))),
        None if like.is_some() => None,
        None => {
            let lines = Units::of_lines(content)?;
            Some((lines.kind, None, lines.list))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::choose;

    fn units(path: &str, content: &str, like: Option<&Units>) -> Option<Units> {
        Units::of(
            choose(path.as_bytes(), content.as_bytes()),
            content.as_bytes(),
            like,
        )
    }

    fn found(path: &str, old: &str, new: &str) -> (Vec<String>, Vec<Option<usize>>) {
        let new = units(path, new, None).unwrap();
        let old = units(path, old, Some(&new)).unwrap();
        let names = new.list.iter().map(|u| u.name.clone()).collect();
        (names, new.found_in(&old))
    }

    #[test]
    fn each_kind_of_file_has_its_parts() {
        let (names, at) = found("a.py", "a\nb\n", "x\na\nb\n");
        assert_eq!((names.len(), at), (3, vec![None, Some(0), Some(1)]));
        let (names, at) = found("p.toml", "b = 1\n[t]\na = 2\n", "[t]\na = 2\nc = 1\n");
        assert_eq!(
            (names, at),
            (vec!["t.a".into(), "t.c".into()], vec![Some(1), None])
        );
        let (names, at) = found("requirements.txt", "b==1\na==1\n", "a==1\nb==2\n");
        assert_eq!(
            (names, at),
            (vec!["a".into(), "b".into()], vec![Some(0), None])
        );
        // Another order of the rows is no change of theirs; nor is another layout of a demand.
        let (names, at) = found("x.csv", "id,v\n1,a\n2,b\n", "id,v\n2,b\n1,c\n");
        assert_eq!(
            (names, at),
            (vec!["2".into(), "1".into()], vec![Some(1), None])
        );
        let (_, at) = found("requirements.txt", "a == 1  # why\n", "a == 1\n");
        assert_eq!(at, [Some(0)]);
    }

    #[test]
    fn without_parts_there_are_lines_or_nothing() {
        assert_eq!(units("x.csv", "v\n1\n1\n", None).unwrap().kind, "line");
        let keyed = units("x.csv", "id\n1\n", None).unwrap();
        assert_eq!(units("x.csv", "v\n1\n1\n", Some(&keyed)), None);
        assert_eq!(Units::of(Driver::Binary, b"\0", None), None);
        assert_eq!(Units::of_lines(b"\xff"), None);
        assert!(Units::of(Driver::Text, b"", None).unwrap().list.is_empty());
    }
}
