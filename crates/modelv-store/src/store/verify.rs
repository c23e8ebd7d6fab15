//! Reading every byte of every pack, and telling what is broken.

use std::path::Path;
use std::sync::Arc;

use modelv_core::canon::Kind;
use modelv_core::id::{BlobId, to_hex};

use super::{DEPTH_MAX, Pack, Store};
use crate::error::{Error, Result};
use crate::gc::State;
use crate::pack::{self, MAGIC, Row};
use crate::reader::BlobReader;
use crate::{Tag, fs};

/// What `verify` found.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Report {
    /// Packs that were read.
    pub packs: u64,
    /// Entries whose hash was computed.
    pub entries: u64,
    /// Bytes of packs that were read.
    pub bytes: u64,
    /// What is broken, one line each.
    pub problems: Vec<String>,
    /// What a newer program wrote: it is whole, and can't be looked into. One line each.
    pub newer: Vec<String>,
    /// Indexes that were damaged or missing, as a power cut leaves them, and have been made again
    /// from their packs.
    pub remade: Vec<String>,
}

impl Store {
    /// Reads every byte of every pack and checks every hash. Damage is reported, not
    /// raised; indexes that are not what their packs say are made again.
    ///
    /// # Errors
    /// The folder of packs can't be read.
    pub fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<Report> {
        self.refresh()?;
        let packs = self.packs();
        let size = |p: &Arc<Pack>| std::fs::metadata(&p.path).map_or(0, |m| m.len());
        let total = packs.iter().map(size).sum();
        let mut report = Report::default();
        report
            .problems
            .extend(State::read(&self.dir).err().map(|e| describe(&e)));
        // All indexes first: reading entries rebuilds those that are damaged.
        let unsound: Vec<bool> = packs.iter().map(|pack| !has_sound_index(pack)).collect();
        for (pack, unsound) in packs.iter().zip(unsound) {
            match self.verify_pack(pack, &mut report) {
                // The table of a damaged pack must not replace an index that may be the better one.
                Ok(true) if unsound => report.remade.extend(remake_index(pack)),
                Ok(_) => {}
                Err(e) => report.problems.push(describe(&e)),
            }
            report.packs += 1;
            report.bytes += size(pack);
            progress(report.bytes, total);
        }
        Ok(report)
    }

    /// Whether the pack is what its hash says; damage inside is reported.
    fn verify_pack(&self, pack: &Arc<Pack>, report: &mut Report) -> Result<bool> {
        let path = &pack.path;
        let what = || format!("pack `{}`", path.display());
        let mut file = std::fs::File::open(path).map_err(Error::io("open", path))?;
        let len = file.metadata().map_err(Error::io("read", path))?.len();
        let is_whole = pack::is_named(&mut file, &pack.name).map_err(Error::io("read", path))?;
        if !is_whole {
            report
                .problems
                .push(format!("{} does not match its hash", what()));
        }
        if len < MAGIC.len() as u64 {
            return Err(Error::corrupt(what(), "it is cut off"));
        }
        let rows = match pack::read_table(&file, path) {
            Err(e) if e.is_newer() => {
                // Of one that is damaged, nobody knows who wrote it.
                report.newer.extend(is_whole.then(|| describe(&e)));
                return Ok(false);
            }
            rows => rows?,
        };
        if pack.condemned {
            // What its entries need may have been collected before it: whoever is alive is elsewhere.
            report.entries += rows.len() as u64;
            return Ok(is_whole);
        }
        if !pack::is_filled(&rows, &file) {
            let detail = "its entries overlap, or there is something between them";
            report.problems.push(format!("{}: {detail}", what()));
        }
        let mut plain = Vec::new();
        for row in rows {
            report.entries += 1;
            let word = Tag::from_byte(row.key.0).map_or("entry", Tag::word);
            let entry = || format!("{word} `{}` in {}", to_hex(&row.key.1), what());
            match self.verify_entry(&file, path, &row, &mut plain) {
                Ok(true) => {}
                Err(e) if is_whole && e.is_newer() => {
                    let line = format!("{} was written by a newer modelv", entry());
                    report.newer.push(line);
                }
                _ => report.problems.push(format!("{} is damaged", entry())),
            }
        }
        Ok(is_whole)
    }

    /// Whether an entry is what its row says.
    fn verify_entry(
        &self,
        file: &std::fs::File,
        path: &Path,
        row: &Row,
        plain: &mut Vec<u8>,
    ) -> Result<bool> {
        let is_cuts = row.key.0 == Tag::Object(Kind::Cuts).byte();
        let bases = |id: &[u8; 32], most: u8| self.read_below(id, DEPTH_MAX, most);
        pack::read_entry(file, path, row, &bases, plain)?;
        if !pack::check_hash(&row.key, plain) {
            return Ok(false);
        }
        pack::check_form(&row.key, plain)?;
        Ok(!is_cuts || self.verify_blob(&BlobId(row.key.1)))
    }

    /// Whether a cut blob reads as what its id says.
    fn verify_blob(&self, id: &BlobId) -> bool {
        let mut hasher = blake3::Hasher::new();
        let Ok(Some(cuts)) = self.cuts(id) else {
            return false;
        };
        let mut reader = BlobReader::cut(self, cuts);
        std::io::copy(&mut reader, &mut hasher).is_ok() && *hasher.finalize().as_bytes() == id.0
    }
}

fn table(pack: &Pack) -> Result<Vec<Row>> {
    let file = std::fs::File::open(&pack.path).map_err(Error::io("open", &pack.path))?;
    pack::read_table(&file, &pack.path)
}

/// Whether the index of a pack is what the pack's table says.
fn has_sound_index(pack: &Pack) -> bool {
    let idx = pack.path.with_extension("idx");
    table(pack).is_ok_and(|rows| crate::index::is_sound(&idx, &pack.name, &rows))
}

/// Makes the index of a sound pack again.
fn remake_index(pack: &Pack) -> Option<String> {
    let rows = table(pack).ok()?;
    let idx = pack.path.with_extension("idx");
    // Derived: where it can't be written, every reader makes its own.
    let _ = fs::write_unsynced(&idx, &crate::index::to_bytes(&pack.name, &rows));
    Some(format!("index `{}` was damaged or missing", idx.display()))
}

fn describe(e: &Error) -> String {
    match std::error::Error::source(e) {
        Some(cause) => format!("{e}: {cause}"),
        None => e.to_string(),
    }
}
