//! `modelv env recreate`.

use std::path::PathBuf;
use std::process::ExitCode;

use modelv_repo::{RecreateOptions, Recreated};
use serde_json::json;

use super::{Done, Session, show_changes};
use crate::ui::Ui;
use modelv_repo::json::env as env_json;

/// Make the environment of a commit again, as a virtual environment.
///
/// Packages come as exactly the recorded versions: from wheels that `env vendor` has put into the store,
/// from folders, then from an index. What was recorded of them is checked before they are installed,
/// and their installed files afterwards. uv installs them where it is, pip otherwise.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The commit.
    #[arg(default_value = "HEAD")]
    revision: String,
    /// The new folder.
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// Take wheels from this folder; may be given again. Without `--index`: from nowhere else.
    #[arg(long, alias = "find-links", value_name = "DIR")]
    wheels: Vec<PathBuf>,
    /// Take packages from this index instead of pip's own; may be given again.
    #[arg(long, value_name = "URL")]
    index: Vec<String>,
    /// Ask no index.
    #[arg(long, conflicts_with = "index")]
    offline: bool,
    /// Use this interpreter, whatever version was recorded.
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    let repo = s.repo()?;
    let id = repo.resolve(&args.revision)?;
    let options = RecreateOptions {
        output: s.dir.join(&args.output),
        wheels: args.wheels.iter().map(|dir| s.dir.join(dir)).collect(),
        indexes: args.index.clone(),
        offline: args.offline,
        python: args.python.clone(),
    };
    crate::interrupt::watch_termination();
    let made = repo.recreate_env(id, &options, &s.ctx())?;
    if args.json {
        s.ui.json(&json!({
            "python": made.python, "env": made.env.id().to_hex(), "exact": made.changes.is_empty(),
            "packages": made.env.packages.len(), "verified": made.verified,
            "vendored": made.vendored,
            "in_place": made.in_place.iter().map(|(p, dir)| json!({"package": p, "folder": dir})).collect::<Vec<_>>(),
            "left_out": made.left_out.iter().map(|(p, why)| json!({"package": p, "reason": why})).collect::<Vec<_>>(),
            "changes": env_json(&made.changes),
        }));
    } else {
        show(&made, s.ui);
    }
    Ok(ExitCode::from(u8::from(!made.changes.is_empty())))
}

fn show(made: &Recreated, ui: &mut Ui) {
    ui.line(format!("{}", made.python.display()));
    let vendored = match made.vendored {
        0 => String::new(),
        n => format!(", {n} from vendored wheels"),
    };
    ui.line(format!(
        "env {}, {} packages, {} of them checked file by file{vendored}",
        made.env.id().short(),
        made.env.packages.len(),
        made.verified
    ));
    for (package, dir) in &made.in_place {
        ui.line(format!(
            "{package} in place, with the code of the commit: {}",
            dir.display()
        ));
    }
    for (package, why) in &made.left_out {
        ui.warn(format!("left out: {package}: {why}"));
    }
    if made.changes.is_empty() {
        ui.line("exactly as recorded");
    } else {
        ui.line("differs from what was recorded:");
        show_changes(ui, &made.changes);
    }
}
