//! Where the image of a release goes, and what is said of it: a layout, a tar, or only an engine or a registry.

use std::path::{Path, PathBuf};

use modelv_repo::Repo;

use super::super::Session;
use super::How;
use crate::error::CommandError;
use crate::ui::plain;

/// Where an image goes.
#[derive(clap::Args)]
pub(super) struct OutputArgs {
    /// Folder of the OCI image layout; a name that ends in `.tar` is a tar for `docker load` and `podman load`.
    #[arg(long, short, value_name = "DIR|FILE.tar")]
    #[arg(required_unless_present_any = ["estimate", "tar", "load", "context", "push"])]
    output: Option<PathBuf>,
    /// Also write a tar for `docker load` and `podman load`.
    #[arg(long, value_name = "FILE")]
    tar: Option<PathBuf>,
    /// Also write a folder with a Dockerfile, from which any builder makes the image.
    #[arg(long, value_name = "DIR")]
    context: Option<PathBuf>,
}

/// Whether a name is one of a tar, where no layout lies.
fn is_tar(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "tar") && !path.is_dir()
}

impl OutputArgs {
    /// A tar that is named as the output is one that is written.
    pub(super) fn settle(mut self) -> Result<Self, CommandError> {
        if self.output.as_deref().is_some_and(is_tar) {
            if self.tar.is_some() {
                return Err(CommandError::usage(
                    "two tars are named",
                    "`--output DIR` is a layout, `--tar FILE` is a tar",
                ));
            }
            self.tar = self.output.take();
        }
        Ok(self)
    }

    /// Where the layout is made; in a folder that goes away where nobody wants to keep it.
    pub(super) fn layout(&self, repo: &Repo, s: &Session<'_>) -> Result<Layout, CommandError> {
        if let Some(output) = &self.output {
            return Ok(Layout {
                path: s.dir.join(output),
                _temp: None,
            });
        }
        let failed = |e: std::io::Error| CommandError::failed(&e, None);
        let near = repo.dir().join("tmp");
        std::fs::create_dir_all(&near).map_err(failed)?;
        let temp = tempfile::tempdir_in(near).map_err(failed)?;
        Ok(Layout {
            path: temp.path().join("image"),
            _temp: Some(temp),
        })
    }

    /// What would fail after the image is made is said before.
    pub(super) fn check(&self, how: How, loads: bool) -> Result<(), CommandError> {
        let takes = match (&self.tar, &self.context) {
            _ if matches!(how, How::Gzip) => None,
            (Some(_), _) => Some("a tar for `docker load`"),
            (_, Some(_)) => Some("a Dockerfile"),
            _ => loads.then_some("an engine's `load`"),
        };
        match takes {
            None => Ok(()),
            Some(what) => Err(CommandError::usage(
                format!("{what} takes no layers that are packed with zstd"),
                "`--compression gzip`; registries take zstd",
            )),
        }
    }

    /// Writes what is wanted beside the layout, and says what becomes of it all.
    pub(super) fn write(
        &self,
        layout: &Path,
        tag: &str,
        repo: &Repo,
        s: &mut Session<'_>,
    ) -> Result<(), CommandError> {
        if let Some(tar) = &self.tar {
            modelv_release::write_docker_tar(layout, &s.dir.join(tar), tag, s.cancel())?;
        }
        if let Some(dir) = &self.context {
            modelv_release::write_context(layout, &s.dir.join(dir), s.cancel())?;
        }
        self.tell(repo, s)
    }

    /// Says what becomes of what lies among the files of the next commit.
    fn tell(&self, repo: &Repo, s: &mut Session<'_>) -> Result<(), CommandError> {
        for (path, is_marked) in [
            (&self.output, true),
            (&self.context, true),
            (&self.tar, false),
        ] {
            let inside = path
                .as_ref()
                .and_then(|path| inside(repo, &s.dir.join(path)));
            let Some(inside) = inside else { continue };
            let shown = inside.display().to_string();
            let shown = plain(&shown);
            if is_marked {
                s.ui.talk(format!(
                    "`{shown}` is in no commit: its own `.gitignore` leaves it out"
                ));
                continue;
            }
            let named = s.paths(repo, &[repo.root().join(&inside).into()])?;
            let left_out = named.first().map(|path| repo.left_out(path)).transpose()?;
            if left_out.flatten().is_none() {
                s.ui.talk(format!(
                    "`{shown}` is a part of the next commit: a line `/{shown}` in `.mvignore` leaves it out"
                ));
            }
        }
        Ok(())
    }
}

/// Where in a working tree a path is; `None`: elsewhere.
fn inside(repo: &Repo, path: &Path) -> Option<PathBuf> {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let (root, path) = (real(repo.root()), real(path));
    let inside = path.strip_prefix(&root).ok()?;
    (!inside.starts_with(modelv_repo::DIR_NAME)).then(|| inside.to_owned())
}

/// A place for a layout.
pub(super) struct Layout {
    pub(super) path: PathBuf,
    /// Goes away with it.
    _temp: Option<tempfile::TempDir>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(output: Option<&str>, tar: Option<&str>) -> OutputArgs {
        OutputArgs {
            output: output.map(Into::into),
            tar: tar.map(Into::into),
            context: None,
        }
    }

    #[test]
    fn a_tar_is_known_by_its_name() {
        let settled = |output, tar| args(output, tar).settle().map(|o| (o.output, o.tar));
        let path = |text: &str| Some(PathBuf::from(text));
        assert_eq!(settled(Some("a.tar"), None).unwrap(), (None, path("a.tar")));
        let both = settled(Some("a"), Some("b.tar")).unwrap();
        assert_eq!(both, (path("a"), path("b.tar")));
        assert!(settled(Some("a.tar"), Some("b.tar")).is_err());
        // A layout of that name is one still.
        let dir = tempfile::tempdir().unwrap();
        let old = dir.path().join("old.tar");
        std::fs::create_dir(&old).unwrap();
        let kept = settled(old.to_str(), None).unwrap();
        assert_eq!(kept, (Some(old), None));
    }

    #[test]
    fn zstd_is_refused_where_nobody_unpacks_it() {
        let tar = args(None, Some("b.tar"));
        assert!(tar.check(How::Zstd, false).is_err());
        assert!(tar.check(How::Gzip, true).is_ok());
        let layout = args(Some("a"), None);
        assert!(layout.check(How::Zstd, false).is_ok());
        assert!(layout.check(How::Zstd, true).is_err());
    }
}
