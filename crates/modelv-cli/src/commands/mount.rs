//! `modelv mount`.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;

use modelv_mount::{CACHE_BYTES, Mount, Stopped};

use super::{Done, Session};
use crate::error::CommandError;

/// What the mounting process says when the files are there.
const READY: &str = "mounted";

/// Show the files of a commit as a read-only folder, without checking them out.
///
/// What is read is decoded when it is read, and nothing else. Ctrl-C (or `umount DIR`) ends it.
/// Needs /dev/fuse, and root or the program fusermount3.
#[derive(clap::Args)]
#[command(override_usage = "modelv mount [OPTIONS] [COMMIT] <DIR>")]
pub(crate) struct Args {
    /// The commit, HEAD without one; and the folder, which is made if it is missing.
    #[arg(value_name = "[COMMIT] DIR", required = true, num_args = 1..=2)]
    words: Vec<PathBuf>,
    /// Return when the files are there; `umount DIR` ends it.
    #[arg(long)]
    background: bool,
    /// Keep at most so many MiB of decoded chunks.
    #[arg(long, value_name = "MIB", default_value_t = CACHE_BYTES >> 20)]
    cache: u64,
    /// Say on standard output when the files are there, and nothing else.
    #[arg(long, hide = true)]
    say_ready: bool,
}

impl Args {
    /// Revision and folder: one word alone is the folder.
    fn meaning(&self) -> (String, &Path) {
        match self.words.as_slice() {
            [revision, dir, ..] => (revision.to_string_lossy().into_owned(), dir),
            [dir] => ("HEAD".to_owned(), dir),
            [] => ("HEAD".to_owned(), Path::new("")),
        }
    }
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    let repo = s.repo()?;
    let (revision, dir) = args.meaning();
    let id = repo.resolve(&revision)?;
    let dest = s.dir.join(dir);
    // A mount whose process was killed is there, and yet can't be looked at.
    if std::fs::symlink_metadata(&dest).is_err() {
        std::fs::create_dir_all(&dest).map_err(modelv_repo::Error::io("create", &dest))?;
    }
    if args.background {
        return in_background(&id.to_hex(), &dest, args, s);
    }
    let is_quiet = args.say_ready;
    let on_error = Box::new(move |text: &str| {
        if !is_quiet {
            // One line at a time, from several threads: past the terminal's state.
            let _ = std::io::Write::write_all(
                &mut std::io::stderr(),
                format!("error: {text}\n").as_bytes(),
            );
        }
    });
    let cache = args.cache.saturating_mul(1 << 20);
    let mount = modelv_mount::mount(Arc::new(repo), id, &dest, cache, on_error)?;
    if args.say_ready {
        s.ui.line(READY);
    } else {
        s.ui.talk(format!(
            "{} is at {}; Ctrl-C ends it",
            id.short(),
            dir.display()
        ));
    }
    serve(mount)?;
    Ok(ExitCode::SUCCESS)
}

/// Answers the kernel until somebody unmounts it, Ctrl-C, or the signal that ends services.
fn serve(mut mount: Mount) -> Result<(), CommandError> {
    let stopper = mount.stopper();
    let signals = signal_hook::iterator::Signals::new([2, 15]);
    let mut signals = signals.map_err(|e| CommandError::failed(&e, None))?;
    let handle = signals.handle();
    std::thread::spawn(move || {
        // Closed when the mount has ended by itself.
        if signals.forever().next().is_none() {
            return;
        }
        let said = match stopper.stop() {
            Ok(Stopped::Now) => return,
            Ok(Stopped::WhenLeft) => {
                "still in use: it ends when the last one has left; Ctrl-C again ends it now".into()
            }
            Err(e) => format!("error: {e}"),
        };
        let line = format!("{said}\n");
        let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
    });
    let done = mount.run();
    handle.close();
    done.map_err(CommandError::from)
}

/// Starts this program once more, apart from the terminal, and waits until the files are there.
fn in_background(id: &str, dest: &Path, args: &Args, s: Session<'_>) -> Done {
    use std::os::unix::process::CommandExt;
    let program = std::env::current_exe().map_err(|e| CommandError::failed(&e, None))?;
    let mut child = Command::new(program)
        .arg0("modelv")
        .arg("-C")
        .arg(&s.dir)
        .args(["mount", id])
        .arg(dest)
        .args(["--say-ready", "--cache", &args.cache.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Ctrl-C in this terminal is not meant for it.
        .process_group(0)
        .spawn()
        .map_err(|e| CommandError::failed(&e, None))?;
    let mut line = String::new();
    if let Some(out) = child.stdout.take() {
        let _ = BufReader::new(out).read_line(&mut line);
    }
    if line.trim_end() == READY {
        s.ui.line(format!(
            "mounted at {}; `umount {}` ends it",
            dest.display(),
            dest.display()
        ));
        return Ok(ExitCode::SUCCESS);
    }
    let mut said = String::new();
    if let Some(mut err) = child.stderr.take() {
        let _ = err.read_to_string(&mut said);
    }
    let status = child.wait().ok().and_then(|s| s.code()).unwrap_or(1);
    s.ui.talk(said.trim_end());
    Ok(ExitCode::from(u8::try_from(status).unwrap_or(1)))
}
