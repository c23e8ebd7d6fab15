//! The graph beside `log`: one column a line of history.

use modelv_repo::core::id::CommitId;

/// Columns of commits that are still to come.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    columns: Vec<CommitId>,
}

impl Graph {
    /// The line of a commit, and the lines that join and part columns below it.
    pub(crate) fn next(&mut self, id: CommitId, parents: &[CommitId]) -> (String, Vec<String>) {
        let at = match self.columns.iter().position(|c| *c == id) {
            Some(at) => at,
            None => {
                self.columns.push(id);
                self.columns.len() - 1
            }
        };
        let mark = |i: usize| if i == at { "*" } else { "|" };
        let line = (0..self.columns.len())
            .map(mark)
            .collect::<Vec<_>>()
            .join(" ");
        let before = self.columns.len();
        self.columns.remove(at);
        let mut insert = at;
        for parent in parents {
            if !self.columns.contains(parent) {
                self.columns.insert(insert.min(self.columns.len()), *parent);
                insert += 1;
            }
        }
        let mut below = Vec::new();
        if self.columns.len() > before {
            let bars = vec!["|"; at + 1].join(" ");
            below.push(format!("{bars}\\"));
        } else if self.columns.len() < before && !self.columns.is_empty() {
            let bars = vec!["|"; at.max(1)].join(" ");
            below.push(format!("{bars}/"));
        }
        (line, below)
    }

    /// The columns beside further lines of a commit's text.
    pub(crate) fn margin(&self) -> String {
        vec!["|"; self.columns.len()].join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merge_opens_a_column_and_its_base_closes_it() {
        let id = |n: u8| CommitId([n; 32]);
        let mut graph = Graph::default();
        let mut out = Vec::new();
        for (commit, parents) in [(4, vec![3, 2]), (3, vec![1]), (2, vec![1]), (1, vec![])] {
            let parents: Vec<CommitId> = parents.into_iter().map(id).collect();
            let (line, below) = graph.next(id(commit), &parents);
            out.push(line);
            out.extend(below);
        }
        assert_eq!(out, ["*", "|\\", "* |", "| *", "|/", "*"]);
    }
}
