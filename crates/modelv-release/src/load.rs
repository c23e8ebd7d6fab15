//! Handing an image over to an engine of this machine.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use modelv_repo::Cancel;

use crate::error::{Error, Result};
use crate::layout::{old_manifest, stream_docker_tar};
use crate::reference::check_reference;

/// An engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// `docker load`.
    Docker,
    /// `podman load`.
    Podman,
}

impl Engine {
    fn program(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
        }
    }
}

/// Loads a layout into an engine under a name; nothing is written in between. Returns what it says.
///
/// # Errors
/// The name is none, the layout is damaged, the engine is not there or refuses, or it was interrupted.
pub fn load(layout: &Path, reference: &str, engine: Engine, cancel: &Cancel) -> Result<String> {
    check_reference(reference)?;
    let old = old_manifest(layout, reference)?;
    let program = engine.program();
    let bad = |detail: String| Error::Engine {
        engine: program.to_owned(),
        detail,
    };
    let mut child = Command::new(program)
        .arg("load")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| bad(e.to_string()))?;
    let Some(mut input) = child.stdin.take() else {
        return Err(bad("it does not listen".into()));
    };
    let sent =
        stream_docker_tar(layout, &old, &mut input, Path::new(program), cancel).and_then(|()| {
            input
                .flush()
                .map_err(Error::io("write", Path::new(program)))
        });
    drop(input);
    let output = child.wait_with_output().map_err(|e| bad(e.to_string()))?;
    cancel.check()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(bad(said.trim().chars().take(500).collect()));
    }
    sent?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
