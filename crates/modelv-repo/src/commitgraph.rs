//! The commit graph in numbers: parents, generations and times of all commits, so that walks need
//! not load them. Kept beside the store in `commitgraph` once a history is long; derived, checked
//! whenever it is read, and left out when it is damaged (`spec/statcache.md`).

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use modelv_core::graph::dag::Dag;
use modelv_core::id::CommitId;
use modelv_store::fs;

use crate::error::Result;
use crate::repo::Repo;

const MAGIC: &[u8; 8] = b"MVGRAPH\x01";
const HEAD_BYTES: usize = 16;
const ROW_BYTES: usize = 52;
const HASH_BYTES: usize = 32;
/// No parent; as a list's last entry, its end.
const NONE: u32 = u32::MAX;
/// The second parent is the place of a list of all but the first.
const LIST: u32 = 1 << 31;
/// So many commits that are not in the file are worth writing it anew.
const NEW_MIN: usize = 500;

/// The rows of the file, by id.
#[derive(Debug, Default)]
struct Cache {
    bytes: Vec<u8>,
    rows: usize,
}

impl Cache {
    fn read(path: &Path) -> Option<Self> {
        Self::parse(std::fs::read(path).ok()?)
    }

    fn parse(bytes: Vec<u8>) -> Option<Self> {
        let (body, hash) = bytes.split_at_checked(bytes.len().checked_sub(HASH_BYTES)?)?;
        if body.get(..8)? != MAGIC || blake3::hash(body).as_bytes() != hash {
            return None;
        }
        let number = |at: usize| Some(u32::from_le_bytes(*body.get(at..)?.first_chunk()?));
        let (rows, lists) = (number(8)? as usize, number(12)? as usize);
        let size = rows
            .checked_mul(ROW_BYTES)?
            .checked_add(lists.checked_mul(4)?)?;
        (size.checked_add(HEAD_BYTES)? == body.len()).then_some(Self { bytes, rows })
    }

    fn row(&self, at: usize) -> &[u8] {
        let start = HEAD_BYTES + at * ROW_BYTES;
        self.bytes
            .get(start..start + ROW_BYTES)
            .unwrap_or(&[0; ROW_BYTES])
    }

    fn number(&self, at: usize, offset: usize) -> u32 {
        let field = self.row(at).get(offset..).and_then(|b| b.first_chunk());
        field.map_or(0, |b| u32::from_le_bytes(*b))
    }

    fn id(&self, at: usize) -> [u8; 32] {
        self.row(at).first_chunk().copied().unwrap_or_default()
    }

    fn find(&self, id: &[u8; 32]) -> Option<usize> {
        let (mut low, mut high) = (0, self.rows);
        while low < high {
            let middle = low.midpoint(high);
            match self.row(middle)[..32].cmp(id) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    fn time(&self, at: usize) -> i64 {
        let field = self.row(at).get(32..).and_then(|b| b.first_chunk());
        field.map_or(0, |b| i64::from_le_bytes(*b))
    }

    fn parents(&self, at: usize, each: &mut dyn FnMut(u32)) {
        let rows = self.rows;
        let mut each = |row: u32| {
            if (row as usize) < rows {
                each(row);
            }
        };
        each(self.number(at, 44));
        let second = self.number(at, 48);
        if second == NONE || second & LIST == 0 {
            return each(second);
        }
        let lists = HEAD_BYTES + self.rows * ROW_BYTES;
        let list = self.bytes.get(lists + (second & !LIST) as usize * 4..);
        for entry in list.unwrap_or(&[]).chunks_exact(4) {
            let row = entry.first_chunk().map_or(NONE, |b| u32::from_le_bytes(*b));
            if row == NONE {
                break;
            }
            each(row);
        }
    }
}

/// A commit that is not in the file.
#[derive(Debug)]
struct Node {
    id: CommitId,
    time: i64,
    generation: u32,
    parents: Vec<u32>,
}

/// The graph above some commits.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    cache: Cache,
    new: Vec<Node>,
    places: HashMap<CommitId, u32>,
}

impl Graph {
    /// The number of a commit that the graph was loaded for, or an ancestor of one.
    pub(crate) fn place(&self, id: CommitId) -> Option<u32> {
        let new = self.places.get(&id).copied();
        new.or_else(|| u32::try_from(self.cache.find(&id.0)?).ok())
    }

    /// The id of a number.
    pub(crate) fn id(&self, at: u32) -> CommitId {
        match self.node(at) {
            Some(node) => node.id,
            None => CommitId(self.cache.id(at as usize)),
        }
    }

    fn node(&self, at: u32) -> Option<&Node> {
        self.new.get((at as usize).checked_sub(self.cache.rows)?)
    }

    fn add(&mut self, id: CommitId, time: i64, parents: Vec<u32>) {
        let above = parents.iter().map(|p| self.generation(*p)).max();
        let place = self.count();
        self.places.insert(id, u32::try_from(place).unwrap_or(NONE));
        self.new.push(Node {
            id,
            time,
            generation: above.map_or(1, |g| g.saturating_add(1)),
            parents,
        });
    }

    /// The bytes of a file that has all of it.
    fn to_bytes(&self) -> Vec<u8> {
        let n = self.count();
        let mut order: Vec<u32> = (0..n).filter_map(|i| u32::try_from(i).ok()).collect();
        order.sort_by_key(|at| self.id(*at));
        let mut rows = vec![NONE; n];
        for (row, at) in order.iter().enumerate() {
            rows[*at as usize] = u32::try_from(row).unwrap_or(NONE);
        }
        let (mut out, mut lists): (Vec<u8>, Vec<u32>) = (MAGIC.to_vec(), Vec::new());
        out.extend([0; 8]);
        for at in order {
            let mut parents = Vec::new();
            self.parents(at, &mut |p| parents.push(rows[p as usize]));
            out.extend(self.id(at).0);
            out.extend(self.age(at).0.to_le_bytes());
            out.extend(self.generation(at).to_le_bytes());
            let second = match parents.as_slice() {
                [] | [_] => NONE,
                [_, second] => *second,
                [_, more @ ..] => {
                    let place = u32::try_from(lists.len()).unwrap_or(0);
                    lists.extend(more);
                    lists.push(NONE);
                    LIST | place
                }
            };
            out.extend(parents.first().unwrap_or(&NONE).to_le_bytes());
            out.extend(second.to_le_bytes());
        }
        let counts = [n, lists.len()].map(|c| u32::try_from(c).unwrap_or(0).to_le_bytes());
        out[8..HEAD_BYTES].copy_from_slice(&counts.concat());
        out.extend(lists.iter().flat_map(|l| l.to_le_bytes()));
        let hash = blake3::hash(&out);
        out.extend(hash.as_bytes());
        out
    }
}

impl Dag for Graph {
    type Tie = CommitId;

    fn count(&self) -> usize {
        self.cache.rows + self.new.len()
    }

    fn parents(&self, at: u32, each: &mut dyn FnMut(u32)) {
        match self.node(at) {
            Some(node) => node.parents.iter().for_each(|p| each(*p)),
            None => self.cache.parents(at as usize, each),
        }
    }

    fn generation(&self, at: u32) -> u32 {
        match self.node(at) {
            Some(node) => node.generation,
            None => self.cache.number(at as usize, 40),
        }
    }

    fn age(&self, at: u32) -> (i64, CommitId) {
        match self.node(at) {
            Some(node) => (node.time, node.id),
            None => (self.cache.time(at as usize), self.id(at)),
        }
    }
}

/// Time and parents of a commit.
type Loaded = (i64, Vec<CommitId>);

/// Whether bytes are such a file.
pub(crate) fn is_sound(bytes: &[u8]) -> bool {
    Cache::parse(bytes.to_vec()).is_some()
}

impl Repo {
    fn commit_graph_path(&self) -> PathBuf {
        self.dir().join("commitgraph")
    }

    /// The graph of commits and everything before them.
    pub(crate) fn graph(&self, starts: &[CommitId]) -> Result<Graph> {
        let mut graph = Graph::default();
        // Where history is cut off, parents are not what the commits say.
        let is_whole = !self.is_shallow();
        if is_whole {
            graph.cache = Cache::read(&self.commit_graph_path()).unwrap_or_default();
        }
        // Parents first: a commit comes back once those are there that were missing.
        let mut stack: Vec<(CommitId, Option<Loaded>)> =
            starts.iter().map(|id| (*id, None)).collect();
        while let Some((id, loaded)) = stack.pop() {
            if graph.place(id).is_some() {
                continue;
            }
            if let Some((time, parents)) = loaded {
                let parents = parents.into_iter().filter_map(|p| graph.place(p)).collect();
                graph.add(id, time, parents);
                continue;
            }
            let commit = self.commit_object(id)?;
            let parents = self.parents_of_commit(&commit)?;
            stack.push((id, Some((commit.time.seconds, parents.clone()))));
            stack.extend(parents.into_iter().map(|p| (p, None)));
        }
        if is_whole && graph.new.len() >= NEW_MIN {
            // One that can't be written makes the next call slower, nothing else.
            let _ = self.write_graph(&graph);
        }
        Ok(graph)
    }

    fn write_graph(&self, graph: &Graph) -> std::io::Result<()> {
        let path = self.commit_graph_path();
        let new = self
            .dir()
            .join("tmp")
            .join(format!("commitgraph-{}", std::process::id()));
        fs::write_unsynced(&new, &graph.to_bytes())?;
        fs::replace(&new, &path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line of commits, and one with four parents.
    fn graph() -> Graph {
        let mut graph = Graph::default();
        let id = |n: u8| CommitId(*blake3::hash(&[n]).as_bytes());
        graph.add(id(0), 5, vec![]);
        for n in 1..6u8 {
            graph.add(id(n), i64::from(n) - 3, vec![u32::from(n) - 1]);
        }
        graph.add(id(6), 9, vec![5, 1]);
        graph.add(id(7), 9, vec![6, 2, 0, 4]);
        graph
    }

    #[test]
    fn what_was_written_is_read() {
        let old = graph();
        let new = Graph {
            cache: Cache::parse(old.to_bytes()).unwrap(),
            ..Graph::default()
        };
        for at in 0..8 {
            let id = old.id(at);
            let place = new.place(id).unwrap();
            assert_eq!((new.id(place), new.age(place)), (id, old.age(at)));
            assert_eq!(new.generation(place), old.generation(at));
            let parents = |g: &Graph, at| {
                let mut out = Vec::new();
                g.parents(at, &mut |p| out.push(g.id(p)));
                out
            };
            assert_eq!(parents(&new, place), parents(&old, at));
        }
        assert_eq!(new.place(CommitId([0; 32])), None);
        assert_eq!(new.to_bytes(), old.to_bytes());
    }

    #[test]
    fn what_is_damaged_is_left_out() {
        let bytes = graph().to_bytes();
        assert!(is_sound(&bytes));
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert!(!is_sound(&flipped), "byte {at}");
        }
        for len in 0..bytes.len() {
            assert!(!is_sound(&bytes[..len]), "{len} bytes");
        }
    }
}
