//! The file `commitgraph` (`spec/statcache.md`): rows in an order in which parents come before their
//! children, read block by block, so that a walk reads no more of it than it looks at. Must never
//! give what a block says before its hash was checked.

use std::cell::{Cell, OnceCell};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

const MAGIC: &[u8; 8] = b"MVGRAPH\x02";
/// Magic, and two numbers.
const COUNTS_END: usize = 16;
const FAN_SLOTS: usize = 256;
/// Where the hashes of the blocks begin.
const TABLE_OFFSET: usize = COUNTS_END + FAN_SLOTS * 4;
const BLOCK_BYTES: usize = 4 << 10;
/// Of the hash of a block, so many bytes are kept.
const CHECK_BYTES: usize = 16;
const HASH_BYTES: usize = 32;

const ID_BYTES: usize = 32;
const FACT_BYTES: usize = 20;
/// The first bytes of an id, then its row.
const PREFIX_BYTES: usize = 8;
const NAME_BYTES: usize = PREFIX_BYTES + 4;
const ENTRY_BYTES: usize = 4;

/// No parent; as a list's last entry, its end.
pub(super) const NONE: u32 = u32::MAX;
/// The second parent is the place of a list of all but the first.
const LIST: u32 = 1 << 31;

/// What a row says of its commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) time: i64,
    pub(super) generation: u32,
    first: u32,
    second: u32,
}

/// A row that is to be written.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) id: [u8; ID_BYTES],
    pub(super) time: i64,
    pub(super) generation: u32,
    /// Rows before this one.
    pub(super) parents: Vec<u32>,
}

/// Where the parts of the body begin.
#[derive(Debug, Default, Clone, Copy)]
struct Places {
    facts: usize,
    names: usize,
    lists: usize,
    end: usize,
}

impl Places {
    fn of(rows: usize, lists: usize) -> Option<Self> {
        let facts = rows.checked_mul(ID_BYTES)?;
        let names = facts.checked_add(rows.checked_mul(FACT_BYTES)?)?;
        let starts = names.checked_add(rows.checked_mul(NAME_BYTES)?)?;
        let end = starts.checked_add(lists.checked_mul(ENTRY_BYTES)?)?;
        Some(Self {
            facts,
            names,
            lists: starts,
            end,
        })
    }

    fn blocks(&self) -> usize {
        self.end.div_ceil(BLOCK_BYTES)
    }
}

/// What stands before the blocks.
#[derive(Debug, Default)]
struct Head {
    rows: u32,
    lists: usize,
    fan: Vec<u32>,
    checks: Vec<[u8; CHECK_BYTES]>,
    places: Places,
}

impl Head {
    /// Bytes of a head with these numbers.
    fn size(rows: u32, lists: u32) -> Option<(Places, usize)> {
        let places = Places::of(rows as usize, lists as usize)?;
        let table = places.blocks().checked_mul(CHECK_BYTES)?;
        Some((places, table.checked_add(TABLE_OFFSET + HASH_BYTES)?))
    }

    fn counts(bytes: &[u8]) -> Option<(u32, u32)> {
        let number = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        bytes.starts_with(MAGIC).then_some(())?;
        Some((number(8)?, number(12)?))
    }

    /// Reads a whole head.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (rows, lists) = Self::counts(bytes)?;
        let (places, size) = Self::size(rows, lists)?;
        let (body, hash) = bytes.get(..size)?.split_at_checked(size - HASH_BYTES)?;
        (blake3::hash(body).as_bytes() == hash).then_some(())?;
        let (fan, table) = body
            .get(COUNTS_END..)?
            .split_at_checked(TABLE_OFFSET - COUNTS_END)?;
        let fan = fan.as_chunks::<4>().0.iter();
        Some(Self {
            rows,
            lists: lists as usize,
            fan: fan.map(|slot| u32::from_le_bytes(*slot)).collect(),
            checks: table.as_chunks::<CHECK_BYTES>().0.to_vec(),
            places,
        })
    }

    fn bytes(&self) -> usize {
        TABLE_OFFSET + self.checks.len() * CHECK_BYTES + HASH_BYTES
    }

    /// The place and the length of a block of the body.
    fn block(&self, number: usize) -> (usize, usize) {
        let start = number * BLOCK_BYTES;
        (start, BLOCK_BYTES.min(self.places.end - start))
    }

    fn fits(&self, number: usize, block: &[u8]) -> bool {
        self.checks
            .get(number)
            .is_some_and(|check| check_of(block) == *check)
    }
}

fn check_of(block: &[u8]) -> [u8; CHECK_BYTES] {
    let hash = blake3::hash(block);
    hash.as_bytes().first_chunk().copied().unwrap_or_default()
}

/// The open file. One that is missing, damaged in its head or of another version has no rows.
#[derive(Debug, Default)]
pub(super) struct Rows {
    file: Option<File>,
    head: Head,
    /// Blocks that were looked at; empty ones are damaged.
    blocks: Vec<OnceCell<Box<[u8]>>>,
    damaged: Cell<bool>,
}

impl Rows {
    pub(super) fn open(path: &Path) -> Self {
        let file = File::open(path).ok();
        file.and_then(Self::read).unwrap_or_default()
    }

    pub(super) fn read(file: File) -> Option<Self> {
        let mut counts = [0; COUNTS_END];
        file.read_exact_at(&mut counts, 0).ok()?;
        let (rows, lists) = Head::counts(&counts)?;
        let (places, size) = Head::size(rows, lists)?;
        // Before anything is made that is as large as the head says.
        let len = usize::try_from(file.metadata().ok()?.len()).ok()?;
        (size.checked_add(places.end)? == len).then_some(())?;
        let mut head = vec![0; size];
        file.read_exact_at(&mut head, 0).ok()?;
        let head = Head::parse(&head)?;
        let mut blocks = Vec::new();
        blocks.resize_with(head.checks.len(), OnceCell::new);
        Some(Self {
            file: Some(file),
            head,
            blocks,
            damaged: Cell::new(false),
        })
    }

    /// Whether something was read that is not what was written: then no answer counts.
    pub(super) fn is_damaged(&self) -> bool {
        self.damaged.get()
    }

    pub(super) fn count(&self) -> u32 {
        self.head.rows
    }

    fn load(&self, number: usize) -> Option<Box<[u8]>> {
        let (start, len) = self.head.block(number);
        let mut block = vec![0; len].into_boxed_slice();
        let at = (self.head.bytes() + start) as u64;
        self.file.as_ref()?.read_exact_at(&mut block, at).ok()?;
        self.head.fits(number, &block).then_some(block)
    }

    fn block(&self, number: usize) -> &[u8] {
        let Some(slot) = self.blocks.get(number) else {
            return &[];
        };
        slot.get_or_init(|| {
            self.load(number).unwrap_or_else(|| {
                self.damaged.set(true);
                Box::default()
            })
        })
    }

    /// Bytes of the body; zeros for what can't be read.
    fn bytes<const N: usize>(&self, at: usize) -> [u8; N] {
        let (number, inside) = (at / BLOCK_BYTES, at % BLOCK_BYTES);
        if let Some(found) = self.block(number).get(inside..inside + N) {
            return found.first_chunk().copied().unwrap_or([0; N]);
        }
        // Over the edge of a block.
        std::array::from_fn(|i| {
            let at = at + i;
            let block = self.block(at / BLOCK_BYTES);
            block.get(at % BLOCK_BYTES).copied().unwrap_or(0)
        })
    }

    pub(super) fn id(&self, row: u32) -> [u8; ID_BYTES] {
        self.bytes(row as usize * ID_BYTES)
    }

    pub(super) fn facts(&self, row: u32) -> Facts {
        let bytes: [u8; FACT_BYTES] =
            self.bytes(self.head.places.facts + row as usize * FACT_BYTES);
        let (time, rest) = bytes.split_first_chunk().unwrap_or((&[0; 8], &[]));
        let numbers = rest.as_chunks::<4>().0;
        let number = |i: usize| numbers.get(i).map_or(NONE, |b| u32::from_le_bytes(*b));
        Facts {
            time: i64::from_le_bytes(*time),
            generation: number(0),
            first: number(1),
            second: number(2),
        }
    }

    /// The row of an id.
    pub(super) fn find(&self, id: &[u8; ID_BYTES]) -> Option<u32> {
        let slot = usize::from(id[0]);
        let fan = &self.head.fan;
        let mut low = slot
            .checked_sub(1)
            .map_or(Some(&0), |i| fan.get(i))?
            .to_owned();
        let mut high = (*fan.get(slot)?).min(self.count());
        let last = high;
        while low < high {
            let middle = low.midpoint(high);
            if self.name(middle).0[..] < id[..PREFIX_BYTES] {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        (low..last)
            .map(|at| self.name(at))
            .take_while(|(prefix, _)| prefix[..] == id[..PREFIX_BYTES])
            .map(|(_, row)| row)
            .find(|row| *row < self.count() && self.id(*row) == *id)
    }

    fn name(&self, at: u32) -> ([u8; PREFIX_BYTES], u32) {
        let bytes: [u8; NAME_BYTES] = self.bytes(self.head.places.names + at as usize * NAME_BYTES);
        let (prefix, row) = bytes.split_first_chunk().unwrap_or((&[0; 8], &[]));
        let row = row.first_chunk().map_or(NONE, |b| u32::from_le_bytes(*b));
        (*prefix, row)
    }

    pub(super) fn parents(&self, row: u32, each: &mut dyn FnMut(u32)) {
        let Facts { first, second, .. } = self.facts(row);
        // Parents stand before their children: whatever a file says, no walk goes round in it.
        let mut each = |parent: u32| {
            if parent < row {
                each(parent);
            }
        };
        each(first);
        if second == NONE || second & LIST == 0 {
            return each(second);
        }
        for at in (second & !LIST) as usize..self.head.lists {
            let entry = self.bytes(self.head.places.lists + at * ENTRY_BYTES);
            match u32::from_le_bytes(entry) {
                NONE => break,
                parent => each(parent),
            }
        }
    }
}

/// The bytes of a file of these rows, parents before children.
pub(super) fn to_bytes(rows: &[Row]) -> Vec<u8> {
    let mut lists: Vec<u32> = Vec::new();
    let mut body: Vec<u8> = rows.iter().flat_map(|row| row.id).collect();
    for row in rows {
        let second = match row.parents.as_slice() {
            [] | [_] => NONE,
            [_, second] => *second,
            [_, more @ ..] => {
                let place = u32::try_from(lists.len()).unwrap_or(0);
                lists.extend(more);
                lists.push(NONE);
                LIST | place
            }
        };
        body.extend(row.time.to_le_bytes());
        body.extend(row.generation.to_le_bytes());
        body.extend(row.parents.first().unwrap_or(&NONE).to_le_bytes());
        body.extend(second.to_le_bytes());
    }
    let mut order: Vec<(&[u8; ID_BYTES], u32)> =
        (0..).zip(rows).map(|(n, row)| (&row.id, n)).collect();
    order.sort_unstable();
    let mut fan = [0u32; FAN_SLOTS];
    for (id, row) in order {
        fan[usize::from(id[0])] += 1;
        body.extend(&id[..PREFIX_BYTES]);
        body.extend(row.to_le_bytes());
    }
    body.extend(lists.iter().flat_map(|l| l.to_le_bytes()));
    let mut out = MAGIC.to_vec();
    let counts = [rows.len(), lists.len()].map(|c| u32::try_from(c).unwrap_or(0).to_le_bytes());
    out.extend(counts.concat());
    let mut before = 0;
    for slot in fan {
        before += slot;
        out.extend(before.to_le_bytes());
    }
    out.extend(body.chunks(BLOCK_BYTES).flat_map(check_of));
    let hash = blake3::hash(&out);
    out.extend(hash.as_bytes());
    out.extend(body);
    out
}

/// Whether bytes are such a file, whole.
pub(crate) fn is_sound(bytes: &[u8]) -> bool {
    let Some(head) = Head::parse(bytes) else {
        return false;
    };
    let body = bytes.get(head.bytes()..).unwrap_or(&[]);
    let mut blocks = (0..).zip(body.chunks(BLOCK_BYTES));
    body.len() == head.places.end && blocks.all(|(number, block)| head.fits(number, block))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// A line of commits, of which every seventh has more parents: several blocks.
    fn rows() -> Vec<Row> {
        let row = |n: u32| Row {
            id: *blake3::hash(&n.to_le_bytes()).as_bytes(),
            time: i64::from(n) - 3,
            generation: n + 1,
            parents: match n {
                0 => vec![],
                n if n % 7 == 0 => vec![n - 1, n / 2, n / 3],
                n if n % 5 == 0 => vec![n - 1, n / 2],
                n => vec![n - 1],
            },
        };
        (0..900).map(row).collect()
    }

    fn open(bytes: &[u8]) -> Option<Rows> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Rows::read(file)
    }

    #[test]
    fn what_was_written_is_read() {
        let rows = rows();
        let file = open(&to_bytes(&rows)).unwrap();
        assert_eq!(file.count(), 900);
        assert!(file.blocks.len() > 3);
        for (n, row) in (0..).zip(&rows) {
            assert_eq!(file.find(&row.id), Some(n));
            assert_eq!(file.id(n), row.id);
            let facts = file.facts(n);
            assert_eq!((facts.time, facts.generation), (row.time, row.generation));
            let mut parents = Vec::new();
            file.parents(n, &mut |p| parents.push(p));
            assert_eq!(parents, row.parents);
        }
        for id in [[0; 32], [255; 32], *blake3::hash(b"other").as_bytes()] {
            assert_eq!(file.find(&id), None);
        }
        let mut alike = rows[5].id;
        alike[20] ^= 1;
        assert_eq!(file.find(&alike), None);
        assert!(!file.is_damaged());
        assert_eq!(open(&to_bytes(&[])).unwrap().find(&[0; 32]), None);
    }

    #[test]
    fn no_more_is_read_than_is_looked_at() {
        let file = open(&to_bytes(&rows())).unwrap();
        file.parents(899, &mut |_| {});
        let read = file.blocks.iter().filter(|b| b.get().is_some()).count();
        assert_eq!(read, 1);
    }

    #[test]
    fn what_is_damaged_is_noticed() {
        let rows = rows();
        let bytes = to_bytes(&rows);
        assert!(is_sound(&bytes));
        for at in (0..bytes.len()).step_by(97).chain(0..TABLE_OFFSET) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert!(!is_sound(&flipped), "byte {at}");
            let Some(file) = open(&flipped) else { continue };
            for (n, row) in (0..).zip(&rows) {
                file.find(&row.id);
                file.parents(n, &mut |_| {});
            }
            assert!(file.is_damaged(), "byte {at}");
        }
        for len in (0..bytes.len()).step_by(101) {
            assert!(!is_sound(&bytes[..len]), "{len} bytes");
            assert!(open(&bytes[..len]).is_none());
        }
    }

    #[test]
    fn a_file_of_another_version_has_no_rows() {
        // What was written before: rows in the order of their ids, one hash of everything.
        let mut old = b"MVGRAPH\x01".to_vec();
        old.extend([0; 8]);
        let hash = blake3::hash(&old);
        old.extend(hash.as_bytes());
        assert!(open(&old).is_none());
        assert!(!is_sound(&old));
    }

    #[test]
    fn a_file_that_claims_more_than_it_has_costs_nothing() {
        let mut bytes = to_bytes(&rows());
        bytes[8..16].fill(255);
        assert!(open(&bytes).is_none());
    }
}
