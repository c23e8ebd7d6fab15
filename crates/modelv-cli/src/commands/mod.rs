//! One file a command: parses, calls one function of the library, shows what it gave.

mod add_external;
mod alias;
mod bare;
mod bisect;
mod blame;
mod branch;
mod cat;
mod cherry_pick;
mod ci;
mod clone;
mod commit;
mod completions;
mod compose;
mod config;
mod conflicts;
mod diff;
mod env;
mod export;
mod external;
mod fetch;
mod fsck;
mod gc;
mod help;
mod hooks;
mod import;
mod init;
mod lineage;
pub(crate) mod log;
mod man;
mod merge;
mod merge_base;
mod mergetool;
mod mount;
mod pipeline;
mod pull;
mod push;
mod rebase;
mod registry;
mod release;
mod remote;
mod reproduce;
mod resolve;
mod restore;
mod rev_parse;
mod revert;
mod run;
mod runs;
mod scan;
mod sequence;
mod serve;
mod show;
mod sparse;
mod stats;
mod status;
mod sweep;
mod switch;
mod tag;
mod track;
mod undo;
mod weights;
mod words;

pub(crate) use bare::{bare, is_verb};
pub(crate) use help::command;
pub(crate) use status::{change_line, show_env};

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use modelv_repo::core::path::RepoPath;
use modelv_repo::{Cancel, Ctx, Repo};

use crate::error::CommandError;
use crate::ui::{Bar, Color, Ui};

/// Version control for models: code, data, configuration, environment and weights under one id.
#[derive(Parser)]
#[command(name = "modelv", version, disable_help_subcommand = false)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) everywhere: Everywhere,
    #[command(subcommand)]
    command: Command,
}

/// Options of every verb.
#[derive(clap::Args)]
pub(crate) struct Everywhere {
    /// Work in this folder.
    #[arg(short = 'C', value_name = "DIR", global = true)]
    work_dir: Option<PathBuf>,
    /// When to colour.
    #[arg(long, value_enum, default_value = "auto", global = true)]
    pub(crate) color: Color,
}

#[derive(Subcommand)]
enum Command {
    Init(init::Args),
    Status(status::Args),
    Track(track::Args),
    Commit(commit::Args),
    Log(log::Args),
    Show(show::Args),
    Diff(diff::Args),
    Branch(branch::Args),
    Switch(switch::Args),
    Restore(restore::Args),
    Tag(tag::Args),
    Merge(merge::Args),
    Conflicts(conflicts::Args),
    Resolve(resolve::Args),
    Mergetool(mergetool::Args),
    CherryPick(cherry_pick::Args),
    Revert(revert::Args),
    Rebase(rebase::Args),
    Compose(compose::Args),
    Weights(weights::Args),
    Undo(undo::Args),
    Blame(blame::Args),
    Bisect(bisect::Args),
    Clone(clone::Args),
    Import(import::Args),
    AddExternal(add_external::Args),
    ImportUrl(add_external::CopyArgs),
    External(external::Args),
    Remote(remote::Args),
    Fetch(fetch::Args),
    Pull(pull::Args),
    Push(push::Args),
    Hooks(hooks::Args),
    Sparse(sparse::Args),
    RevParse(rev_parse::Args),
    MergeBase(merge_base::Args),
    Cat(cat::Args),
    Export(export::Args),
    Mount(mount::Args),
    Run(run::Args),
    Pipeline(pipeline::Args),
    Reproduce(reproduce::Args),
    Lineage(lineage::Args),
    Runs(runs::Args),
    Env(env::Args),
    Release(Box<release::Args>),
    Registry(registry::Args),
    Ci(ci::Args),
    Serve(serve::Args),
    Scan(scan::Args),
    Fsck(fsck::Args),
    Gc(gc::Args),
    Stats(stats::Args),
    Config(config::Args),
    Alias(alias::Args),
    Completions(completions::Args),
    Man(man::Args),
    /// Names of branches and tags, for completion.
    #[command(hide = true)]
    ListRefs,
}

/// What every command gets.
pub(crate) struct Session<'a> {
    dir: PathBuf,
    ui: &'a mut Ui,
    cancel: &'a Cancel,
    bar: Bar,
}

/// How a command ends.
type Done = Result<ExitCode, CommandError>;

/// Tells of what `modelv.toml` says and nobody reads: a slip there makes data into code.
fn warn_unknown(repo: &Repo, ui: &mut Ui) -> Result<(), CommandError> {
    for name in repo.rules()?.unknown() {
        ui.warn(format!(
            "modelv.toml: `{}` is nothing that this version knows",
            crate::ui::plain(name)
        ));
    }
    Ok(())
}

impl<'a> Session<'a> {
    /// The repository around the current folder.
    fn repo(&self) -> Result<Repo, CommandError> {
        let mut repo = Repo::discover(&self.dir)?;
        repo.set_command(command_line());
        Ok(repo)
    }

    /// Says when to stop.
    fn cancel(&self) -> &'a Cancel {
        crate::interrupt::watch();
        self.cancel
    }

    fn ctx(&self) -> Ctx<'_> {
        Ctx {
            progress: &self.bar,
            cancel: self.cancel(),
        }
    }

    /// Paths as typed, relative to the current folder, as paths of the repository. `.` at the root
    /// stands for everything.
    fn paths(&self, repo: &Repo, typed: &[OsString]) -> Result<Vec<RepoPath>, CommandError> {
        let mut out = Vec::new();
        for text in typed {
            match self.path(repo, text)? {
                Some(path) => out.push(path),
                None => return Ok(Vec::new()),
            }
        }
        Ok(out)
    }

    /// The path behind the colon of `REV:PATH`: from the root, or from this folder with `./` or `../`.
    fn path_of_rev(&self, repo: &Repo, typed: &[u8]) -> Result<RepoPath, CommandError> {
        if typed.starts_with(b"./") || typed.starts_with(b"../") {
            let typed = OsStr::from_bytes(typed).to_owned();
            if let Some(path) = self.path(repo, &typed)? {
                return Ok(path);
            }
        }
        RepoPath::new(typed).map_err(|e| {
            let text = format!("`{}` is no path of a commit: {e}", typed.escape_ascii());
            CommandError::usage(
                text,
                "for example `HEAD:train.py`, or `HEAD:./train.py` from this folder",
            )
        })
    }

    fn path(&self, repo: &Repo, typed: &OsString) -> Result<Option<RepoPath>, CommandError> {
        let outside = || {
            let text = format!(
                "path `{}` is outside of the working tree",
                typed.to_string_lossy()
            );
            CommandError::usage(text, "name a path below the folder that holds `.mv`")
        };
        let relative = repo.relative(&self.dir.join(typed)).ok_or_else(outside)?;
        if relative == Path::new("") {
            return Ok(None);
        }
        let path =
            RepoPath::new(relative.as_os_str().as_bytes()).map_err(modelv_repo::Error::from)?;
        Ok(Some(path))
    }
}

#[expect(clippy::too_many_lines, reason = "one line a verb")]
pub(crate) fn run(cli: Cli, ui: &mut Ui, cancel: &Cancel) -> Done {
    let here = PathBuf::from(".");
    let dir = cli.everywhere.work_dir.unwrap_or(here);
    if !dir.is_dir() {
        let text = format!("`{}` is not a folder", dir.display());
        return Err(CommandError::usage(text, "`-C` takes an existing folder"));
    }
    let dir = dir.canonicalize().unwrap_or(dir);
    let s = Session {
        dir,
        ui,
        cancel,
        bar: Bar::new(),
    };
    match cli.command {
        Command::Init(args) => init::run(&args, s),
        Command::Status(args) => status::run(args, s),
        Command::Track(args) => track::run(&args, s),
        Command::Commit(args) => commit::run(args, s),
        Command::Log(args) => log::run(&args, s),
        Command::Show(args) => show::run(&args, s),
        Command::Diff(args) => diff::run(args, s),
        Command::Branch(args) => branch::run(&args, s),
        Command::Switch(args) => switch::run(args, s),
        Command::Restore(args) => restore::run(&args, s),
        Command::Tag(args) => tag::run(&args, s),
        Command::Merge(args) => merge::run(args, s),
        Command::Conflicts(args) => conflicts::run(&args, s),
        Command::Mergetool(args) => mergetool::run(&args, s),
        Command::Resolve(args) => resolve::run(&args, s),
        Command::CherryPick(args) => cherry_pick::run(args, s),
        Command::Revert(args) => revert::run(args, s),
        Command::Rebase(args) => rebase::run(args, s),
        Command::Blame(args) => blame::run(&args, s),
        Command::Bisect(args) => bisect::run(&args, s),
        Command::Compose(args) => compose::run(args, s),
        Command::Weights(args) => weights::run(args, s),
        Command::Undo(args) => undo::run(&args, s),
        Command::Import(args) => import::run(&args, s),
        Command::AddExternal(args) => add_external::run(&args, s),
        Command::ImportUrl(args) => add_external::copy(&args, s),
        Command::External(args) => external::run(&args, s),
        Command::Clone(args) => clone::run(args, s),
        Command::Remote(args) => remote::run(&args, s),
        Command::Fetch(args) => fetch::run(args, s),
        Command::Pull(args) => pull::run(args, s),
        Command::Push(args) => push::run(args, s),
        Command::Hooks(args) => hooks::run(&args, s),
        Command::Sparse(args) => sparse::run(&args, s),
        Command::MergeBase(args) => merge_base::run(&args, s),
        Command::RevParse(args) => rev_parse::run(&args, s),
        Command::Cat(args) => cat::run(&args, s),
        Command::Export(args) => export::run(&args, s),
        Command::Mount(args) => mount::run(&args, s),
        Command::Run(args) => run::run(args, s),
        Command::Pipeline(args) => pipeline::run(args, s),
        Command::Reproduce(args) => reproduce::run(args, s),
        Command::Lineage(args) => lineage::run(&args, s),
        Command::Runs(args) => runs::run(&args, s),
        Command::Env(args) => env::run(&args, s),
        Command::Release(args) => release::run(*args, s),
        Command::Registry(args) => registry::run(args, s),
        Command::Ci(args) => ci::run(args, s),
        Command::Serve(args) => serve::run(args, s),
        Command::Scan(args) => scan::run(&args, s),
        Command::Fsck(args) => fsck::run(&args, s),
        Command::Gc(args) => gc::run(&args, s),
        Command::Stats(args) => stats::run(&args, s),
        Command::Config(args) => config::run(&args, s),
        Command::Alias(args) => alias::run(args, s),
        Command::Completions(args) => completions::run(&args, s),
        Command::Man(args) => man::run(&args, s),
        Command::ListRefs => completions::list_refs(s),
    }
}

/// The command line for the operation log. It is for people: a long message or script does not
/// belong there as a whole.
fn command_line() -> String {
    let mut words: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|a| a.to_string_lossy().into_owned())
        .collect();
    modelv_repo::capture::secrets::mask_words(&mut words);
    // The log is for people: a long message or script does not belong there as a whole.
    words.join(" ").chars().take(200).collect()
}

/// Writes a page where it was asked for, relative to the folder that is worked in.
fn write_page(ui: &mut Ui, dir: &Path, file: &Path, page: &str) -> Result<(), CommandError> {
    if file == Path::new("-") {
        ui.bytes(page.as_bytes());
        return Ok(());
    }
    let full = dir.join(file);
    std::fs::write(&full, page).map_err(modelv_repo::Error::io("write", &full))?;
    ui.talk(format!("wrote {}", file.display()));
    Ok(())
}
