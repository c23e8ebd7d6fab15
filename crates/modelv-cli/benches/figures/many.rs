//! Very many files: in a thousand directories, and in one. Minutes of work and gigabytes of small
//! files, so only when it is asked for.

use std::path::Path;

use super::measure::Table;
use super::{Bench, GIT, Outcome, sh};
use crate::workload;

/// How often what is quick is done.
const ROUNDS: usize = 3;

impl Bench {
    /// First commit, status and the commit of one change of `count` files, ours and git's.
    pub(crate) fn many(&self, count: usize) -> Outcome {
        for (words, directories) in [("in 1,000 directories", 1000), ("in one directory", 1)] {
            println!("\n{count} files {words}");
            let mut table = Table::new("seconds", &["modelv", "git"]);
            let tree = self.repository("many")?;
            workload::many(&tree, count, directories)?;
            let ours = (
                "modelv",
                "cd \"$1\" && \"$0\" status".to_owned(),
                "cd \"$1\" && \"$0\" commit -m one".to_owned(),
            );
            let git = (
                "git",
                "cd \"$1\" && git status".to_owned(),
                format!("cd \"$1\" && git add -A && {GIT} commit -qm one"),
            );
            rounds(&mut table, &tree, &ours)?;
            if self.has_git {
                std::fs::remove_dir_all(tree.join(".mv"))?;
                sh("cd \"$1\" && git init -q .", &[&tree])?;
                rounds(&mut table, &tree, &git)?;
            }
            table.print();
            std::fs::remove_dir_all(&tree)?;
        }
        Ok(())
    }
}

fn rounds(
    table: &mut Table,
    tree: &Path,
    (tool, status, commit): &(&'static str, String, String),
) -> Outcome {
    // What the files left to be written is not for the first to wait for.
    sh("sync", &[])?;
    table.add("first commit", tool, sh(commit, &[tree])?);
    sh(status, &[tree])?;
    for round in 0..ROUNDS {
        table.add("status, nothing changed", tool, sh(status, &[tree])?);
        workload::touch_one(tree, round)?;
        table.add("commit of one change", tool, sh(commit, &[tree])?);
        sh(status, &[tree])?;
    }
    Ok(())
}
