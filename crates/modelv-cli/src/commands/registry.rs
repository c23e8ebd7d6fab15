//! `modelv registry`.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Subcommand;
use modelv_release::Shelf;

use super::release::{How, options};
use super::{Done, Session};
use crate::error::CommandError;

/// A registry of this repository's commits: whoever pulls an image by a commit, branch or tag gets it.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Serve `docker pull HOST/NAME:COMMIT`, for any NAME; `latest` is HEAD, unless a branch is called so.
    ///
    /// An image is made when it is first asked for, and kept in the repository's folder. Only pulls are
    /// answered. Put something that speaks TLS and knows who may pull before it, beyond this machine.
    Serve(Serve),
}

#[derive(clap::Args)]
struct Serve {
    /// Where to listen.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:5000")]
    listen: SocketAddr,
    /// What images stand on, as for a release.
    #[arg(long, value_name = "BASE", default_value = "python")]
    base: String,
    /// How layers are packed.
    #[arg(long, value_name = "HOW", value_enum, default_value_t)]
    compression: How,
    /// Lay a bill of materials and the provenance beside each image.
    #[arg(long)]
    papers: bool,
    /// Offer each model alone as a CNCF ModelPack, too.
    #[arg(long)]
    modelpack: bool,
    /// Sign images and papers with this private key.
    #[arg(long, value_name = "FILE")]
    sign_key: Option<PathBuf>,
    /// How much the images may take on disk: those that were made first go first, and are made again when somebody
    /// asks for them.
    #[arg(long, value_name = "SIZE", default_value = "50GB", value_parser = super::clone::bytes)]
    space: u64,
    /// The interpreter that fetches wheels.
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
}

pub(super) fn run(args: Args, s: Session<'_>) -> Done {
    let Action::Serve(args) = args.action;
    let repo = s.repo()?;
    let mut options = options(&args.base, s.dir.clone(), args.python, args.compression, &s)?;
    options.papers = args.papers;
    options.modelpack = args.modelpack;
    options.sign_key = args.sign_key.map(|path| s.dir.join(path));
    let log = |line: String| {
        // Nobody may be there to read it.
        let _ = writeln!(std::io::stderr(), "{line}");
    };
    let shelf = Shelf::open(&repo, options)?.within(args.space);
    let shelf = Arc::new(shelf.telling(log));
    for (name, tag) in shelf.renamed()? {
        s.ui.talk(format!(
            "`{name}` is no tag of an image: it is pulled as `{tag}`"
        ));
    }
    let ui = s.ui;
    let ready = |address: SocketAddr| ui.talk(format!("serving on http://{address}"));
    modelv_serve::serve_pulls(shelf, args.listen, ready, log)
        .map_err(|e| CommandError::failed(&e, None))?;
    Ok(ExitCode::SUCCESS)
}
