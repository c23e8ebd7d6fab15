//! What a CI does with a commit: check it, evaluate it, release it, and verify the image. The result is
//! kept in the repository by the commit's id, so that the same question again is answered at once.
//!
//! Must never answer from the record of another commit or base, or of a failure.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Instant, SystemTime};

use modelv_repo::capture::{clock, metrics};
use modelv_repo::core::id::CommitId;
use modelv_repo::worktree::Ingredient;
use modelv_repo::{Ctx, Evaluation, RecreateOptions, Repo};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::golden::Replay;
use crate::pull::Source;
use crate::release::{ReleaseOptions, release};
use crate::verify::verify;

/// Version of the record.
const VERSION: u32 = 2;
/// Largest record that is read, in bytes.
const BYTES_MAX: u64 = 4 << 20;

/// With which packages a commit is evaluated.
#[derive(Debug, Clone, Default)]
pub enum CiEnv {
    /// Those of this machine.
    #[default]
    Active,
    /// Those of a virtual environment.
    Folder(PathBuf),
    /// Those of the commit, made again.
    Recreate,
}

/// What a CI run is asked for.
#[derive(Debug, Clone)]
pub struct CiOptions {
    /// How the image is built.
    pub release: ReleaseOptions,
    /// The base as typed: part of what a result is of.
    pub base: String,
    /// With which packages the commit is evaluated.
    pub env: CiEnv,
    /// Run even if there is a result.
    pub force: bool,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CiStep {
    /// `check`, `evaluate`, `release`, `replay` or `verify`.
    pub name: String,
    /// What came of it.
    pub detail: String,
    /// How long it took.
    pub milliseconds: u64,
}

/// The result for one commit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CiRecord {
    /// Version of this record.
    pub version: u32,
    /// The commit.
    pub commit: String,
    /// The base of its image.
    pub base: String,
    /// How its layers are packed.
    #[serde(default)]
    pub compression: Option<String>,
    /// Whether every step passed.
    pub passed: bool,
    /// The steps that were taken; the last one is the one that failed, if any has.
    pub steps: Vec<CiStep>,
    /// What the evaluation wrote into `metrics.json`.
    pub metrics: BTreeMap<String, serde_json::Value>,
    /// Digest of the image.
    pub image: Option<String>,
    /// What came of the golden requests of the image.
    #[serde(default)]
    pub replay: Option<Replay>,
    /// When it was done, in RFC 3339.
    pub time: String,
}

/// Where the result of a commit is kept.
#[must_use]
pub fn record_path(repo: &Repo, id: CommitId) -> PathBuf {
    repo.dir().join("ci").join(format!("{id}.json"))
}

fn read_record(path: &Path) -> Option<CiRecord> {
    let mut text = String::new();
    let file = std::fs::File::open(path).ok()?;
    file.take(BYTES_MAX).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// Whether a record answers the question.
fn answers(record: &CiRecord, id: CommitId, options: &CiOptions) -> bool {
    let image = crate::layout::read_manifest(&options.release.output);
    let is_there = image.is_ok_and(|(digest, _)| record.image.as_ref() == Some(&digest));
    record.version == VERSION
        && record.passed
        && record.commit == id.to_hex()
        && record.base == options.base
        // What nobody asked may have been asked in vain.
        && record.replay.as_ref().is_some_and(|r| r.skipped.is_none())
        && record.compression.as_deref() == Some(options.release.compression.word())
        && is_there
}

/// Takes all steps for a commit, or gives the result that is known; the second value says which. `talk` is told
/// what is being done.
///
/// # Errors
/// The record can't be written, or it was interrupted. A step that fails is no error: the record says so.
pub fn ci(
    repo: &Repo,
    id: CommitId,
    options: &CiOptions,
    ctx: Ctx<'_>,
    talk: &mut dyn FnMut(&str),
) -> Result<(CiRecord, bool)> {
    let path = record_path(repo, id);
    let known = read_record(&path).filter(|record| answers(record, id, options));
    if let Some(record) = known.filter(|_| !options.force) {
        return Ok((record, true));
    }
    let record = CiRecord {
        version: VERSION,
        commit: id.to_hex(),
        base: options.base.clone(),
        compression: Some(options.release.compression.word().to_owned()),
        passed: false,
        steps: Vec::new(),
        metrics: BTreeMap::new(),
        image: None,
        replay: None,
        time: String::new(),
    };
    let mut way = Way {
        repo,
        id,
        options,
        ctx,
        record,
    };
    for (name, step) in STEPS {
        talk(name);
        let clock = Instant::now();
        let done = step(&mut way, talk);
        ctx.cancel.check()?;
        let record = &mut way.record;
        record.passed = done.is_ok();
        let detail = done.unwrap_or_else(|e| with_causes(&e));
        record.steps.push(CiStep {
            name: (*name).to_owned(),
            detail,
            milliseconds: u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX),
        });
        if !record.passed {
            break;
        }
    }
    let mut record = way.record;
    record.time = clock::format_rfc3339(clock::now().seconds);
    write(&path, &record)?;
    Ok((record, false))
}

fn with_causes(e: &dyn std::error::Error) -> String {
    let mut text = e.to_string();
    let mut at = e.source();
    while let Some(cause) = at {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        at = cause.source();
    }
    text
}

fn write(path: &Path, record: &CiRecord) -> Result<()> {
    let failed = |e: std::io::Error| modelv_repo::Error::io("write", path)(e);
    let dir = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir).map_err(failed)?;
    let mut file = tempfile::NamedTempFile::new_in(dir).map_err(failed)?;
    let mut text = serde_json::to_vec_pretty(record).unwrap_or_default();
    text.push(b'\n');
    std::io::Write::write_all(&mut file, &text).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|e| failed(e.error))?;
    Ok(())
}

/// A commit on its way.
struct Way<'a> {
    repo: &'a Repo,
    id: CommitId,
    options: &'a CiOptions,
    ctx: Ctx<'a>,
    record: CiRecord,
}

type Step = fn(&mut Way<'_>, &mut dyn FnMut(&str)) -> Result<String>;

const STEPS: &[(&str, Step)] = &[
    ("check", |way, _| way.check()),
    ("evaluate", |way, _| way.evaluate()),
    ("release", |way, talk| way.build(talk)),
    ("replay", |way, _| Ok(way.replayed())),
    ("verify", |way, talk| way.compare(talk)),
];

impl Way<'_> {
    /// Reads every byte that a release or the evaluation reads; each is checked against its id on the way.
    fn check(&self) -> Result<String> {
        let (mut files, mut bytes) = (0, 0);
        for file in self.repo.files(self.id)?.values() {
            self.ctx.cancel.check()?;
            let store = self.repo.store();
            let is_here = store
                .has_blob(&file.blob)
                .map_err(modelv_repo::Error::from)?;
            if file.ingredient == Ingredient::Data && !is_here {
                continue;
            }
            let mut content = store
                .open_blob(&file.blob)
                .map_err(modelv_repo::Error::from)?;
            bytes += std::io::copy(&mut content, &mut std::io::sink())
                .map_err(|e| modelv_repo::Error::from(modelv_repo::unwrap_io(e)))?;
            files += 1;
        }
        Ok(format!("{files} files, {bytes} bytes"))
    }

    fn evaluate(&mut self) -> Result<String> {
        let found = evaluate_commit(self.repo, self.id, &self.options.env, self.ctx)?;
        let Some(found) = found else {
            return Ok("modelv.toml names no `[evaluate] command`".into());
        };
        self.record.metrics = found.metrics;
        Ok(found.command)
    }

    fn build(&mut self, talk: &mut dyn FnMut(&str)) -> Result<String> {
        let image = release(self.repo, self.id, &self.options.release, self.ctx, talk)?;
        self.record.image = Some(image.digest.clone());
        self.record.replay = image.replay;
        let notes = image.notes.iter().map(|note| format!("; {note}"));
        Ok(std::iter::once(image.digest).chain(notes).collect())
    }

    /// The release has asked: an image that does not answer as recorded is none.
    fn replayed(&self) -> String {
        let replay = self.record.replay.as_ref();
        replay.map_or("not asked for".into(), ToString::to_string)
    }

    fn compare(&self, talk: &mut dyn FnMut(&str)) -> Result<String> {
        let options = &ReleaseOptions {
            replay: false,
            ..self.options.release.clone()
        };
        let image = Source::Path(options.output.clone());
        let found = verify(self.repo, &image, Some(self.id), options, self.ctx, talk)?;
        match found.difference {
            None => Ok("the same again".into()),
            Some(difference) => Err(Error::Image {
                image: options.output.display().to_string(),
                detail: format!(
                    "{} differs when it is built again: {}",
                    difference.part,
                    difference.details.join(", ")
                ),
            }),
        }
    }
}

/// Makes a file as old as can be: whoever writes it then leaves a trace, however soon.
fn forget_time(path: &Path) {
    let file = std::fs::File::options().write(true).open(path);
    // Where that can't be done, the clock has to tell.
    let _ = file.and_then(|file| file.set_modified(SystemTime::UNIX_EPOCH));
}

/// Executes `[evaluate] command` in a folder with all files of the commit, and keeps what it found for exactly
/// this recipe and model; `None`: there is no such command.
///
/// # Errors
/// The command fails, or the folder or the packages for it can't be made.
pub fn evaluate_commit(
    repo: &Repo,
    id: CommitId,
    env: &CiEnv,
    ctx: Ctx<'_>,
) -> Result<Option<Evaluation>> {
    let tmp = repo.dir().join("tmp");
    let place = tempfile::Builder::new().prefix("ci-").tempdir_in(&tmp);
    let place = place.map_err(modelv_repo::Error::io("create", &tmp))?;
    let tree = place.path().join("tree");
    let rules = repo.rules_of(id)?;
    let Some(command) = rules.evaluate_command() else {
        return Ok(None);
    };
    repo.export(id, &tree, &ctx)?;
    let bin = match env {
        CiEnv::Active => None,
        CiEnv::Folder(dir) => Some(dir.join("bin")),
        CiEnv::Recreate => {
            let output = place.path().join("env");
            let options = RecreateOptions {
                output,
                ..RecreateOptions::default()
            };
            let made = repo.recreate_env(id, &options, &ctx)?;
            made.python.parent().map(Path::to_owned)
        }
    };
    let path = tree.join("metrics.json");
    forget_time(&path);
    let before = metrics::stamp(&path);
    let mut job = Command::new("sh");
    job.args(["-c", command])
        .current_dir(&tree)
        .env("MODELV_COMMIT", id.to_hex())
        .stdin(Stdio::null())
        .stdout(Stdio::from(std::io::stderr()));
    if let Some(bin) = bin {
        let inherited = std::env::var_os("PATH").unwrap_or_default();
        let all = std::iter::once(bin).chain(std::env::split_paths(&inherited));
        if let Ok(all) = std::env::join_paths(all) {
            job.env("PATH", all);
        }
    }
    let status = job.status();
    let status = status.map_err(modelv_repo::Error::io("execute", command))?;
    if !status.success() {
        return Err(modelv_repo::Error::Program {
            program: command.to_owned(),
            detail: status.to_string(),
        }
        .into());
    }
    let after = metrics::stamp(&path);
    // A file that came with the commit says nothing of this evaluation; the same numbers, written again, do.
    let found = match after.is_some() && after != before {
        true => metrics::read(&path)?,
        false => BTreeMap::new(),
    };
    Ok(Some(repo.keep_evaluation(id, command, &found)?))
}
