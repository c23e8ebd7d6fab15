//! How much of a file differs, in the unit its driver counts in.

use modelv_core::driver::{Change, Driver, State};

use super::FileDiff;

/// How much differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// What is counted: `lines`, `keys`, `packages`, `rows`, `cells`, `tensors` or `bytes`.
    pub unit: &'static str,
    /// Only in the new version; for bytes, its size.
    pub added: u64,
    /// Only in the old version; for bytes, its size.
    pub removed: u64,
    /// In both, and different.
    pub changed: u64,
}

impl Tally {
    fn of(unit: &'static str) -> Self {
        Self {
            unit,
            added: 0,
            removed: 0,
            changed: 0,
        }
    }

    /// All that differs.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.added + self.removed + self.changed
    }

    fn count(&mut self, state: State) {
        match state {
            State::Added => self.added += 1,
            State::Removed => self.removed += 1,
            State::Changed => self.changed += 1,
        }
    }
}

fn state<T>(old: &Option<T>, new: &Option<T>) -> State {
    match (old, new) {
        (None, _) => State::Added,
        (_, None) => State::Removed,
        _ => State::Changed,
    }
}

impl FileDiff {
    /// A lock file has keys around its packages; they are counted where no package differs.
    fn packages_or_keys(&self) -> &'static str {
        let is_package = |c: &Change| matches!(c, Change::Package { .. });
        let is_key = |c: &Change| matches!(c, Change::Key { .. });
        if self.inside.iter().any(is_key) && !self.inside.iter().any(is_package) {
            "keys"
        } else {
            "packages"
        }
    }

    /// How much of it differs.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let mut out = Tally::of(match self.driver {
            Driver::Text | Driver::Wide => "lines",
            Driver::Config(_) => "keys",
            Driver::Packages | Driver::PackageFile(_) => self.packages_or_keys(),
            Driver::Table(_) | Driver::JsonLines | Driver::Parquet => "rows",
            Driver::Notebook => "cells",
            Driver::Tensors(_) => "tensors",
            Driver::Image | Driver::Binary => "bytes",
        });
        let mut lines = None;
        for change in &self.inside {
            match (out.unit, change) {
                ("keys", Change::Key { old, new, .. }) => out.count(state(old, new)),
                ("packages", Change::Package { old, new, .. }) => out.count(state(old, new)),
                ("cells", Change::Cell { state, .. }) => out.count(*state),
                ("tensors", Change::Tensor(t)) => out.count(state(&t.old, &t.new)),
                (
                    "rows",
                    Change::Keyed {
                        added,
                        removed,
                        changed,
                        ..
                    },
                ) => {
                    (out.added, out.removed, out.changed) = (*added, *removed, *changed);
                }
                ("bytes", Change::Bytes { old, new }) => (out.added, out.removed) = (*new, *old),
                (_, Change::Lines { added, removed }) => lines = Some((*added, *removed)),
                _ => {}
            }
        }
        // Lines tell where the parts don't: rows without a key, comments of a configuration.
        if out.sum() == 0 && out.unit != "bytes" {
            let lines =
                lines.or_else(|| self.ops.as_ref().map(modelv_core::driver::LineOps::counts));
            if let Some((added, removed)) = lines {
                out = Tally {
                    added,
                    removed,
                    ..Tally::of("lines")
                };
            }
        }
        out
    }
}
