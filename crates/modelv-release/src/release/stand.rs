//! What the layers of an image stand on: the base with all libraries that they need, the interpreter in it, and the
//! file that tells the server what to start.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use modelv_serve::ImageConfig;

use super::Plan;
use crate::app::APP;
use crate::base::{Ground, Stand, prepare};
use crate::demands::Demands;
use crate::error::{Error, Result};
use crate::layer::{Content, Files, Node};
use crate::packer::Packer;
use crate::steps::Made;
use crate::wheel;

impl Plan<'_> {
    /// The base, with every library that the layers above it need.
    pub(super) fn ground(
        &self,
        packer: &Packer<'_>,
        above: &[Made],
    ) -> Result<(Ground, Vec<String>)> {
        let mut demands = Demands::default();
        for made in above {
            demands.add(&made.demands);
        }
        let pair = self.python.as_deref().zip(self.version());
        let stand = Stand {
            python: pair,
            alone: self.entry.is_model().then_some(&*self.options.server),
            env: &self.env,
        };
        let ground = prepare(&self.options.base, packer, &stand, &demands)?;
        if let Some(told) = ground.unmade.clone() {
            return Ok((ground, vec![told]));
        }
        let mut notes = match self.libraries() {
            Some(known) => demands.forget_unused(&known, &ground.seen.paths),
            None => Vec::new(),
        };
        let missing = demands.missing(&ground.seen.paths, &ground.seen.offers);
        if !missing.is_empty() {
            packer.refuse(Error::Libraries { missing })?;
        }
        notes.extend(demands.elsewhere(&ground.seen.paths));
        Ok((ground, notes))
    }

    /// The libraries that packages found where the commit was made; `None`: nobody looked.
    fn libraries(&self) -> Option<BTreeSet<&str>> {
        let details = &self.env.details;
        let owned = details.system.iter().flat_map(|s| &s.libraries);
        let free = details.libraries.iter().map(|l| &l.name);
        let known: BTreeSet<&str> = owned.chain(free).map(String::as_str).collect();
        Some(known).filter(|known| !known.is_empty())
    }

    /// The interpreter in the base; nothing where none is needed.
    pub(super) fn python_in(&self, ground: &Ground) -> Result<String> {
        if self.entry.is_model() {
            return Ok(String::new());
        }
        let bad = |detail: String| Error::Base {
            base: self.options.base.to_string(),
            detail,
        };
        let minor = self
            .minor()
            .ok_or_else(|| bad("the commit records no interpreter".into()))?;
        if ground.unmade.is_some() {
            return Ok(format!("/usr/bin/python{minor}"));
        }
        ["usr/local/bin", "usr/bin", "bin", "opt/venv/bin"]
            .iter()
            .map(|dir| format!("{dir}/python{minor}"))
            .find(|path| ground.seen.paths.contains(path.as_bytes()))
            .map(|path| format!("/{path}"))
            .ok_or_else(|| {
                let text = format!("it has no python{minor}, which the commit was made with");
                bad(text)
            })
    }

    /// Where modules are imported from: packages, and what was installed in place.
    fn site_dirs(&self) -> Vec<PathBuf> {
        if self.entry.is_model() {
            return Vec::new();
        }
        let app = PathBuf::from(format!("/{APP}"));
        let roots = self.in_place.values().flatten();
        let roots = roots.map(|root| app.join(OsStr::from_bytes(root.as_bytes())));
        let mut dirs = vec![format!("/{}", wheel::SITE).into()];
        dirs.extend(roots);
        dirs
    }

    /// What the server reads when it starts.
    pub(super) fn about_files(&self, interpreter: String) -> Files {
        let config = ImageConfig {
            app_dir: format!("/{APP}").into(),
            commit: self.id.to_hex(),
            entry: self.entry.function().to_owned(),
            listen: ([0, 0, 0, 0], 8080).into(),
            model: self.entry.model(),
            name: self.name(),
            python: interpreter.into(),
            recipe: self.commit.recipe.id().to_hex(),
            site_dirs: self.site_dirs(),
            workers: 1,
        };
        let mut files = Files::default();
        if !self.entry.is_model() {
            // Relative, so that it leads to the same file in an unpacked image.
            let python = config.python.display();
            let link = Node::Link(format!("../../..{python}").into_bytes());
            files.add(&wheel::INTERPRETER[1..], link);
        }
        // A commit without files would leave no folder to work in.
        files.add(APP, Node::Dir { sticky: false });
        let bytes = serde_json::to_vec_pretty(&config).unwrap_or_default();
        files.add_file("opt/modelv/image.json", false, Content::Bytes(bytes));
        files
    }
}
