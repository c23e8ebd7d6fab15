//! Rows of three large tables, merged by key: hashes of all keys and rows are put aside in parts,
//! which say part by part what becomes of each key; then the rows are written in one pass, with what
//! the other side gives beside them. Rows and their order are those of `table/merge.rs`.

use std::collections::{BTreeMap, HashMap};

use super::super::super::order::Number;
use super::super::super::{Labels, Source, order};
use super::super::TableError;
use super::super::columns::Columns;
use super::super::merge::Done;
use super::super::rows::Sheet;
use super::output::Output;
use super::scan::{Facts, Writer, batches};
use super::{Joined, Room, Sides, lend};

/// Parts that rows are put aside in.
const PARTS: usize = 256;

/// Bytes of a part that wait to be written.
const WAITING: usize = 16 << 10;

/// What is put aside beside the keys of base, ours, theirs and the result: texts of rows.
const TEXTS: usize = 4;

type Hash = [u8; 16];

fn hash(text: &str) -> Hash {
    let mut out = Hash::default();
    out.copy_from_slice(&blake3::hash(text.as_bytes()).as_bytes()[..16]);
    out
}

/// Who gives the row of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Ours,
    Theirs,
    /// Both changed it.
    Both,
}

/// What becomes of every key. Keys are numbers: those of the base by the place of their row, others
/// behind.
pub(super) struct Plan {
    /// The keys of ours and theirs, in their order.
    lists: [Vec<u32>; 2],
    acts: Vec<Act>,
    base: usize,
    ours: Facts,
}

/// Writes parts in pieces of some size.
struct Parts {
    side: usize,
    buffers: Vec<Vec<u8>>,
}

impl Parts {
    fn new(side: usize) -> Self {
        let buffers = vec![Vec::new(); PARTS];
        Self { side, buffers }
    }

    fn add(&mut self, part: usize, bytes: &[u8], room: &mut dyn Room) -> Result<(), TableError> {
        let buffer = &mut self.buffers[part];
        buffer.extend_from_slice(bytes);
        if buffer.len() > WAITING {
            room.put(self.side, part, buffer)?;
            buffer.clear();
        }
        Ok(())
    }

    fn finish(self, room: &mut dyn Room) -> Result<(), TableError> {
        for (part, buffer) in self.buffers.iter().enumerate() {
            if !buffer.is_empty() {
                room.put(self.side, part, buffer)?;
            }
        }
        Ok(())
    }
}

/// What is hashed of a row.
type HashOf<'a> = &'a dyn Fn(&Sheet<'_>, usize) -> Hash;

fn whole(sheet: &Sheet<'_>, at: usize) -> Hash {
    hash(sheet.raw(at))
}

/// Puts the hashes of keys and of what `row` takes of rows aside; `None`: a row has no key.
fn index(
    separator: Option<char>,
    column: &str,
    source: Option<&mut dyn Source>,
    side: usize,
    (row, room): (HashOf<'_>, &mut dyn Room),
) -> Result<Option<Facts>, TableError> {
    let mut parts = Parts::new(side);
    let (mut number, mut all) = (0u32, true);
    let facts = batches(source, separator, &mut |sheet| {
        for at in 0..sheet.rows.len() {
            let key = sheet.value(at, column);
            let key = key.filter(|k| !k.trim().is_empty() && k != "null");
            let Some(key) = key else {
                all = false;
                return Ok(false);
            };
            let key = hash(&key);
            let mut entry = [0; ENTRY];
            entry[..16].copy_from_slice(&key);
            entry[16..32].copy_from_slice(&row(sheet, at));
            entry[32..].copy_from_slice(&number.to_le_bytes());
            parts.add(usize::from(key[0]), &entry, room)?;
            number += 1;
        }
        Ok(true)
    })?;
    parts.finish(room)?;
    Ok(all.then_some(facts))
}

/// Bytes of one entry of an index: key, row, place.
const ENTRY: usize = 36;

/// One row of an index.
struct Entry {
    key: Hash,
    side: usize,
    row: Hash,
    at: usize,
}

/// Reads a part of an index.
fn entries(side: usize, part: usize, room: &mut dyn Room) -> Result<Vec<Entry>, TableError> {
    let bytes = room.take(side, part)?;
    let read = |entry: &[u8]| -> Option<Entry> {
        let at = u32::from_le_bytes(entry.get(32..)?.try_into().ok()?);
        Some(Entry {
            key: entry.get(..16)?.try_into().ok()?,
            side,
            row: entry.get(16..32)?.try_into().ok()?,
            at: usize::try_from(at).ok()?,
        })
    };
    Ok(bytes.chunks_exact(ENTRY).filter_map(read).collect())
}

/// Whether a column names every row of one table once.
pub(super) fn is_key(
    separator: Option<char>,
    column: &str,
    source: &mut dyn Source,
    side: usize,
    room: &mut dyn Room,
) -> Result<bool, TableError> {
    let mut all = index(separator, column, Some(source), side, (&whole, room))?.is_some();
    for part in 0..PARTS {
        let mut keys: Vec<Hash> = entries(side, part, room)?.iter().map(|e| e.key).collect();
        keys.sort_unstable();
        all &= keys.windows(2).all(|pair| pair[0] != pair[1]);
    }
    Ok(all)
}

/// Whether a side has other cells in some columns than the base, or any in rows of its own.
pub(super) fn differ(
    (separator, column): (Option<char>, &str),
    names: &[String],
    pair: [Option<&mut dyn Source>; 2],
    room: &mut dyn Room,
) -> Result<bool, TableError> {
    let cells = |sheet: &Sheet<'_>, at: usize| {
        let cell = |name: &String| sheet.value(at, name).unwrap_or_default();
        let cells: Vec<_> = names.iter().map(cell).collect();
        hash(&cells.join("\0"))
    };
    let none = hash(&vec![""; names.len()].join("\0"));
    for (side, source) in pair.into_iter().enumerate() {
        index(separator, column, source, side, (&cells, &mut *room))?;
    }
    let mut found = false;
    for part in 0..PARTS {
        let old = entries(0, part, room)?.into_iter().map(|e| (e.key, e.row));
        let old: HashMap<Hash, Hash> = old.collect();
        let new = entries(1, part, room)?;
        found |= new
            .iter()
            .any(|e| *old.get(&e.key).unwrap_or(&none) != e.row);
    }
    Ok(found)
}

/// What becomes of every key of three tables; `None`: the column does not name every row once.
pub(super) fn plan(
    separator: Option<char>,
    column: &str,
    sides: &mut Sides<'_>,
    room: &mut dyn Room,
) -> Result<Option<Plan>, TableError> {
    let mut found = Vec::with_capacity(3);
    for (i, side) in sides.iter_mut().enumerate() {
        found.push(index(separator, column, lend(side), i, (&whole, room))?);
    }
    let mut facts = found.into_iter().flatten();
    let (Some(b), Some(o), Some(t)) = (facts.next(), facts.next(), facts.next()) else {
        // What was put aside is not read by the next attempt.
        for (part, side) in (0..PARTS).flat_map(|p| (0..3).map(move |s| (p, s))) {
            room.take(side, part)?;
        }
        return Ok(None);
    };
    let mut plan = Plan {
        lists: [vec![0; o.rows], vec![0; t.rows]],
        acts: vec![Act::Ours; b.rows],
        base: b.rows,
        ours: o,
    };
    let mut is_key = true;
    for part in 0..PARTS {
        let mut all = Vec::new();
        for side in 0..3 {
            all.extend(entries(side, part, room)?);
        }
        all.sort_unstable_by_key(|e| (e.key, e.side));
        for rows in all.chunk_by(|a, b| a.key == b.key) {
            is_key &= rows.windows(2).all(|pair| pair[0].side != pair[1].side);
            plan.put(rows);
        }
    }
    Ok(is_key.then_some(plan))
}

impl Plan {
    /// Has every row looked into.
    pub(super) fn look_at_all(&mut self) {
        self.acts.fill(Act::Both);
    }

    /// Notes the rows of one key.
    fn put(&mut self, rows: &[Entry]) {
        let of = |side: usize| rows.iter().find(|e| e.side == side);
        let [b, o, t] = [of(0), of(1), of(2)];
        let row = |e: Option<&Entry>| e.map(|e| e.row);
        let act = match () {
            () if row(o) == row(t) || row(t) == row(b) => Act::Ours,
            () if row(o) == row(b) => Act::Theirs,
            () => Act::Both,
        };
        // Three tables have few enough rows for such numbers.
        let number = match b {
            Some(base) => {
                self.acts[base.at] = act;
                base.at
            }
            None => {
                self.acts.push(act);
                self.acts.len() - 1
            }
        };
        for (list, row) in self.lists.iter_mut().zip([o, t]) {
            if let Some(row) = row {
                list[row.at] = u32::try_from(number).unwrap_or(u32::MAX);
            }
        }
    }
}

/// Texts of a key that its leading side does not have.
#[derive(Default)]
pub(super) struct Texts {
    pub(super) number: usize,
    pub(super) base: Option<String>,
    pub(super) other: Option<String>,
}

/// Texts that were put aside, in the order of the result.
struct Pending {
    ready: BTreeMap<usize, Texts>,
    next: usize,
    total: usize,
}

fn part_of(rank: usize, total: usize) -> usize {
    rank * PARTS / total.max(1)
}

impl Pending {
    fn of(total: usize) -> Self {
        Self {
            ready: BTreeMap::new(),
            next: 0,
            total,
        }
    }

    fn load(&mut self, room: &mut dyn Room) -> Result<(), TableError> {
        let bytes = room.take(TEXTS, self.next)?;
        self.next += 1;
        let mut rest = bytes.as_slice();
        while let Some((record, behind)) = rest.split_first_chunk::<RECORD>() {
            let number = |at: usize| {
                let four = [record[at], record[at + 1], record[at + 2], record[at + 3]];
                usize::try_from(u32::from_le_bytes(four)).unwrap_or(usize::MAX)
            };
            let (text, behind) = behind.split_at(number(8).min(behind.len()));
            let texts = self.ready.entry(number(0)).or_default();
            texts.number = number(4);
            let text = Some(String::from_utf8_lossy(text).into_owned());
            match record[12] {
                0 => texts.base = text,
                _ => texts.other = text,
            }
            rest = behind;
        }
        Ok(())
    }

    /// The next that stands before a place; `None`: before the end.
    fn before(
        &mut self,
        rank: Option<usize>,
        room: &mut dyn Room,
    ) -> Result<Option<Texts>, TableError> {
        loop {
            if let Some(first) = self.ready.first_entry() {
                let is_before = rank.is_none_or(|rank| *first.key() < rank);
                return Ok(is_before.then(|| first.remove()));
            }
            let last = rank.map_or(PARTS - 1, |rank| part_of(rank, self.total));
            if self.next > last {
                return Ok(None);
            }
            self.load(room)?;
        }
    }

    fn at(&mut self, rank: usize, room: &mut dyn Room) -> Result<Option<Texts>, TableError> {
        while self.next <= part_of(rank, self.total) {
            self.load(room)?;
        }
        Ok(self.ready.remove(&rank))
    }
}

/// Bytes before a text that is put aside: rank, number, length, side.
const RECORD: usize = 13;

/// Puts the texts aside that are needed of a side: those it gives, and those both sides fight for.
fn put_texts(
    separator: Option<char>,
    source: Option<&mut dyn Source>,
    numbers: &mut dyn Iterator<Item = usize>,
    (wanted, kind): (&dyn Fn(usize) -> Option<usize>, u8),
    (parts, total): (&mut Parts, usize),
    room: &mut dyn Room,
) -> Result<(), TableError> {
    batches(source, separator, &mut |sheet| {
        for at in 0..sheet.rows.len() {
            let Some(number) = numbers.next() else {
                return Ok(false);
            };
            let Some(rank) = wanted(number) else {
                continue;
            };
            let text = sheet.raw(at);
            let mut record = Vec::with_capacity(RECORD + text.len());
            for n in [rank, number, text.len()] {
                let n = u32::try_from(n).map_err(|_| super::beyond("it has too many rows"))?;
                record.extend(n.to_le_bytes());
            }
            record.push(kind);
            record.extend_from_slice(text.as_bytes());
            parts.add(part_of(rank, total), &record, room)?;
        }
        Ok(true)
    })
    .map(drop)
}

/// Writes the merged table.
pub(super) fn write(
    (separator, column, columns): (Option<char>, &str, Option<&Columns>),
    plan: Plan,
    sides: &mut Sides<'_>,
    labels: &Labels<'_>,
    room: &mut dyn Room,
) -> Result<Joined, TableError> {
    let Plan {
        lists,
        acts,
        base,
        ours,
    } = plan;
    let list = order::merged(base, &lists[0], &lists[1])
        .ok_or_else(|| super::beyond("both sides put its rows into another order"))?;
    let total = list.len();
    // Where each key stands in the result.
    let mut ranks = vec![u32::MAX; acts.len()];
    for (rank, number) in list.into_iter().enumerate() {
        ranks[number.place()] = u32::try_from(rank).unwrap_or(u32::MAX);
    }
    let rank = |number: usize| usize::try_from(ranks[number]).unwrap_or(usize::MAX);
    let is_led_by_theirs = !lists[0].iter().is_sorted_by_key(|n| ranks[n.place()]);
    let (lead, other) = match is_led_by_theirs {
        true => (1, 0),
        false => (0, 1),
    };
    let gives = [Act::Ours, Act::Theirs][other];
    let mut parts = Parts::new(TEXTS);
    let wanted = |n: usize| (acts[n] == gives || acts[n] == Act::Both).then(|| rank(n));
    let mut numbers = lists[other].iter().map(|n| n.place());
    let source = lend(&mut sides[1 + other]);
    let to = (&mut parts, total);
    put_texts(separator, source, &mut numbers, (&wanted, 1), to, room)?;
    if acts[..base].contains(&Act::Both) {
        let in_list = |n: usize| ranks[n] != u32::MAX;
        let wanted = |n: usize| (acts[n] == Act::Both && in_list(n)).then(|| rank(n));
        let (source, to) = (lend(&mut sides[0]), (&mut parts, total));
        put_texts(separator, source, &mut (0..base), (&wanted, 0), to, room)?;
    }
    parts.finish(room)?;
    let mut content = room.file()?;
    let mut result = Output {
        separator,
        labels,
        head: &ours.head,
        acts: &acts,
        is_led_by_theirs,
        out: Writer::new(&mut *content, &ours)?,
        done: Done {
            column,
            columns,
            conflicts: Vec::new(),
            contests: Vec::new(),
        },
        bytes: 0,
    };
    let mut pending = Pending::of(total);
    let mut numbers = lists[lead].iter().map(|n| n.place());
    batches(lend(&mut sides[1 + lead]), separator, &mut |sheet| {
        for (at, number) in (0..sheet.rows.len()).zip(numbers.by_ref()) {
            let rank = rank(number);
            while let Some(texts) = pending.before(Some(rank), room)? {
                result.put(None, texts)?;
            }
            let texts = pending.at(rank, room)?.unwrap_or_default();
            result.put(Some(sheet.raw(at)), Texts { number, ..texts })?;
        }
        Ok(true)
    })?;
    while let Some(texts) = pending.before(None, room)? {
        result.put(None, texts)?;
    }
    let conflicts = result.finish()?;
    Ok(Joined { content, conflicts })
}
