//! The graph beside `log` and `pipeline`: one column a line of history, or of stages that follow
//! one another.

/// Columns of what is still to come: parents of commits, or stages that need one above.
#[derive(Debug)]
pub(crate) struct Graph<T> {
    columns: Vec<T>,
}

impl<T> Default for Graph<T> {
    fn default() -> Self {
        Self {
            columns: Vec::new(),
        }
    }
}

impl<T: Copy + PartialEq> Graph<T> {
    /// The line of a commit, and the lines that join and part columns below it.
    pub(crate) fn next(&mut self, id: T, parents: &[T]) -> (String, Vec<String>) {
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
            for more in 0..self.columns.len() - before {
                let bars = vec!["|"; at + 1 + more].join(" ");
                below.push(format!("{bars}\\"));
            }
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
    use modelv_repo::core::id::CommitId;

    use super::*;

    #[test]
    fn every_further_column_has_a_line() {
        let mut graph = Graph::default();
        assert_eq!(
            graph.next(0, &[1, 2, 3]),
            ("*".into(), vec!["|\\".into(), "| |\\".into()])
        );
        assert_eq!(graph.next(1, &[4]).0, "* | |");
    }

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
