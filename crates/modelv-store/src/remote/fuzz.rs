//! Doors for `crate::fuzz`.

use modelv_core::canon::{self, Kind};

use super::root::{ListRef, decode_list, decode_root, encode_list, encode_root};

/// A root object whose hash is put behind these bytes; it again as it is written.
#[must_use]
pub fn root(body: &[u8]) -> Option<Vec<u8>> {
    let bytes = [body, &canon::hash(Kind::Root, body)].concat();
    let root = decode_root("fuzz://", &bytes).ok()?;
    encode_root(&root).ok().inspect(|again| {
        assert!(*again == bytes, "a root is written otherwise than it was");
    })
}

/// A list of packs under the name of these bytes; it again as it is written.
#[must_use]
pub fn pack_list(bytes: &[u8]) -> Option<Vec<u8>> {
    let id = canon::hash(Kind::PackList, bytes);
    let list = decode_list("fuzz://", &ListRef { id, packs: 0 }, bytes).ok()?;
    encode_list(list.packs).ok().map(|(_, again)| again)
}
