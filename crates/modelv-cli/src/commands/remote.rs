//! `modelv remote`.

use std::path::Path;
use std::process::ExitCode;

use clap::Subcommand;
use modelv_repo::Error;
use modelv_repo::names;
use modelv_repo::remote::{RemoteInfo, RemoteOptions};
use serde_json::json;

use super::{Done, Session};
use crate::ui::Style;

/// List, add or remove remotes.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Where a remote is, beside its address.
#[derive(clap::Args)]
pub(super) struct Place {
    /// Where the service is, for stores that speak a cloud's protocol: `http://host:9000`.
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// Region of the bucket.
    #[arg(long, value_name = "NAME")]
    region: Option<String>,
}

impl Place {
    pub(super) fn options(&self) -> RemoteOptions {
        RemoteOptions {
            endpoint: self.endpoint.clone(),
            region: self.region.clone(),
        }
    }
}

#[derive(Subcommand)]
enum Action {
    /// Add a remote: a folder, `file://`, `s3://BUCKET/PREFIX`, `gs://`, `az://`, or `https://`
    /// (to read).
    Add {
        /// Its name here, for example `origin`.
        name: String,
        /// Its address.
        url: String,
        #[command(flatten)]
        place: Place,
    },
    /// List remotes.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Forget a remote; nothing changes there.
    Remove {
        /// Its name.
        name: String,
    },
}

/// The address of a remote that somebody typed.
pub(super) fn typed(url: &str, dir: &Path) -> modelv_repo::Result<String> {
    match url.starts_with("memory:") {
        true => Err(Error::invalid(
            "remote",
            url,
            "it would end with this command; a folder stays",
        )),
        false => modelv_repo::remote::full_url(url, dir),
    }
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    let mut repo = s.repo()?;
    match &args.action {
        Some(Action::Add { name, url, place }) => {
            let info = RemoteInfo {
                name: name.clone(),
                url: typed(url, &s.dir)?,
                options: place.options(),
            };
            repo.add_remote(&info)?;
            s.ui.line(format!("remote {name} is {}", info.url));
        }
        Some(Action::Remove { name }) => {
            repo.remove_remote(name)?;
            s.ui.line(format!("forgot remote {name}"));
        }
        None | Some(Action::List { .. }) => {
            let as_json = args.json || matches!(args.action, Some(Action::List { json: true }));
            let remotes = repo.remotes();
            if as_json {
                let list: Vec<serde_json::Value> = remotes
                    .iter()
                    .map(|r| {
                        let below = format!("{}{}/", names::REMOTES, r.name);
                        let branches: serde_json::Map<_, _> = repo
                            .refs_below(&below)
                            .into_iter()
                            .map(|(name, id)| (name, id.to_hex().into()))
                            .collect();
                        json!({
                            "name": r.name, "url": r.url, "endpoint": r.options.endpoint,
                            "region": r.options.region, "branches": branches,
                        })
                    })
                    .collect();
                s.ui.json(&list.into());
                return Ok(ExitCode::SUCCESS);
            }
            for r in remotes {
                let name = s.ui.paint(Style::Strong, &r.name);
                s.ui.line(format!("{name} {}", r.url));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
