//! Running a pipeline: what is decided is done, stage by stage or several at once.
//!
//! One thread decides, stores and records; each stage that is executed has a thread that waits for its
//! program. A stage that fails stops those that need it, and no others. Whatever is in the way of
//! outputs and was never recorded is put aside first, so that `undo` or the log can bring it back.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;

use modelv_core::id::RunId;
use modelv_core::path::RepoPath;
use modelv_core::run::Origin;
use modelv_core::value::Value;

use super::plan::{Decided, Decision, Planner};
use super::{PipelineOptions, PipelineOutcome, StageDone, StageEvent, StageOutcome, Watch, Why};
use crate::capture::exec::Execution;
use crate::capture::system::Sampler;
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::repo::Repo;
use crate::run::pool::{self, Start, Work};
use crate::run::{ActiveRun, Beginning, Hold, RUN_VARIABLE, Record, Stamps};
use crate::worktree::{Files, write_one_tree};

/// What the record of a whole pipeline says was executed.
pub(crate) const COMMAND: [&str; 3] = ["modelv", "pipeline", "run"];
/// Names the stage to its program.
const STAGE_VARIABLE: &str = "MODELV_STAGE";

pub(super) struct Runner<'a> {
    pub(super) repo: &'a mut Repo,
    pub(super) planner: Planner,
    pub(super) options: &'a PipelineOptions,
    watch: &'a dyn Watch,
    pub(super) ctx: &'a Ctx<'a>,
    /// One for each stage that is done, by number.
    pub(super) done: BTreeMap<usize, StageOutcome>,
    /// Stages whose programs run.
    pub(super) active: HashMap<usize, Running>,
    /// The run of the whole, once it was needed.
    pub(super) whole: Option<ActiveRun>,
    /// The right to execute here, until the run of the whole has it.
    hold: Hold,
}

/// A stage whose program runs.
pub(super) struct Running {
    pub(super) record: Record,
    pub(super) why: Vec<Why>,
    /// What it was given.
    pub(super) inputs: Files,
    pub(super) params: BTreeMap<String, Value>,
    /// Of what it was given, and of the files that parameters come from.
    pub(super) stamps: Stamps,
    /// What was at its outputs.
    pub(super) before: Files,
    /// Looks at the machine as long as it runs.
    pub(super) sampler: Option<Sampler>,
}

impl Repo {
    /// Runs what of the pipeline has to be run, and records it.
    ///
    /// # Errors
    /// A merge is open, an input is missing, or something can't be read or written. A stage that fails
    /// is no error: see [`PipelineOutcome::is_ok`].
    pub fn run_pipeline(
        &mut self,
        options: &PipelineOptions,
        watch: &dyn Watch,
        ctx: &Ctx<'_>,
    ) -> Result<PipelineOutcome> {
        self.refuse_while_merging("run")?;
        let hold = self.hold(&COMMAND.join(" "), options.run.wait, ctx)?;
        let planner = Planner::new(self, options, ctx)?;
        let mut runner = Runner {
            repo: self,
            planner,
            options,
            watch,
            ctx,
            done: BTreeMap::new(),
            active: HashMap::new(),
            whole: None,
            hold,
        };
        let failed = pool::carry_out(&mut runner, options.jobs, watch, ctx).err();
        runner.planner.reader.save();
        runner.finish(failed)
    }
}

impl Work for Runner<'_> {
    fn next(&mut self) -> Result<Option<Start>> {
        while let Some(at) = self.next_free() {
            if let Some(start) = self.begin(at)? {
                return Ok(Some(start));
            }
        }
        Ok(None)
    }

    fn end(&mut self, at: usize, execution: Result<Execution>) -> Result<()> {
        self.record(at, execution)
    }
}

impl Runner<'_> {
    /// The first stage that is neither done nor active and need not wait.
    fn next_free(&self) -> Option<usize> {
        let count = self.planner.pipeline.stages().len();
        let is_open = |at: &usize| !self.done.contains_key(at) && !self.active.contains_key(at);
        let is_free = |at: &usize| {
            let mut needs = self.planner.pipeline.needs(*at).iter();
            needs.all(|n| self.done.contains_key(n))
        };
        (0..count).filter(is_open).find(is_free)
    }

    pub(super) fn name(&self, at: usize) -> String {
        self.planner.pipeline.stages()[at].name.clone()
    }

    pub(super) fn close(
        &mut self,
        at: usize,
        done: StageDone,
        run: Option<RunId>,
        time: u64,
        why: Vec<Why>,
    ) {
        let outcome = StageOutcome {
            name: self.name(at),
            done,
            run,
            duration_ms: time,
            why,
        };
        self.watch.tell(&outcome.name, StageEvent::Ends(&outcome));
        self.done.insert(at, outcome);
    }

    /// Does what has to be done for a stage, up to starting its program.
    fn begin(&mut self, at: usize) -> Result<Option<Start>> {
        let mut needs = self.planner.pipeline.needs(at).iter();
        if let Some(broken) = needs.find(|n| self.done.get(n).is_none_or(|o| !o.done.is_ok())) {
            let name = self.name(*broken);
            self.close(at, StageDone::NotRun(name), None, 0, Vec::new());
            return Ok(None);
        }
        let mut decided = self.planner.decide(self.repo, at, self.ctx)?;
        if let Some(gone) = self.missing_input(at, &decided) {
            self.close(at, StageDone::Failed(gone), None, 0, Vec::new());
            return Ok(None);
        }
        let nothing = Decision::UpToDate(RunId([0; 32]));
        match std::mem::replace(&mut decided.decision, nothing) {
            Decision::UpToDate(run) => {
                let made = self.planner.outputs_of(self.repo, decided.key)?;
                self.planner.note(at, made);
                self.close(at, StageDone::UpToDate, Some(run), 0, Vec::new());
                Ok(None)
            }
            Decision::Restore(run, on_disk, why) => {
                let made = self.planner.outputs_of(self.repo, decided.key)?;
                self.place(at, &on_disk, &made)?;
                self.planner.note(at, made);
                self.close(at, StageDone::Restored, Some(run), 0, why);
                Ok(None)
            }
            Decision::Execute(on_disk, why) => {
                // Who can't begin a run says so before any stage is said to run.
                self.whole_run()?;
                self.watch.tell(&self.name(at), StageEvent::Starts(&why));
                self.start(at, decided, on_disk, why).map(Some)
            }
        }
    }

    /// A declared input that the stages before did not make after all.
    fn missing_input(&self, at: usize, decided: &Decided) -> Option<String> {
        let inputs = &self.planner.pipeline.stages()[at].inputs;
        let is_there = |input: &&RepoPath| {
            let mut files = decided.inputs.keys();
            files.any(|f| f.is_within(input.as_bytes())) || self.planner.reader.exists(input)
        };
        let gone = inputs.iter().find(|i| !is_there(i))?;
        Some(format!("its input `{gone}` is not there"))
    }

    fn start(
        &mut self,
        at: usize,
        decided: Decided,
        on_disk: Files,
        why: Vec<Why>,
    ) -> Result<Start> {
        let spec = self.planner.pipeline.stages()[at].clone();
        let (recipe, parent) = self.whole_run()?;
        let session = self.repo.store.begin()?;
        let keep = Some((&session, &self.repo.store));
        self.planner.reader.read(&spec.inputs, keep, self.ctx)?;
        write_one_tree(&decided.inputs, Some(&session))?;
        session.finish()?;
        self.place(at, &on_disk, &Files::new())?;
        for output in &spec.outputs {
            let full = crate::worktree::place(self.repo.root(), output);
            if let Some(above) = full.parent() {
                modelv_store::fs::create_dirs(above).map_err(Error::io("create", above))?;
            }
        }
        let words = ["sh", "-c", &spec.command];
        let record = self.repo.begin_record(Beginning {
            command: words.map(str::to_owned).to_vec(),
            recipe,
            params: decided.params.clone(),
            host: self.repo.machine_facts()?,
            origin: Origin {
                parent: Some(parent),
                stage: Some(modelv_core::run::StageRun {
                    name: spec.name.clone(),
                    key: decided.key,
                    inputs: decided.tree,
                }),
                ..Origin::default()
            },
        })?;
        let variable = |name: &str, value: OsString| (OsString::from(name), value);
        let start = Start {
            at,
            command: words.map(OsString::from).to_vec(),
            cwd: self.repo.root().to_owned(),
            env: vec![
                variable("MODELV_RECIPE", record.draft.recipe.to_hex().into()),
                variable(RUN_VARIABLE, record.folder.clone().into()),
                variable(STAGE_VARIABLE, spec.name.clone().into()),
            ],
            log: record.log_path(),
            name: spec.name,
        };
        let sampler = self.repo.sampler(&record.folder)?;
        let params_from = self.planner.configs.paths();
        let read = decided.inputs.keys().chain(params_from);
        let stamps = Stamps::take(self.repo.root(), read);
        let running = Running {
            record,
            why,
            stamps,
            inputs: decided.inputs,
            params: decided.params,
            before: on_disk,
            sampler,
        };
        self.active.insert(at, running);
        Ok(start)
    }

    /// The recipe and the nonce of the run of the whole, which begins with the first stage.
    pub(super) fn whole_run(&mut self) -> Result<(modelv_core::commit::Recipe, [u8; 16])> {
        if self.whole.is_none() {
            let words = COMMAND.map(str::to_owned);
            let mut active = {
                let hold = std::mem::replace(&mut self.hold, Hold::Free);
                self.repo
                    .begin_held(&self.options.run, &words, hold, self.ctx)?
            };
            active.commits &= self.options.commit;
            // What it says was measured by this pipeline, whichever stage wrote it, and when.
            active.metrics_before = None;
            self.whole = Some(active);
        }
        let whole = self.whole.as_ref();
        let whole = whole.ok_or_else(|| Error::State("the pipeline did not begin".into()))?;
        Ok((whole.recipe, whole.record.draft.nonce))
    }

    /// Writes `to` over what is at the outputs of a stage.
    fn place(&mut self, at: usize, on_disk: &Files, to: &Files) -> Result<()> {
        let _turn = self.repo.take_turn()?;
        let lost = self.unrecorded(at, on_disk, to)?;
        let by = format!("the output of stage `{}`", self.name(at));
        self.repo.keep_lost(&lost, to, &by, self.ctx)?;
        self.repo
            .check_out_over(on_disk.clone(), on_disk, to, "pipeline", self.ctx)
    }

    /// Files at outputs that neither HEAD nor the last run of the stage has.
    fn unrecorded(&self, at: usize, on_disk: &Files, to: &Files) -> Result<Files> {
        let last = self.planner.last_outputs(self.repo, &self.name(at));
        let last = last.unwrap_or_default();
        let mut lost = self.repo.unrecorded(on_disk, to)?;
        lost.retain(|path, file| last.get(path).is_none_or(|l| l.blob != file.blob));
        Ok(lost)
    }
}
