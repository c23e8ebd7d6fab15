//! Sweeps: one run for each point of a grid of parameters.
//!
//! The parameters are set in the configuration files, so that each point has a recipe of its own, or where the
//! command line names them in braces; each is
//! executed in a clean checkout, so that points disturb neither one another nor the user's files. A point
//! whose result is known is not executed again. Points that fail are kept as failed, and the rest goes on.

mod grid;

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;

use modelv_core::canon::Kind;
use modelv_core::id::RunId;
use modelv_core::run::{Origin, Run, Status};
use modelv_store::remote::Item;

use crate::capture::exec::Execution;
use crate::capture::secrets;
use crate::capture::system::Sampler;
use crate::ctx::Ctx;
use crate::error::Result;
use crate::pipeline::{StageDone, StageEvent, StageOutcome, Watch};
use crate::repo::Repo;
use crate::run::clean::CleanTree;
use crate::run::pool::{self, Start, Work};
use crate::run::{Beginning, Ending, Hold, RUN_VARIABLE, Record, RunOptions, record_of, words_of};
use crate::runs::{RunIndex, no_best};
use crate::worktree::write_one_tree;

use grid::{Point, points};

pub use grid::Axis;

/// What a sweep is asked for.
#[derive(Debug, Clone, Default)]
pub struct SweepOptions {
    /// The grid: every value of each with every value of the others.
    pub axes: Vec<Axis>,
    /// So many points at once; 0 counts as 1.
    pub jobs: usize,
    /// Command, interpreter and the rest, as for any run.
    pub run: RunOptions,
}

/// What a point came to.
#[derive(Debug)]
pub struct SweepPoint {
    /// Its values, in the order of the axes.
    pub values: Vec<String>,
    /// Its run; `None`: it was not reached.
    pub run: Option<(RunId, Run)>,
    /// Whether the result was known.
    pub reused: bool,
}

/// What a sweep came to.
#[derive(Debug)]
pub struct SweepOutcome {
    /// The run that holds the points together.
    pub id: RunId,
    /// Every point of the grid, the last axis varying fastest.
    pub points: Vec<SweepPoint>,
    /// Whether it was stopped.
    pub interrupted: bool,
}

impl SweepOutcome {
    /// The finished point with the largest (or smallest) value of a metric.
    ///
    /// # Errors
    /// No finished point has a number of that name.
    pub fn best(&self, metric: &str, smallest: bool) -> Result<&(RunId, Run)> {
        let number = |run: &Run| run.metrics.get(metric)?.as_f64().filter(|n| !n.is_nan());
        let runs = self.points.iter().filter_map(|p| p.run.as_ref());
        let finished = runs.filter(|(_, run)| run.status == Status::Finished);
        let is_there = finished
            .clone()
            .any(|(_, run)| run.metrics.contains_key(metric));
        let ranked = finished.filter_map(|found| Some((number(&found.1)?, found)));
        let best = ranked.min_by(|a, b| {
            if smallest {
                a.0.total_cmp(&b.0)
            } else {
                b.0.total_cmp(&a.0)
            }
        });
        best.map(|(_, found)| found)
            .ok_or_else(|| no_best(metric, is_there))
    }
}

struct Sweep<'a> {
    repo: &'a mut Repo,
    options: &'a SweepOptions,
    watch: &'a dyn Watch,
    ctx: &'a Ctx<'a>,
    parent: [u8; 16],
    points: Vec<Point>,
    next: usize,
    /// `None`: everything is executed.
    known: Option<RunIndex>,
    active: HashMap<usize, (Record, CleanTree, Option<Sampler>)>,
    done: BTreeMap<usize, ((RunId, Run), bool)>,
}

impl Repo {
    /// Runs every point of a grid of parameters.
    ///
    /// # Errors
    /// A merge is open, a parameter is neither in a configuration file nor in the command, or can't be set, or something can't be
    /// read or written. Points that fail are no error.
    pub fn sweep(
        &mut self,
        options: &SweepOptions,
        watch: &dyn Watch,
        ctx: &Ctx<'_>,
    ) -> Result<SweepOutcome> {
        self.refuse_while_merging("run")?;
        let command = self.command_of(&options.run)?;
        let mut words: Vec<String> = ["modelv", "run"].map(str::to_owned).to_vec();
        for axis in &options.axes {
            words.push("--sweep".into());
            words.push(format!("{}={}", axis.name, axis.values.join(",")));
        }
        words.push("--".into());
        words.extend(words_of(&command));
        // Its points are executed in folders of their own: it need not have the working tree.
        let whole = self.begin_held(&options.run, &words, Hold::Free, ctx)?;
        let session = self.store.begin()?;
        let points = points(self, &whole, options, &command, &session, ctx)
            .inspect_err(|_| whole.record.forget())?;
        session.finish()?;
        let trees = points
            .iter()
            .flat_map(|p| [p.recipe.code, p.recipe.data, p.recipe.config]);
        let items: Vec<Item> = trees.map(|t| Item::Object(Kind::Tree, t.0)).collect();
        let _lease = self.lease(&items)?;
        let mut sweep = Sweep {
            known: (!options.run.force).then(|| self.run_index()).transpose()?,
            parent: whole.record.draft.nonce,
            repo: self,
            options,
            watch,
            ctx,
            points,
            next: 0,
            active: HashMap::new(),
            done: BTreeMap::new(),
        };
        let worked = pool::carry_out(&mut sweep, options.jobs, watch, ctx);
        let Sweep {
            points, mut done, ..
        } = sweep;
        let is_ok = done.len() == points.len()
            && done
                .values()
                .all(|((_, run), _)| run.status == Status::Finished);
        let ending = Ending::of(match ctx.cancel.is_cancelled() {
            true => None,
            false => Some(i32::from(!is_ok || worked.is_err())),
        });
        let id = self.finish_group(&whole, ending)?;
        worked?;
        let point = |(at, point): (usize, Point)| {
            let (run, reused) = done
                .remove(&at)
                .map_or((None, false), |(run, reused)| (Some(run), reused));
            SweepPoint {
                values: point.values,
                run,
                reused,
            }
        };
        Ok(SweepOutcome {
            id,
            points: points.into_iter().enumerate().map(point).collect(),
            interrupted: ctx.cancel.is_cancelled(),
        })
    }
}

impl Sweep<'_> {
    fn close(&mut self, at: usize, found: (RunId, Run), reused: bool) {
        let (id, run) = &found;
        let done = match (run.status, reused) {
            (_, true) => StageDone::UpToDate,
            (Status::Finished, _) => StageDone::Finished,
            (Status::Interrupted, _) => StageDone::Interrupted,
            (Status::Failed, _) => {
                let code = run.exit_code.unwrap_or(1);
                StageDone::Failed(format!("its command ended with status {code}"))
            }
        };
        let outcome = StageOutcome {
            name: self.points[at].label.clone(),
            done,
            run: Some(*id),
            duration_ms: run.duration_ms,
            why: Vec::new(),
        };
        self.watch.tell(&outcome.name, StageEvent::Ends(&outcome));
        self.done.insert(at, (found, reused));
    }

    fn start(&mut self, at: usize) -> Result<Option<Start>> {
        let point = &self.points[at];
        let mut words = words_of(&point.command);
        secrets::mask_words(&mut words);
        let mut given = self.options.run.params.clone();
        given.extend(point.params.clone());
        let recipe = point.recipe.id();
        let known = self.known.as_ref();
        let known = known.map(|index| self.repo.find_result(index, recipe, &words, &given));
        if let Some(found) = known.transpose()?.flatten() {
            self.close(at, found, true);
            return Ok(None);
        }
        let point = &self.points[at];
        self.watch.tell(&point.label, StageEvent::Starts(&[]));
        let tree = self.repo.clean_tree(&point.files, self.ctx)?;
        let mut params = self.repo.params_of(&point.files)?;
        params.extend(given);
        secrets::mask_values(&mut params);
        let record = self.repo.begin_record(Beginning {
            command: words,
            recipe: point.recipe,
            params,
            host: self.repo.host_facts(&point.files)?,
            origin: Origin {
                parent: Some(self.parent),
                ..Origin::default()
            },
        })?;
        let variable = |name: &str, value: OsString| (OsString::from(name), value);
        let mut env = vec![
            variable("MODELV_RECIPE", record.draft.recipe.to_hex().into()),
            variable(RUN_VARIABLE, record.folder.clone().into()),
            tree.variable(),
        ];
        env.extend(self.repo.modules_of(&tree, &point.files, &point.recipe)?);
        let start = Start {
            at,
            name: point.label.clone(),
            command: point.command.clone(),
            cwd: tree.root(),
            env,
            log: record.log_path(),
        };
        let sampler = self.repo.sampler(&record.folder)?;
        self.active.insert(at, (record, tree, sampler));
        Ok(Some(start))
    }
}

impl Work for Sweep<'_> {
    fn next(&mut self) -> Result<Option<Start>> {
        while self.next < self.points.len() {
            self.next += 1;
            if let Some(start) = self.start(self.next - 1)? {
                return Ok(Some(start));
            }
        }
        Ok(None)
    }

    fn end(&mut self, at: usize, execution: Result<Execution>) -> Result<()> {
        let Some((record, tree, sampler)) = self.active.remove(&at) else {
            return Ok(());
        };
        drop(sampler);
        let execution = execution.inspect_err(|_| record.forget())?;
        let ending = Ending::of(execution.exit_code);
        let session = self.repo.store.begin()?;
        let (mut run, _) = self.repo.close_record(&record, ending, &session)?;
        if ending.status != Status::Interrupted {
            run.metrics.extend(tree.metrics(self.ctx));
        }
        if ending.status == Status::Finished {
            let made = tree.outputs(self.repo, &session, self.ctx)?;
            let made = (!made.is_empty()).then(|| write_one_tree(&made, Some(&session)));
            run.outputs = made.transpose()?;
        }
        let id = RunId(session.put_object(&run)?);
        session.finish()?;
        self.repo.update_refs(vec![record_of(id)])?;
        record.forget();
        self.close(at, (id, run), false);
        Ok(())
    }
}
