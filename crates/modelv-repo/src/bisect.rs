//! Bisect: finding the commit where something broke, by halves. What is known lives in the operation
//! log under `bisect/`, so that it survives and `undo` takes each answer back.

use std::collections::HashSet;
use std::ffi::OsString;
use std::process::Command;

use modelv_core::graph;
use modelv_core::id::CommitId;
use modelv_core::run::{Run, Status};

use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::history::LogOptions;
use crate::names;
use crate::oplog::{RefChange, Target};
use crate::repo::Repo;
use crate::runs::Condition;

/// Where HEAD was before.
const START: &str = "bisect/start";
const BAD: &str = "bisect/bad";
const GOOD: &str = "bisect/good/";
const SKIP: &str = "bisect/skip/";
/// The command can't tell, as in Git.
const SKIP_STATUS: i32 = 125;

/// What is known of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It has what was lost later.
    Good,
    /// It lacks it.
    Bad,
    /// Nobody can tell.
    Skip,
}

impl Verdict {
    /// The word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Skip => "skip",
        }
    }
}

/// What is known so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BisectState {
    /// The bad commit that is nearest to the good ones.
    pub bad: Option<CommitId>,
    /// Good commits.
    pub good: Vec<CommitId>,
    /// Commits nobody can tell of.
    pub skipped: Vec<CommitId>,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BisectStep {
    /// A good commit or a bad one is still to be named.
    Waiting,
    /// This one is to be tried; so many could still be the first bad one.
    Try(CommitId, usize),
    /// The first bad commit.
    Found(CommitId),
    /// One of these, for nobody can tell of the others.
    OneOf(Vec<CommitId>),
}

impl Repo {
    /// What is known, while a bisection is under way.
    #[must_use]
    pub fn bisect_state(&self) -> Option<BisectState> {
        self.log.refs.get(START)?;
        let below = |prefix| {
            self.refs_below(prefix)
                .into_iter()
                .map(|(_, id)| id)
                .collect()
        };
        Some(BisectState {
            bad: self.ref_commit(BAD),
            good: below(GOOD),
            skipped: below(SKIP),
        })
    }

    /// Whether a bisection that is under way ends on this branch.
    pub(crate) fn bisect_began_on(&self, full: &str) -> bool {
        let start = self.log.refs.get(START);
        matches!(start, Some(Target::Symbolic(name)) if name == full)
    }

    /// Begins, with what is known already.
    ///
    /// # Errors
    /// One is under way, a revision is unknown, or a good commit does not lie before the bad one.
    pub fn bisect_start(
        &mut self,
        bad: Option<&str>,
        good: &[String],
        ctx: &Ctx<'_>,
    ) -> Result<BisectStep> {
        let _turn = self.take_turn()?;
        self.refuse_while_merging("bisect")?;
        self.refuse_while_running("bisect")?;
        if self.bisect_state().is_some() {
            return Err(Error::State("a bisection is under way already".into()));
        }
        self.get_head()?;
        let mut state = BisectState::default();
        let mut changes = vec![RefChange {
            name: START.into(),
            old: None,
            new: self.log.refs.get(names::HEAD).cloned(),
        }];
        for (verdict, revision) in bad
            .map(|b| (Verdict::Bad, b))
            .into_iter()
            .chain(good.iter().map(|g| (Verdict::Good, g.as_str())))
        {
            let id = self.resolve(revision)?;
            changes.extend(self.note(&mut state, verdict, id));
        }
        self.go_on(&state, changes, true, ctx)
    }

    /// Notes what is known of revisions, HEAD without any, and checks the next one out.
    ///
    /// # Errors
    /// None is under way, or a good commit does not lie before the bad one.
    pub fn bisect_mark(
        &mut self,
        verdict: Verdict,
        revisions: &[String],
        ctx: &Ctx<'_>,
    ) -> Result<BisectStep> {
        let _turn = self.take_turn()?;
        let mut ids = Vec::new();
        for revision in revisions {
            ids.push(self.resolve(revision)?);
        }
        if ids.is_empty() {
            ids.push(self.get_head()?);
        }
        let mut state = self.under_way()?;
        let mut changes = Vec::new();
        for id in ids {
            changes.extend(self.note(&mut state, verdict, id));
        }
        self.go_on(&state, changes, true, ctx)
    }

    /// Runs a command in the working tree of one commit after the other: 0 is good, 125 can't tell,
    /// another status below 128 is bad.
    ///
    /// # Errors
    /// The command can't be run, ends with 128 or more or by a signal, or nothing is known yet.
    pub fn bisect_run(
        &mut self,
        command: &[OsString],
        told: &mut dyn FnMut(CommitId, Verdict),
        ctx: &Ctx<'_>,
    ) -> Result<BisectStep> {
        let state = self.under_way()?;
        let mut step = self.go_on(&state, Vec::new(), true, ctx)?;
        refuse_waiting(&step)?;
        while let BisectStep::Try(id, _) = step {
            ctx.cancel.check()?;
            let verdict = self.try_command(command)?;
            told(id, verdict);
            self.log.catch_up()?;
            step = self.bisect_mark(verdict, &[id.to_hex()], ctx)?;
        }
        Ok(step)
    }

    fn try_command(&self, command: &[OsString]) -> Result<Verdict> {
        let (program, arguments) = command
            .split_first()
            .ok_or_else(|| Error::State("no command given".into()))?;
        let failed = |detail: String| Error::Program {
            program: program.to_string_lossy().into_owned(),
            detail,
        };
        let status = Command::new(program)
            .args(arguments)
            .current_dir(self.root())
            .status()
            .map_err(|e| failed(e.to_string()))?;
        match status.code() {
            Some(0) => Ok(Verdict::Good),
            Some(SKIP_STATUS) => Ok(Verdict::Skip),
            Some(1..=127) => Ok(Verdict::Bad),
            _ => Err(failed(format!("it ended with {status}: bisection stops"))),
        }
    }

    /// Decides by a metric of the recorded runs: good where the condition holds. Nothing is checked
    /// out. A commit whose own recipe has no finished run with the metric can't be told of.
    ///
    /// # Errors
    /// Nothing is known yet, or a run is damaged.
    pub fn bisect_metric(
        &mut self,
        condition: &Condition,
        told: &mut dyn FnMut(CommitId, Verdict),
        ctx: &Ctx<'_>,
    ) -> Result<BisectStep> {
        let runs = self.runs()?;
        let mut state = self.under_way()?;
        let mut changes = Vec::new();
        let mut step = self.step(&state)?;
        refuse_waiting(&step)?;
        while let BisectStep::Try(id, _) = step {
            ctx.cancel.check()?;
            let commit = self.commit_object(id)?;
            let recipe = commit.recipe.id();
            let fits = |run: &&Run| {
                let is_sure = run.status == Status::Finished && run.origin.doubts.is_empty();
                run.recipe == recipe && is_sure && condition.is_about(run)
            };
            // Its own runs before others of the recipe, the last first.
            let own = commit.runs.iter().rev().map(|r| self.run_object(*r));
            let own = own.collect::<Result<Vec<Run>>>()?;
            let run = own.iter().chain(runs.iter().map(|(_, r)| r)).find(fits);
            let verdict = match run.map(|run| condition.holds(run)) {
                Some(true) => Verdict::Good,
                Some(false) => Verdict::Bad,
                None => Verdict::Skip,
            };
            told(id, verdict);
            changes.extend(self.note(&mut state, verdict, id));
            step = self.step(&state)?;
        }
        self.go_on(&state, changes, false, ctx)
    }

    /// Ends it: HEAD is where it was before.
    ///
    /// # Errors
    /// None is under way, or uncommitted changes would be lost.
    pub fn bisect_reset(&mut self, ctx: &Ctx<'_>) -> Result<()> {
        let _turn = self.take_turn()?;
        self.under_way()?;
        let start = self.log.refs.get(START).cloned();
        let target = match &start {
            Some(Target::Symbolic(branch)) => self.ref_commit(branch),
            Some(Target::Commit(id)) => Some(*id),
            _ => None,
        };
        let target = target.ok_or_else(|| Error::State("where it began is gone".into()))?;
        let moved = self.head() != Some(target);
        if moved {
            self.check_out(self.head(), &self.files(target)?, "bisect", ctx)?;
        }
        let gone = self.log.refs.range("bisect/".to_owned()..);
        let gone = gone.take_while(|(name, _)| name.starts_with("bisect/"));
        let mut changes: Vec<RefChange> = gone
            .map(|(name, old)| RefChange {
                name: name.clone(),
                old: Some(old.clone()),
                new: None,
            })
            .collect();
        let head = self.log.refs.get(names::HEAD).cloned();
        if head != start {
            changes.push(RefChange {
                name: names::HEAD.into(),
                old: head,
                new: start,
            });
        }
        self.append(changes, moved, None).map(|_| ())
    }

    fn under_way(&self) -> Result<BisectState> {
        let state = self.bisect_state();
        state.ok_or_else(|| Error::State("no bisection is under way".into()))
    }

    /// Takes a verdict into the state and gives the refs that note it.
    fn note(&self, state: &mut BisectState, verdict: Verdict, id: CommitId) -> Option<RefChange> {
        let name = match verdict {
            Verdict::Bad => {
                state.bad = Some(id);
                BAD.to_owned()
            }
            Verdict::Good => {
                state.good.push(id);
                format!("{GOOD}{}", id.to_hex())
            }
            Verdict::Skip => {
                state.skipped.push(id);
                format!("{SKIP}{}", id.to_hex())
            }
        };
        let old = self.log.refs.get(&name).cloned();
        let new = Some(Target::Commit(id));
        (old != new).then_some(RefChange { name, old, new })
    }

    /// What comes next by what is known.
    fn step(&self, state: &BisectState) -> Result<BisectStep> {
        let Some(bad) = state.bad.filter(|_| !state.good.is_empty()) else {
            return Ok(BisectStep::Waiting);
        };
        for good in &state.good {
            if self.merge_bases(bad, *good)? != [*good] || *good == bad {
                return Err(Error::State(format!(
                    "good commit `{}` does not lie before bad commit `{}`",
                    good.short(),
                    bad.short()
                )));
            }
        }
        let span = LogOptions {
            start: vec![bad],
            exclude: state.good.clone(),
            ..LogOptions::default()
        };
        let mut order: Vec<CommitId> = self.history(&span)?.into_iter().map(|(id, _)| id).collect();
        order.reverse();
        if order == [bad] {
            return Ok(BisectStep::Found(bad));
        }
        let counts = graph::reach(&order, |id| self.parents_of(id))?;
        let skipped: HashSet<CommitId> = state.skipped.iter().copied().collect();
        let n = order.len();
        let best = order
            .iter()
            .zip(counts)
            .filter(|(id, _)| **id != bad && !skipped.contains(id))
            .max_by_key(|(_, count)| *count.min(&(n - count)));
        Ok(match best {
            Some((id, _)) => BisectStep::Try(*id, n),
            None => BisectStep::OneOf(order),
        })
    }

    fn go_on(
        &mut self,
        state: &BisectState,
        changes: Vec<RefChange>,
        check_out: bool,
        ctx: &Ctx<'_>,
    ) -> Result<BisectStep> {
        let step = self.step(state)?;
        // The last of several about one name counts.
        let mut last: Vec<RefChange> = Vec::new();
        for change in changes {
            last.retain(|c| c.name != change.name);
            last.push(change);
        }
        let mut moved = false;
        if let BisectStep::Try(id, _) = &step
            && check_out
            && self.head() != Some(*id)
        {
            self.check_out(self.head(), &self.files(*id)?, "bisect", ctx)?;
            last.push(self.ref_change(names::HEAD, Some(Target::Commit(*id))));
            moved = true;
        }
        if !last.is_empty() {
            self.append(last, moved, None)?;
        }
        Ok(step)
    }
}

fn refuse_waiting(step: &BisectStep) -> Result<()> {
    if *step == BisectStep::Waiting {
        let text = "bisect needs a bad commit and a good one to begin with";
        return Err(Error::State(text.into()));
    }
    Ok(())
}
