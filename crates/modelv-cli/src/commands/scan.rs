//! `modelv scan`.

use std::ffi::OsString;
use std::process::ExitCode;

use modelv_repo::core::scan::{RULES_VERSION, Verdict};
use modelv_repo::{Repo, Scanned, scan_disk};
use serde_json::json;

use super::{Done, Session};
use crate::error::CommandError;
use crate::ui::{Style, Ui};
use crate::view::visible;

/// Tell whether loading model files would run code. Nothing is executed.
///
/// Pickles (also in PyTorch, joblib and NumPy files), Keras, ONNX and GGUF are read against a list of
/// what is allowed. Ends with 1 when something is found.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Files and folders; everything here otherwise. With `--commit`, paths in it.
    paths: Vec<OsString>,
    /// Look into this commit instead of the disk.
    #[arg(long, value_name = "REV")]
    commit: Option<String>,
    /// Also what each file imports, and files without a finding.
    #[arg(short, long)]
    verbose: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    let found = look(args, &s)?;
    let bad = found
        .iter()
        .filter(|f| f.scan.verdict() > Verdict::Safe)
        .count();
    if args.json {
        let files: Vec<serde_json::Value> = found.iter().map(to_json).collect();
        s.ui.json(&json!({"rules": RULES_VERSION, "files": files}));
    } else {
        for file in &found {
            if args.verbose || file.scan.verdict() > Verdict::Safe {
                show(s.ui, file, args.verbose);
            }
        }
        let files = if found.len() == 1 { "file" } else { "files" };
        s.ui.line(format!(
            "{} model {files}, {bad} with findings",
            found.len()
        ));
    }
    Ok(ExitCode::from(u8::from(bad > 0)))
}

fn look(args: &Args, s: &Session<'_>) -> Result<Vec<Scanned>, CommandError> {
    let Some(revision) = &args.commit else {
        let mut paths: Vec<_> = args.paths.iter().map(|p| s.dir.join(p)).collect();
        if paths.is_empty() {
            paths.push(s.dir.clone());
        }
        let mut found = scan_disk(&paths, &s.ctx())?;
        let here = format!("{}/", s.dir.display());
        for file in &mut found {
            if let Some(short) = file.path.strip_prefix(&here) {
                file.path = short.to_owned();
            }
        }
        return Ok(found);
    };
    let repo: Repo = s.repo()?;
    let paths = s.paths(&repo, &args.paths)?;
    Ok(repo.scan_commit(repo.resolve(revision)?, &paths, &s.ctx())?)
}

/// The verdict of a file and its reasons.
pub(super) fn show(ui: &mut Ui, file: &Scanned, verbose: bool) {
    let verdict = file.scan.verdict();
    let style = match verdict {
        Verdict::Safe => Style::Added,
        Verdict::Suspicious => Style::Changed,
        Verdict::Dangerous => Style::Removed,
    };
    let word = ui.paint(style, &verdict.to_string());
    ui.line(format!("{word} {}", visible(&file.path)));
    for finding in &file.scan.findings {
        let text = visible(&finding.to_string());
        ui.line(format!("    {}: {text}", finding.verdict));
    }
    if verbose {
        for global in &file.scan.globals {
            ui.line(format!("    imports {}", visible(global)));
        }
    }
}

fn to_json(file: &Scanned) -> serde_json::Value {
    let finding = |f: &modelv_repo::core::scan::Finding| json!({"verdict": f.verdict.to_string(), "member": f.member, "reason": f.reason});
    json!({
        "path": file.path, "kind": file.scan.kind, "verdict": file.scan.verdict().to_string(),
        "findings": file.scan.findings.iter().map(finding).collect::<Vec<_>>(),
        "globals": file.scan.globals,
    })
}
