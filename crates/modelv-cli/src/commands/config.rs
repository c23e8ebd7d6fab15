//! `modelv config`.

use std::process::ExitCode;

use super::{Done, Session};

/// Show or set the configuration of this repository.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// For example `user.name`; all of them otherwise.
    key: Option<String>,
    /// The new value.
    value: Option<String>,
    /// Remove the key.
    #[arg(long, conflicts_with = "value")]
    unset: bool,
    /// As JSON: all of them, or the value of KEY.
    #[arg(long, conflicts_with_all = ["value", "unset"])]
    json: bool,
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    let mut repo = s.repo()?;
    match (&args.key, &args.value) {
        (None, _) if args.json => {
            let all = repo.config_all().into_iter();
            let all: serde_json::Map<_, _> = all.map(|(k, v)| (k, v.into())).collect();
            s.ui.json(&all.into());
        }
        (None, _) => {
            for (key, value) in repo.config_all() {
                s.ui.line(format!("{key} = {value}"));
            }
        }
        (Some(key), value) if value.is_some() || args.unset => {
            repo.set_config(key, value.as_deref())?;
        }
        (Some(key), _) => {
            let value = repo
                .config(key)
                .ok_or_else(|| modelv_repo::Error::not_found("configuration key", key))?;
            match args.json {
                true => s.ui.json(&value.into()),
                false => s.ui.line(value),
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
