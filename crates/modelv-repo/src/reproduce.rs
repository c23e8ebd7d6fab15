//! Reproducing a commit: its recipe is executed again in a clean checkout, and what comes out is compared
//! with the committed model, file by file and tensor by tensor. The outcome is recorded as a run of its
//! own, with how far it was equal. Must never write into the working tree.

mod compare;

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::{Path, PathBuf};

use modelv_core::commit::Commit;
use modelv_core::id::{CommitId, RunId};
use modelv_core::run::{Determinism, Origin, Run, Status};

use crate::capture::exec;
use crate::ctx::Ctx;
use crate::envdiff::EnvChange;
use crate::error::{Error, Result};
use crate::pipeline::Pipeline;
use crate::recreate::RecreateOptions;
use crate::repo::Repo;
use crate::run::clean::CleanTree;
use crate::run::{Beginning, Ending, RUN_VARIABLE, record_of};
use crate::worktree::{Rules, write_one_tree};

pub use compare::{Comparison, FileVerdict};

/// With which packages a commit is reproduced.
#[derive(Debug, Clone, Default)]
pub enum ReproduceEnv {
    /// Those of this machine, if they are what was recorded.
    #[default]
    Active,
    /// Those of a virtual environment, whatever they are.
    Folder(PathBuf),
    /// Made again, in the folder that the options name.
    Recreate(RecreateOptions),
}

/// What `reproduce` is asked for.
#[derive(Debug, Clone, Default)]
pub struct ReproduceOptions {
    /// Numbers may differ by so much; `None`: by nothing.
    pub tolerance: Option<f64>,
    /// With which packages.
    pub env: ReproduceEnv,
}

/// What `reproduce` found.
#[derive(Debug)]
pub struct Reproduced {
    /// The record of the repetition.
    pub id: RunId,
    /// Its content; [`Run::determinism`] says how far it was equal.
    pub run: Run,
    /// The run that was repeated.
    pub original: RunId,
    /// Every file of either side, by path.
    pub files: Vec<FileVerdict>,
    /// How the packages differ from the recorded ones.
    pub env: Vec<EnvChange>,
}

impl Repo {
    /// Executes the recorded command of a commit again and compares what comes out.
    ///
    /// # Errors
    /// The commit has no model of its own or no run; the environment is not what was recorded, or can't
    /// be made; something can't be read or written. An outcome that differs is no error.
    pub fn reproduce(
        &mut self,
        id: CommitId,
        options: &ReproduceOptions,
        echo: &mut dyn Write,
        ctx: &Ctx<'_>,
    ) -> Result<Reproduced> {
        if options.tolerance.is_some_and(|t| !t.is_finite() || t < 0.0) {
            let shown = options.tolerance.unwrap_or_default().to_string();
            return Err(Error::invalid("tolerance", shown, "it is no distance"));
        }
        let commit = self.commit_object(id)?;
        let (original, before) = self.run_to_repeat(id, &commit)?;
        crate::commit::tell_patches(&self.env_object(commit.recipe.env)?, ctx);
        let (bin, env) = self.packages(id, &commit, &options.env, ctx)?;
        let inputs = self.files_of_commit(&commit)?;
        let tree = self.clean_tree(&inputs, ctx)?;
        let command = command_of(&before, &tree, self.root(), bin.as_deref())?;
        let record = self.begin_record(Beginning {
            command: before.command.clone(),
            recipe: commit.recipe,
            params: before.params.clone(),
            host: self.machine_facts()?,
            origin: Origin {
                repeats: Some(original),
                ..Origin::default()
            },
        })?;
        let mut variables: Vec<(OsString, OsString)> = vec![
            ("MODELV_RECIPE".into(), record.draft.recipe.to_hex().into()),
            (RUN_VARIABLE.into(), record.folder.clone().into()),
            tree.variable(),
        ];
        variables.extend(self.modules_of(&tree, &inputs, &commit.recipe)?);
        variables.extend(
            bin.map(|bin| path_with(&bin))
                .transpose()?
                .into_iter()
                .flatten(),
        );
        let job = exec::Job {
            command: &command,
            cwd: &tree.root(),
            env: &variables,
            log: &record.log_path(),
            own_group: true,
            grace: exec::GRACE,
        };
        let sampler = self.sampler(&record.folder)?;
        let execution = exec::execute(&job, echo, ctx.cancel).inspect_err(|_| record.forget())?;
        drop(sampler);
        let ending = Ending::of(execution.exit_code);
        let mut files = Vec::new();
        let session = self.store.begin()?;
        let (mut run, _) = self.close_record(&record, ending, &session)?;
        if ending.status == Status::Finished {
            run.metrics.extend(tree.metrics(ctx));
            let made = tree.outputs(self, &session, ctx)?;
            run.outputs = Some(write_one_tree(&made, Some(&session))?);
            session.finish()?;
            files = self.compare_models(&commit, before.commit, &made, options.tolerance)?;
            run.determinism = class_of(&files);
        } else {
            session.finish()?;
        }
        let session = self.store.begin()?;
        let new = RunId(session.put_object(&run)?);
        session.finish()?;
        self.update_refs(vec![record_of(new)])?;
        record.forget();
        Ok(Reproduced {
            id: new,
            run,
            original,
            files,
            env,
        })
    }

    /// The run that made the model of a commit.
    fn run_to_repeat(&self, id: CommitId, commit: &Commit) -> Result<(RunId, Run)> {
        let refuse = |why: &str| Error::State(format!("commit `{}` {why}", id.short()));
        if commit.model.is_none() {
            return Err(refuse("has no model to make again"));
        }
        if commit.is_stale() {
            return Err(refuse(
                "has a model of another recipe: there is nothing to compare",
            ));
        }
        let last = commit
            .runs
            .last()
            .ok_or_else(|| refuse("has no run that could be repeated"))?;
        Ok((*last, self.run_object(*last)?))
    }

    /// Where the programs of the environment are, if not on the path, and how it differs.
    fn packages(
        &self,
        id: CommitId,
        commit: &Commit,
        env: &ReproduceEnv,
        ctx: &Ctx<'_>,
    ) -> Result<(Option<PathBuf>, Vec<EnvChange>)> {
        let recorded = self.env_object(commit.recipe.env)?;
        if recorded.interpreter.is_none() {
            return Ok((None, Vec::new()));
        }
        match env {
            ReproduceEnv::Active => {
                let mut check = self.check_env(id, None)?;
                // What the system has can't be made again here: it is told, and no reason to give up.
                let (system, matters): (Vec<EnvChange>, _) =
                    check.matters.into_iter().partition(EnvChange::is_of_system);
                if !matters.is_empty() {
                    let items: Vec<String> = matters.iter().map(named).collect();
                    let shown = items.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
                    return Err(Error::State(format!(
                        "this machine is not the environment of commit `{}`: {} things differ ({shown})",
                        id.short(),
                        items.len()
                    )));
                }
                check.more.extend(system);
                Ok((None, check.more))
            }
            ReproduceEnv::Folder(dir) => {
                let bin = std::path::absolute(dir)
                    .map_err(Error::io("open", dir))?
                    .join("bin");
                let check = self.check_env(id, Some(&bin.join("python")))?;
                Ok((Some(bin), check.matters))
            }
            ReproduceEnv::Recreate(options) => {
                let made = self.recreate_env(id, options, ctx)?;
                Ok((made.python.parent().map(Path::to_owned), made.changes))
            }
        }
    }
}

/// An item, and that it was patched where that is what differs.
fn named(change: &EnvChange) -> String {
    let is_patched =
        |side: &Option<String>| side.as_ref().is_some_and(|s| s.contains("(patched: "));
    match (is_patched(&change.old), is_patched(&change.new)) {
        (false, true) => format!("{}, which is patched here", change.item),
        (true, false) => format!("{}, which was patched then", change.item),
        _ => change.item.clone(),
    }
}

/// The path to programs with those of a virtual environment first.
fn path_with(bin: &Path) -> Result<Vec<(OsString, OsString)>> {
    let before = std::env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(bin.to_owned()).chain(std::env::split_paths(&before));
    let path = std::env::join_paths(all)
        .map_err(|e| Error::invalid("folder", bin.display().to_string(), e.to_string()))?;
    let home = bin.parent().unwrap_or(bin).as_os_str().to_owned();
    Ok(vec![("PATH".into(), path), ("VIRTUAL_ENV".into(), home)])
}

/// What a run executed. A pipeline is its stages one after the other, each from its inputs alone.
fn command_of(
    run: &Run,
    tree: &CleanTree,
    root: &Path,
    bin: Option<&Path>,
) -> Result<Vec<OsString>> {
    if run.command != crate::pipeline::COMMAND {
        let mut words: Vec<OsString> = run.command.iter().map(OsString::from).collect();
        for word in words.iter_mut().skip(1) {
            if let Some(own) = place_in(&tree.root(), root, word) {
                *word = own.into();
            }
        }
        if let Some(first) = words.first_mut() {
            *first = program_of(first, &tree.root(), root, bin);
        }
        return Ok(words);
    }
    let pipeline = Pipeline::new(Rules::load(&tree.root())?.stages())?;
    let mut script = String::from("set -e\n");
    for stage in pipeline.stages() {
        for output in &stage.outputs {
            let full = crate::worktree::place(&tree.root(), output);
            if let Some(above) = full.parent() {
                modelv_store::fs::create_dirs(above).map_err(Error::io("create", above))?;
            }
        }
        script.push_str(&format!("(\n{}\n)\n", stage.command));
    }
    Ok(["sh", "-c", &script].map(OsString::from).to_vec())
}

/// A file of the user's working tree that was named by its whole path: where a clean tree has it.
fn place_in(tree: &Path, root: &Path, word: &OsStr) -> Option<PathBuf> {
    let own = tree.join(Path::new(word).strip_prefix(root).ok()?);
    own.exists().then_some(own)
}

/// A program that was named by a path: that of the environment that is asked for, else the one of the clean tree,
/// else what is there; else the one of that name on the path to programs. The interpreter of another environment
/// would bring the packages of that one.
fn program_of(word: &OsStr, tree: &Path, root: &Path, bin: Option<&Path>) -> OsString {
    let path = Path::new(word);
    let is_name = path.parent().is_none_or(|p| p == Path::new(""));
    let Some(name) = path.file_name().filter(|_| !is_name) else {
        return word.to_owned();
    };
    if path.is_relative() && tree.join(path).exists() {
        return word.to_owned();
    }
    let own = bin.map(|bin| bin.join(name)).filter(|own| own.exists());
    let found = own
        .or_else(|| place_in(tree, root, word))
        .or_else(|| (path.is_absolute() && path.exists()).then(|| path.to_owned()));
    found.map_or_else(|| name.to_owned(), PathBuf::into_os_string)
}

fn class_of(files: &[FileVerdict]) -> Determinism {
    let worst = files.iter().map(|f| f.verdict.rank()).max().unwrap_or(0);
    match worst {
        _ if files.is_empty() => Determinism::Unknown,
        0 => Determinism::BitEqual,
        1 => Determinism::Tolerance,
        _ => Determinism::Different,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_named_by_its_path_is_that_of_the_tree_and_of_the_environment() {
        let dir = tempfile::tempdir().unwrap();
        let [tree, root, bin] = ["tree", "root", "env/bin"].map(|name| dir.path().join(name));
        for folder in [&tree, &root, &bin] {
            std::fs::create_dir_all(folder).unwrap();
        }
        for path in [
            tree.join("train.py"),
            tree.join("run.sh"),
            root.join("train.py"),
            root.join("python"),
            bin.join("python"),
        ] {
            std::fs::write(path, "").unwrap();
        }
        let shown = |path: &Path| path.display().to_string();
        let program = |word: &str, bin: Option<&Path>| {
            shown(Path::new(&program_of(OsStr::new(word), &tree, &root, bin)))
        };
        let old = shown(&root.join("python"));
        assert_eq!(program("python", Some(&bin)), "python");
        assert_eq!(program("./run.sh", Some(&bin)), "./run.sh");
        assert_eq!(program(&old, Some(&bin)), shown(&bin.join("python")));
        assert_eq!(
            program(".venv/bin/python", Some(&bin)),
            shown(&bin.join("python"))
        );
        assert_eq!(program(&old, None), old);
        assert_eq!(program("/no/such/python3", None), "python3");
        assert_eq!(
            program(&shown(&root.join("run.sh")), None),
            shown(&tree.join("run.sh"))
        );
        let place = |word: &Path| place_in(&tree, &root, word.as_os_str());
        assert_eq!(place(&root.join("train.py")), Some(tree.join("train.py")));
        assert_eq!(place(&root.join("gone.py")), None);
        assert_eq!(place(Path::new("train.py")), None);
    }
}
