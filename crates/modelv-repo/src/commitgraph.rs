//! The commit graph in numbers: parents, generations and times of all commits, so that walks need
//! not load them. Kept beside the store once a history is long ([`file`]); derived, checked
//! wherever it is read, and left out when it is damaged.

use std::collections::HashMap;
use std::path::PathBuf;

use modelv_core::graph::dag::Dag;
use modelv_core::id::CommitId;
use modelv_store::fs;

use crate::error::Result;
use crate::oplog::Target;
use crate::repo::Repo;

mod file;

pub(crate) use file::is_sound;
use file::{NONE, Row, Rows};

/// So many commits that are not in the file are worth writing it anew.
const NEW_MIN: usize = 500;

/// A commit that is not in the file.
#[derive(Debug)]
struct Node {
    id: CommitId,
    time: i64,
    generation: u32,
    parents: Vec<u32>,
}

/// The graph above some commits. Those of the file have the numbers of their rows.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    rows: Rows,
    new: Vec<Node>,
    places: HashMap<CommitId, u32>,
}

impl Graph {
    /// The number of a commit that the graph was loaded for, or an ancestor of one.
    pub(crate) fn place(&self, id: CommitId) -> Option<u32> {
        let new = self.places.get(&id).copied();
        new.or_else(|| self.rows.find(&id.0))
    }

    /// The id of a number.
    pub(crate) fn id(&self, at: u32) -> CommitId {
        match self.node(at) {
            Some(node) => node.id,
            None => CommitId(self.rows.id(at)),
        }
    }

    fn node(&self, at: u32) -> Option<&Node> {
        self.new.get(at.checked_sub(self.rows.count())? as usize)
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

    /// Everything as rows of a file: a walk from a tip finds what it looks at close together.
    fn to_rows(&self) -> Vec<Row> {
        let mut order: Vec<u32> = (0..self.count())
            .filter_map(|i| u32::try_from(i).ok())
            .collect();
        order.sort_by_cached_key(|at| (self.generation(*at), self.age(*at)));
        let mut rows = vec![NONE; order.len()];
        for (row, at) in (0..).zip(&order) {
            rows[*at as usize] = row;
        }
        let row = |at: u32| {
            let mut parents = Vec::new();
            self.parents(at, &mut |p| parents.push(rows[p as usize]));
            Row {
                id: self.id(at).0,
                time: self.age(at).0,
                generation: self.generation(at),
                parents,
            }
        };
        order.into_iter().map(row).collect()
    }
}

impl Dag for Graph {
    type Tie = CommitId;

    fn count(&self) -> usize {
        self.rows.count() as usize + self.new.len()
    }

    fn parents(&self, at: u32, each: &mut dyn FnMut(u32)) {
        match self.node(at) {
            Some(node) => node.parents.iter().for_each(|p| each(*p)),
            None => self.rows.parents(at, each),
        }
    }

    fn generation(&self, at: u32) -> u32 {
        match self.node(at) {
            Some(node) => node.generation,
            None => self.rows.facts(at).generation,
        }
    }

    fn age(&self, at: u32) -> (i64, CommitId) {
        match self.node(at) {
            Some(node) => (node.time, node.id),
            None => (self.rows.facts(at).time, self.id(at)),
        }
    }
}

/// Time and parents of a commit.
type Loaded = (i64, Vec<CommitId>);

impl Repo {
    fn commit_graph_path(&self) -> PathBuf {
        self.dir().join("commitgraph")
    }

    /// What a walk over the graph of commits, and everything before them, finds.
    ///
    /// # Errors
    /// A commit is missing or damaged.
    pub(crate) fn on_graph<T>(
        &self,
        starts: &[CommitId],
        walk: impl Fn(&Graph) -> Result<T>,
    ) -> Result<T> {
        // Where history is cut off, parents are not what the commits say.
        let rows = if self.is_shallow() {
            Rows::default()
        } else {
            Rows::open(&self.commit_graph_path())
        };
        let graph = self.load_graph(starts, rows)?;
        let found = walk(&graph);
        if !graph.rows.is_damaged() {
            return found;
        }
        // What it led to is no answer, and no error of the history either.
        walk(&self.load_graph(starts, Rows::default())?)
    }

    fn load_graph(&self, starts: &[CommitId], rows: Rows) -> Result<Graph> {
        let mut graph = Graph {
            rows,
            ..Graph::default()
        };
        self.grow(&mut graph, starts)?;
        if graph.new.len() >= NEW_MIN && !self.is_shallow() {
            // With what other names lead to, so that the next walk finds that too. What can't be read
            // is a matter for those who need it.
            for target in self.log.refs.values() {
                if let Target::Commit(id) = target {
                    let _ = self.grow(&mut graph, &[*id]);
                }
            }
            let rows = graph.to_rows();
            if !graph.rows.is_damaged() {
                // One that can't be written makes the next call slower, nothing else.
                let _ = self.write_graph(&rows);
            }
        }
        Ok(graph)
    }

    /// Adds commits, and everything before them.
    fn grow(&self, graph: &mut Graph, starts: &[CommitId]) -> Result<()> {
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
        Ok(())
    }

    fn write_graph(&self, rows: &[Row]) -> std::io::Result<()> {
        let path = self.commit_graph_path();
        let new = self
            .dir()
            .join("tmp")
            .join(format!("commitgraph-{}", std::process::id()));
        fs::write_unsynced(&new, &file::to_bytes(rows))?;
        fs::replace(&new, &path)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

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
    fn a_graph_of_a_file_is_the_one_that_was_written() {
        let old = graph();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&file::to_bytes(&old.to_rows())).unwrap();
        let new = Graph {
            rows: Rows::read(file).unwrap(),
            ..Graph::default()
        };
        assert_eq!(new.count(), old.count());
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
        let bytes = |g: &Graph| file::to_bytes(&g.to_rows());
        assert_eq!(bytes(&new), bytes(&old));
    }
}
