//! Which shared libraries an image needs, and whether it has them: asked before it is built, not when
//! it starts.

use std::collections::{BTreeMap, BTreeSet};

use crate::elf;
use crate::error::{Error, Result};
use crate::layer::{Content, Files, Node};

/// Shared libraries that the layers above the base ask for and bring along.
#[derive(Debug, Default)]
pub(crate) struct Demands {
    /// Name of a library, and who asks for it first.
    pub(crate) needed: BTreeMap<String, String>,
    /// File names of libraries the layers bring.
    pub(crate) brought: BTreeSet<String>,
}

/// Libraries of a driver come from the machine that runs the image.
const FROM_THE_DRIVER: [&str; 4] = [
    "libcuda.so.1",
    "libnvidia-ml.so.1",
    "libnvcuvid.so.1",
    "libnvidia-encode.so.1",
];

impl Demands {
    /// Takes a file into account.
    pub(crate) fn look_at(&mut self, path: &[u8], bytes: &[u8]) -> Option<elf::Needs> {
        let shown = String::from_utf8_lossy(path).into_owned();
        let name = shown.rsplit('/').next().unwrap_or(&shown).to_owned();
        if name.contains(".so") {
            self.brought.insert(name);
        }
        let needs = elf::needs(bytes)?;
        for library in &needs.libraries {
            self.needed
                .entry(library.clone())
                .or_insert_with(|| shown.clone());
        }
        Some(needs)
    }

    /// Looks at all files of a layer that may be programs or libraries.
    pub(crate) fn look_at_all(&mut self, files: &Files) -> Result<()> {
        for (path, node) in &files.nodes {
            let Node::File {
                executable,
                content,
            } = node
            else {
                continue;
            };
            let is_library = path.windows(3).any(|w| w == b".so");
            if !executable && !is_library {
                continue;
            }
            match content {
                Content::Bytes(bytes) => {
                    self.look_at(path, bytes);
                }
                Content::Path(file) => {
                    let bytes = std::fs::read(file).map_err(Error::io("read", file))?;
                    self.look_at(path, &bytes);
                }
                Content::Blob(..) => {}
            }
        }
        Ok(())
    }

    /// Libraries neither the layers nor the base provide.
    pub(crate) fn missing(&self, paths: &BTreeSet<Vec<u8>>) -> Vec<String> {
        let in_base: BTreeSet<&[u8]> = paths
            .iter()
            .filter_map(|p| p.rsplit(|b| *b == b'/').next())
            .collect();
        self.needed
            .iter()
            .filter(|(name, _)| {
                !self.brought.contains(*name)
                    && !in_base.contains(name.as_bytes())
                    && !FROM_THE_DRIVER.contains(&name.as_str())
            })
            .map(|(name, by)| format!("{name} (needed by {by})"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_nobody_brings_are_named_with_who_needs_them() {
        let mut demands = Demands::default();
        for (library, by) in [
            ("libbase.so.1", "a.so"),
            ("libbrought.so.2", "b.so"),
            ("libcuda.so.1", "c.so"),
            ("libgone.so.3", "opt/x/d.so"),
        ] {
            demands.needed.insert(library.into(), by.into());
        }
        demands.brought.insert("libbrought.so.2".into());
        let paths = BTreeSet::from([b"usr/lib/libbase.so.1".to_vec()]);
        assert_eq!(
            demands.missing(&paths),
            ["libgone.so.3 (needed by opt/x/d.so)"]
        );
    }
}
