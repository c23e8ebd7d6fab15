//! Bytes without an inside for us: the file as a whole.

use super::{Change, Rules};

pub(super) struct Binary;

impl Rules for Binary {
    fn diff(&self, old: Option<&[u8]>, new: Option<&[u8]>) -> Vec<Change> {
        let size = |bytes: Option<&[u8]>| bytes.map_or(0, |b| b.len() as u64);
        vec![Change::Bytes {
            old: size(old),
            new: size(new),
        }]
    }
}
