//! Doors to private decoders for `modelv-fuzz`; nothing else may use this.

use std::collections::BTreeSet;
use std::path::Path;

use crate::demands::{Demands, Look};
use crate::layer::{Files, write_tar_seen};
use crate::{base, elf, layout, unpack, wheel};

/// The paths of a layer, after the whiteouts in it.
///
/// # Errors
/// It is no tar.
pub fn list_tar(bytes: &[u8]) -> std::io::Result<BTreeSet<Vec<u8>>> {
    let mut seen = base::Seen::default();
    base::list_tar(bytes, &mut seen)?;
    Ok(seen.paths)
}

/// Unpacks a layer into a folder.
///
/// # Errors
/// It is no tar, or leads out.
pub fn unpack_layer(bytes: &[u8], dest: &Path) -> std::io::Result<()> {
    unpack::apply(bytes, dest, &mut unpack::Modes::new())
}

/// Lays a wheel out and packs its files; how many they are.
///
/// # Errors
/// It is no wheel, or not what it says it is.
pub fn wheel(path: &Path) -> crate::Result<usize> {
    let wheel = wheel::Wheel {
        path: path.to_owned(),
        sha256: String::new(),
        label: String::new(),
        is_other: false,
    };
    let mut files = Files::default();
    wheel::lay_out(&wheel, "/usr/bin/python3", &mut files)?;
    let mut demands = Demands::default();
    let mut look = Look {
        demands: &mut demands,
        room: &std::env::temp_dir(),
    };
    write_tar_seen(&mut std::io::sink(), &files, None, Some(&mut look))?;
    Ok(files.nodes.len())
}

/// Libraries that an ELF file asks for.
#[must_use]
pub fn elf(bytes: &[u8]) -> Option<usize> {
    elf::needs(bytes).map(|n| n.libraries.len())
}

/// Finds the manifest of a layout.
///
/// # Errors
/// It is no layout, or damaged.
pub fn manifest(dir: &Path) -> crate::Result<String> {
    layout::read_manifest(dir).map(|(digest, _)| digest)
}
