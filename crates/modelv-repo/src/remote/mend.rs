//! `fsck --remote`: every byte of a remote, and what is damaged there mended with what is here or elsewhere.
//!
//! Must never change anything here.

use std::path::Path;

use modelv_core::id::to_hex;
use modelv_store::Store;
use modelv_store::remote::{Mend, RemoteError, Spare};

use super::{CtxWatch, RemoteInfo};
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::repair::Donor;
use crate::repo::Repo;

/// So often others may push while a remote is mended.
const ROUNDS_MAX: u32 = 8;

/// What a check of a remote found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RemoteReport {
    /// Packs that were read.
    pub packs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packs that are missing or damaged.
    pub damaged: Vec<String>,
    /// Whether sound ones are in their place now.
    pub mended: bool,
    /// What of the damaged packs is nowhere to be had.
    pub missing: Vec<String>,
}

impl Repo {
    /// Reads every pack of a remote. With `from`, another remote, an address or a folder, what is damaged is
    /// mended with what that and this clone have.
    ///
    /// # Errors
    /// The remote or the other one can't be reached, or has no repository.
    pub fn check_remote(
        &self,
        info: &RemoteInfo,
        from: Option<(&str, &Path)>,
        ctx: &Ctx<'_>,
    ) -> Result<RemoteReport> {
        let remote = self.open_remote(info)?;
        let tmp = self.dir().join("tmp");
        let folder = || tempfile::tempdir_in(&tmp).map_err(Error::io("create", &tmp));
        let watch = CtxWatch(ctx);
        for _ in 0..ROUNDS_MAX {
            let root = remote
                .root()?
                .ok_or_else(|| Error::not_found("repository", &info.url))?;
            let place = folder()?;
            let scratch = Store::init(place.path())?;
            let catalog = remote.catalog(&root, &scratch, &watch)?;
            let bad = remote.check_packs(&catalog, &watch)?;
            let mut report = RemoteReport {
                packs: catalog.len() as u64,
                bytes: catalog.bytes(),
                damaged: bad.iter().map(|name| to_hex(name)).collect(),
                ..RemoteReport::default()
            };
            let Some((from, base)) = from.filter(|_| !bad.is_empty()) else {
                return Ok(report);
            };
            let donor = self.donor(from, base, ctx)?;
            let other = match &donor {
                Donor::Folder(store) => Spare::Store(store),
                Donor::Remote(other) => Spare::Remote(&other.0, &other.1),
            };
            let spares = [Spare::Store(self.store()), other];
            match remote.mend(&root, &catalog, &bad, &spares, &scratch, &watch)? {
                Mend::Done => report.mended = true,
                Mend::Missing(missing) => report.missing = missing,
                Mend::Moved => continue,
            }
            return Ok(report);
        }
        let url = info.url.clone();
        Err(RemoteError::Busy { url }.into())
    }
}
