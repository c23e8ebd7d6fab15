//! The library of modelv: one [`Repo`] with the verbs the command line has.
//!
//! Blocking, with threads where work is large. Never prints, never reads the terminal.
//!
//! ```no_run
//! use modelv_repo::{Ctx, CommitOptions, Repo};
//!
//! let mut repo = Repo::discover(".".as_ref())?;
//! let options = CommitOptions { message: "first".into(), ..Default::default() };
//! let committed = repo.commit(&options, &Ctx::quiet())?;
//! println!("{} with recipe {}", committed.id, committed.recipe);
//! # Ok::<(), modelv_repo::Error>(())
//! ```

mod alias;
mod bisect;
mod blame;
pub mod capture;
mod commit;
mod commitgraph;
mod compose;
pub mod ctx;
mod derived;
mod diff;
mod dirs;
mod envdiff;
pub mod error;
mod export_git;
mod external;
mod file;
mod fsck;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
mod gc;
mod history;
mod hooks;
#[cfg(test)]
mod hostile;
mod import;
pub mod json;
mod lease;
mod lineage;
mod lost;
mod merge;
pub mod names;
pub mod oplog;
mod pipeline;
mod recreate;
mod refs;
pub mod remote;
mod repair;
mod repo;
mod reproduce;
mod rescue;
mod restore;
mod rev;
mod run;
mod runs;
mod scan;
mod sequence;
mod stats;
mod sweep;
mod undo;
#[cfg(test)]
mod vectors;
mod weights;
pub mod wheels;
pub mod worktree;

pub use alias::{
    AliasMove, Check, Evaluation, Expect, Gates, MoveAction, MoveOptions, Verdict as GateVerdict,
};
pub use bisect::{BisectState, BisectStep, Verdict};
pub use blame::{Blame, Blamed};
pub use commit::{CommitOptions, Committed, ModelState, Status, model_state, totals};
pub use compose::{ComposeOptions, Composed};
pub use ctx::{Cancel, Ctx};
pub use diff::{
    Better, DiffFilter, DiffPlan, DiffReport, DiffSide, Extent, FileDiff, FileToDiff, MetricChange,
    Part, Tally, better,
};
pub use envdiff::{EnvChange, diff_env};
pub use error::{Error, ErrorKind, Result};
pub use export_git::{Exported, GitExport};
pub use external::{AddExternal, External, ExternalState, Fetched, Pointer, SourceState, Updated};
pub use file::FileReader;
pub use gc::{GcOptions, GcReport};
pub use history::{KeyFilter, LogOptions};
pub use hooks::{Hook, HookSource};
pub use import::{GitImport, HubImport, HubImported, Imported, ImportedRuns, ImportedStages};
pub use lineage::{CommitLink, Lineage, RunLink, Source, Subject};
pub use merge::{
    Action, ConflictState, Decision, FastForward, MergeOptions, MergeOutcome, MergeState, Sequence,
    Step, Strategy,
};
pub use modelv_core as core;
pub use modelv_store::{Error as StoreError, Report as StoreReport, Store, unwrap_io};
pub use pipeline::{
    ParamName, Pipeline, PipelineOptions, PipelineOutcome, StageDone, StageEvent, StageOutcome,
    StageSpec, StageState, StageStatus, Watch, Why,
};
pub use recreate::{EnvCheck, RecreateOptions, Recreated};
pub use refs::SwitchTo;
pub use repair::RepairReport;
pub use repo::{DIR_NAME, Repo};
pub use reproduce::{Comparison, FileVerdict, ReproduceEnv, ReproduceOptions, Reproduced};
pub use rescue::{Rescued, Wreck};
pub use rev::Range;
pub use run::{
    ActiveRun, Ending, Journal, Load, METRICS_FILE, Point, RUN_VARIABLE, RunOptions, RunOutcome,
    TREE_VARIABLE,
};
pub use runs::{
    Condition, Field, ForgetQuery, Forgotten, FoundRuns, Order, Row, RunLine, RunQuery, Shown,
    compare_runs,
};
pub use scan::{Scanned, scan_disk};
pub use sequence::{Made, PickOptions, RebaseOptions, SequenceOutcome};
pub use stats::{CommitRoom, Room, Stats};
pub use sweep::{Axis, SweepOptions, SweepOutcome, SweepPoint};
pub use undo::Undone;
pub use weights::{WeightsDone, WeightsOptions, WeightsSource};
pub use wheels::{StoredWheel, VendorOptions, Vendored};
