//! Columns of three tables that have not the same: which of them the merged table has, and rows laid
//! out by these. A column is known by its name; where all three have as many and none stands
//! elsewhere, by its place, so that another name is a rename: if the first rows show that its cells are
//! the same ones. Looks at one row at a time.
//!
//! A cell of a column that a version has not is [`ABSENT`] in a row that is laid out: nobody said
//! anything about it. A column that one side dropped goes, unless the other side changed cells of it
//! or gave it some in new rows; then it stays, and is a conflict of its own.

use std::collections::{HashMap, HashSet};

use super::super::{Conflict, Item, Refusal, order};
use super::rows::{parts_of, plain};

mod decision;

use decision::object;
pub(super) use decision::{Decision, named_row};

/// Stands for a cell that a version does not have. No cell of a text holds it.
const ABSENT: &str = "\0";

/// The begin of one version: everything before its first row, and the names in it.
pub(super) type Head<'a> = (&'a str, &'a [String]);

/// So much of the rows of a version is looked at to tell a rename from another column, in bytes.
pub(super) const SAMPLE_BYTES: usize = 64 << 10;

/// How the columns of three versions come together.
pub(super) enum Fit {
    /// They are the same.
    Alike,
    /// They are not, and rows can be laid out by those of all.
    Crossed(Columns),
    /// Nobody can tell which is which.
    Apart(&'static str),
}

impl Fit {
    /// Compares the columns; without a base they have to be the same. `rows` are the first of each version.
    pub(super) fn of(
        separator: char,
        heads: [Head<'_>; 3],
        rows: [&str; 3],
        has_base: bool,
    ) -> Self {
        let [b, o, t] = heads.map(|(head, _)| head.trim_end());
        if o == t && (!has_base || b == o) {
            return Self::Alike;
        }
        let lists = heads.map(|(_, names)| names);
        let once = |names: &[String]| {
            let all: HashSet<&String> = names.iter().collect();
            all.len() == names.len() && !names.is_empty()
        };
        if !lists.into_iter().all(once) {
            return Self::Apart("the columns differ");
        }
        let raw = heads.map(|(head, _)| {
            let line = head
                .trim_start_matches('\u{feff}')
                .trim_matches(['\r', '\n']);
            parts_of(line, separator)
        });
        if (0..3).any(|i| raw[i].len() != lists[i].len()) {
            return Self::Apart("the columns differ");
        }
        let made = match stand_still(lists) && are_renames(lists, rows, separator) {
            true => by_place(lists),
            false => by_name(lists),
        };
        let (places, is_by_place) = match made {
            Ok(found) => found,
            Err(why) => return Self::Apart(why),
        };
        let mark = decided(heads.map(|(head, _)| head.starts_with('\u{feff}')));
        Self::Crossed(Columns::new(
            separator,
            &places,
            (lists, &raw),
            mark,
            is_by_place,
        ))
    }

    /// Whether lines of the three can be put beside each other: each cell is in the same column.
    pub(super) fn keeps_lines(&self) -> bool {
        match self {
            Self::Alike => true,
            Self::Crossed(columns) => columns.is_by_place,
            Self::Apart(why) => *why != ORDER,
        }
    }
}

const ORDER: &str = "both sides put its columns into another order";

/// What the side says that changed something; ours where both did.
fn decided<T: PartialEq>([base, ours, theirs]: [T; 3]) -> T {
    if ours == base { theirs } else { ours }
}

/// Whether there are as many columns everywhere, and no name stands at two places.
fn stand_still([b, o, t]: [&[String]; 3]) -> bool {
    let still = |x: &[String], y: &[String]| {
        let at = |name| y.iter().position(|n| n == name);
        x.len() == y.len()
            && x.iter()
                .enumerate()
                .all(|(i, n)| at(n).is_none_or(|j| i == j))
    };
    still(b, o) && still(b, t) && still(o, t)
}

/// Whether every column that a side calls by another name has the cells it had.
fn are_renames([b, o, t]: [&[String]; 3], rows: [&str; 3], separator: char) -> bool {
    let samples = rows.map(|text| sample(text, separator));
    let [base, ours, theirs] = &samples;
    [(o, ours), (t, theirs)].into_iter().all(|(names, side)| {
        let renamed: Vec<usize> = (0..b.len()).filter(|i| names[*i] != b[*i]).collect();
        let mut each = renamed.iter();
        each.all(|column| keeps_cells(base, side, *column, &renamed))
    })
}

/// The whole rows of a text, as their cells.
fn sample(text: &str, separator: char) -> Vec<Vec<&str>> {
    let mut end = text.len().min(SAMPLE_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let end = match end < text.len() {
        true => text[..end].rfind('\n').map_or(0, |at| at + 1),
        false => end,
    };
    text[..end]
        .lines()
        .map(|line| parts_of(line, separator))
        .collect()
}

/// Whether most rows that are the same but for columns of other names have the same cell in one of these.
/// Without a row there is nothing to tell them apart.
fn keeps_cells(base: &[Vec<&str>], side: &[Vec<&str>], column: usize, renamed: &[usize]) -> bool {
    if base.is_empty() || side.is_empty() {
        return true;
    }
    let rest = |row: &Vec<&str>| -> Vec<String> {
        let kept = row.iter().enumerate().filter(|(i, _)| !renamed.contains(i));
        kept.map(|(_, cell)| (*cell).to_owned()).collect()
    };
    let known: HashMap<Vec<String>, &str> = base
        .iter()
        .filter_map(|row| Some((rest(row), *row.get(column)?)))
        .collect();
    let (mut same, mut other) = (0_usize, 0_usize);
    for row in side {
        match (known.get(&rest(row)), row.get(column)) {
            (Some(was), Some(is)) if was == is => same += 1,
            (Some(_), Some(_)) => other += 1,
            _ => {}
        }
    }
    same > other
}

/// The place of each column in base, ours and theirs.
type Places = Vec<[Option<usize>; 3]>;

fn by_place([b, o, t]: [&[String]; 3]) -> Result<(Places, bool), &'static str> {
    let mut names = HashSet::new();
    for i in 0..b.len() {
        if o[i] != t[i] && o[i] != b[i] && t[i] != b[i] {
            return Err("both sides gave a column another name");
        }
        if !names.insert(decided([&b[i], &o[i], &t[i]])) {
            return Err("both sides gave two columns one name");
        }
    }
    Ok(((0..b.len()).map(|i| [Some(i); 3]).collect(), true))
}

fn by_name([b, o, t]: [&[String]; 3]) -> Result<(Places, bool), &'static str> {
    let mut numbers: HashMap<&str, usize> = HashMap::new();
    for name in b.iter().chain(o).chain(t) {
        let next = numbers.len();
        numbers.entry(name).or_insert(next);
    }
    let list = |side: &[String]| side.iter().map(|n| numbers[n.as_str()]).collect::<Vec<_>>();
    let sides = [list(b), list(o), list(t)];
    let merged = order::merged(b.len(), &sides[1], &sides[2]).ok_or(ORDER)?;
    let place = |n: usize| {
        let at = |side: &Vec<usize>| side.iter().position(|m| *m == n);
        sides.each_ref().map(at)
    };
    Ok((merged.into_iter().map(place).collect(), false))
}

/// Rows of three versions in any order, `None` where a version has none.
pub(super) type Three<'a> = [Option<&'a str>; 3];

/// The columns of a merged table.
#[derive(Debug)]
pub(super) struct Columns {
    separator: char,
    mark: bool,
    is_by_place: bool,
    list: Vec<Column>,
}

#[derive(Debug)]
struct Column {
    name: String,
    /// The name as it stands in the file.
    raw: String,
    /// Where each version has it.
    places: [Option<usize>; 3],
}

impl Column {
    /// The side that still has what the other dropped.
    fn keeper(&self) -> Option<usize> {
        match self.places {
            [Some(_), Some(_), None] => Some(1),
            [Some(_), None, Some(_)] => Some(2),
            _ => None,
        }
    }
}

impl Columns {
    fn new(
        separator: char,
        places: &Places,
        (names, raw): ([&[String]; 3], &[Vec<&str>; 3]),
        mark: bool,
        is_by_place: bool,
    ) -> Self {
        let column = |places: &[Option<usize>; 3]| {
            let at = |side: usize| Some((&names[side][places[side]?], raw[side][places[side]?]));
            let (name, raw) = match [at(0), at(1), at(2)] {
                [Some(b), Some(o), Some(t)] if o.0 == b.0 && t.0 == b.0 => {
                    // Only quotes differ: the same whichever side is ours.
                    let both = o.1 != b.1 && t.1 != b.1;
                    if both { o.min(t) } else { decided([b, o, t]) }
                }
                [Some(b), Some(o), Some(t)] => decided([b, o, t]),
                [None, Some(o), Some(t)] => o.min(t),
                [_, Some(one), None] | [_, None, Some(one)] | [Some(one), None, None] => one,
                [None, None, None] => return None,
            };
            Some(Column {
                name: name.clone(),
                raw: raw.to_owned(),
                places: *places,
            })
        };
        Self {
            separator,
            mark,
            is_by_place,
            list: places.iter().filter_map(column).collect(),
        }
    }

    /// Stands between the cells.
    pub(super) fn separator(&self) -> Option<char> {
        Some(self.separator)
    }

    /// Columns that one side dropped, as they are called, with the side (1 or 2) that has them.
    pub(super) fn dropped(&self) -> Vec<(String, usize)> {
        let found = |c: &Column| Some((c.name.clone(), c.keeper()?));
        self.list.iter().filter_map(found).collect()
    }

    /// Lets dropped columns go; those of `contested` stay.
    pub(super) fn drop_but(&mut self, contested: &[String]) {
        self.list
            .retain(|c| c.keeper().is_none() || contested.contains(&c.name));
    }

    /// Whether a column stays though one side dropped it.
    pub(super) fn is_contested(&self) -> bool {
        self.list.iter().any(|c| c.keeper().is_some())
    }

    fn join<'c>(&self, cells: impl Iterator<Item = &'c str>) -> String {
        let cells: Vec<&str> = cells.collect();
        cells.join(self.separator.encode_utf8(&mut [0; 4]))
    }

    /// The first line, without its end.
    pub(super) fn head(&self) -> String {
        let mark = if self.mark { "\u{feff}" } else { "" };
        format!(
            "{mark}{}",
            self.join(self.list.iter().map(|c| c.raw.as_str()))
        )
    }

    /// A row of base (0), ours (1) or theirs (2), laid out.
    pub(super) fn lay(&self, side: usize, row: &str) -> Result<String, Refusal> {
        if row.contains(ABSENT) {
            return Err(Refusal::Beyond("a cell holds a zero byte".into()));
        }
        let parts = parts_of(row, self.separator);
        let cell = |c: &Column| c.places[side].and_then(|at| parts.get(at).copied());
        Ok(self.join(self.list.iter().map(|c| cell(c).unwrap_or(ABSENT))))
    }

    fn cells<'r>(&self, row: Option<&'r str>) -> Option<Vec<&'r str>> {
        row.map(|row| parts_of(row, self.separator))
    }

    /// A row that is laid out, as it is written.
    pub(super) fn clear(row: &str) -> String {
        row.replace(ABSENT, "")
    }

    /// One row of the result, from rows that are laid out; `Err`: both sides changed it in different
    /// ways.
    pub(super) fn decide(&self, rows: Three<'_>) -> Result<Option<String>, ()> {
        let [base, ours, theirs] = rows.map(|row| self.cells(row));
        match (base, ours, theirs) {
            (_, None, None) => Ok(None),
            (None, Some(row), None) | (None, None, Some(row)) => {
                Ok(Some(Self::clear(&self.join(row.into_iter()))))
            }
            // A cell of a column that came is no reason to keep a row that went.
            (Some(b), None, Some(row)) | (Some(b), Some(row), None) => {
                let kept = |(b, x): (&&str, &&str)| b == x || *b == ABSENT || *x == ABSENT;
                if b.iter().zip(&row).all(kept) {
                    Ok(None)
                } else {
                    Err(())
                }
            }
            (base, Some(o), Some(t)) => {
                let old = |at: usize| base.as_ref().map_or(ABSENT, |b| b[at]);
                let mut cells = Vec::with_capacity(o.len());
                for (at, (o, t)) in o.into_iter().zip(t).enumerate() {
                    cells.push(match old(at) {
                        _ if o == t || t == ABSENT => o,
                        _ if o == ABSENT => t,
                        b if t == b => o,
                        b if o == b => t,
                        _ => return Err(()),
                    });
                }
                Ok(Some(Self::clear(&self.join(cells.into_iter()))))
            }
        }
    }

    /// Rows that are laid out, with what only the other side says in place of what is absent.
    pub(super) fn filled(&self, rows: Three<'_>) -> [Option<String>; 3] {
        let [base, ours, theirs] = rows.map(|row| self.cells(row));
        let fill = |row: &Option<Vec<&str>>, other: &Option<Vec<&str>>| {
            let from = |at: usize| other.as_ref().map_or("", |o| o[at]);
            let cells = row.as_ref()?.iter().enumerate();
            let cells = cells.map(|(at, cell)| if *cell == ABSENT { from(at) } else { cell });
            Some(Self::clear(&self.join(cells)))
        };
        [
            fill(&base, &None),
            fill(&ours, &theirs),
            fill(&theirs, &ours),
        ]
    }

    /// How somebody who decides is shown a row. Where a column is to be decided too, cells go by
    /// their names: the decision must hold with the column and without.
    pub(super) fn shown(&self, row: String) -> String {
        if !self.is_contested() {
            return row;
        }
        let parts = parts_of(&row, self.separator).into_iter();
        let cells = parts.map(|cell| plain(cell, self.separator).into_owned());
        object(self.list.iter().map(|c| c.name.clone()).zip(cells))
    }

    /// Notes the cells of contested columns that a row has, where they are not as in the base.
    pub(super) fn contests(&self, rows: Three<'_>) -> Vec<Contest> {
        let rows = rows.map(|row| self.cells(row));
        let cell = |side: usize, at: usize| rows[side].as_ref().map(|row| row[at]);
        let mut out = Vec::new();
        for (at, column) in self.list.iter().enumerate() {
            let Some(kept) = column.keeper().and_then(|side| cell(side, at)) else {
                continue;
            };
            let [base, kept] =
                [cell(0, at), Some(kept)].map(|c| c.map(|c| plain(c, self.separator).into_owned()));
            if base.as_deref().unwrap_or("") != kept.as_deref().unwrap_or("") {
                out.push(Contest { at, base, kept });
            }
        }
        out
    }

    /// The conflicts of the columns that stay though one side dropped them; each contest has the
    /// row's `COLUMN=KEY`.
    pub(super) fn conflicts(&self, contests: &[(String, Contest)]) -> Vec<Conflict> {
        let mut out = Vec::new();
        for (at, column) in self.list.iter().enumerate() {
            let Some(keeper) = column.keeper() else {
                continue;
            };
            let of = |value: fn(&Contest) -> &Option<String>| {
                let mine = contests.iter().filter(|(_, c)| c.at == at);
                Some(object(mine.filter_map(|(row, c)| {
                    Some((row.clone(), value(c).clone()?))
                })))
            };
            let kept = of(|c| &c.kept);
            let (ours, theirs) = if keeper == 1 {
                (kept, None)
            } else {
                (None, kept)
            };
            out.push(Conflict {
                item: Item::Key(format!("column {}", column.name)),
                base: of(|c| &c.base),
                ours,
                theirs,
            });
        }
        out
    }
}

/// A cell of a dropped column that is not as in the base.
pub(super) struct Contest {
    at: usize,
    base: Option<String>,
    kept: Option<String>,
}

impl Contest {
    /// Bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        [&self.base, &self.kept]
            .into_iter()
            .flatten()
            .map(String::len)
            .sum()
    }
}
