//! What a newer program wrote is called that, and nothing takes it away.

use std::path::{Path, PathBuf};

use modelv_core::canon::{self, Kind};
use modelv_core::id::to_hex;

use crate::error::Error;
use crate::gc::Collector;
use crate::pack::{Row, Writer};
use crate::remote::Item;
use crate::repair::{Look, Mender};
use crate::store::{Report, Store};
use crate::tests::{fresh, noise, put};
use crate::{Key, Tag, codec::Codec};

/// A whole pack of one entry, whose row says what `change` makes of it.
fn pack_of(store: &Store, key: Key, stored: &[u8], change: fn(&mut Row)) -> PathBuf {
    let mut writer = Writer::create(store.dir().join("tmp/made")).unwrap();
    writer
        .append(key, Codec::Raw, stored, stored.len())
        .unwrap();
    change(&mut writer.rows[0]);
    let name = writer.seal().unwrap();
    let path = store
        .dir()
        .join("packs")
        .join(to_hex(&name))
        .with_extension("pack");
    writer.publish(&path).unwrap();
    path
}

fn verify(dir: &Path) -> Report {
    Store::open(dir).unwrap().verify(&mut |_, _| {}).unwrap()
}

/// Entries of a codec, a kind and a version that are not known.
fn newer(store: &Store) -> [PathBuf; 3] {
    let bytes = b"as a later codec would have it";
    let id = *blake3::hash(bytes).as_bytes();
    let object = b"MODELV\x01\x02\x00".to_vec();
    let object_id = canon::hash(Kind::Tree, &object);
    [
        pack_of(store, (Tag::Chunk.byte(), id), bytes, |r| r.codec = 99),
        pack_of(store, (Tag::Chunk.byte(), id), bytes, |r| r.key.0 = 200),
        pack_of(
            store,
            (Tag::Object(Kind::Tree).byte(), object_id),
            &object,
            |_| {},
        ),
    ]
}

#[test]
fn entries_of_a_newer_program_are_no_damage_and_stay() {
    let (dir, store) = fresh();
    let known = put(&store, &noise(1, 3000));
    let packs = newer(&store);
    let report = verify(dir.path());
    assert_eq!(report.problems, [""; 0]);
    assert_eq!(report.newer.len(), 3, "{:?}", report.newer);
    for line in &report.newer {
        assert!(line.ends_with("was written by a newer modelv"), "{line}");
    }
    assert!(store.read_blob(&known, u64::MAX).is_ok());
    let fresh = Store::open(dir.path()).unwrap();
    let id = modelv_core::id::BlobId::of(b"as a later codec would have it");
    let e = fresh.read_blob(&id, u64::MAX).unwrap_err();
    assert!(e.is_newer() && e.to_string().contains("codec 99"), "{e}");
    // Who can't read it takes nothing away.
    let mut mender = Mender::begin(&fresh).unwrap();
    mender.mend(Look::Files, 0).unwrap();
    assert!(mender.mend(Look::Entries, 0).unwrap_err().is_newer());
    drop(mender);
    let mut collector = Collector::begin(&fresh).unwrap();
    assert!(collector.mark(Item::Blob(id)).unwrap_err().is_newer());
    assert!(packs.iter().all(|p| p.exists()));
}

#[test]
fn a_pack_of_a_newer_format_is_no_damage_and_a_changed_byte_is() {
    let (dir, store) = fresh();
    put(&store, &noise(1, 3000));
    let mut whole = b"MVPACK\x00\x02 laid out in another way, with a hash at its end".to_vec();
    let name = blake3::hash(&whole);
    whole.extend(name.as_bytes());
    let path = dir
        .path()
        .join("packs")
        .join(format!("{}.pack", name.to_hex()));
    std::fs::write(&path, &whole).unwrap();
    let report = verify(dir.path());
    assert_eq!(report.problems, [""; 0]);
    let want = "was written by a newer modelv: it has format version 2, this program reads up to 1";
    assert!(report.newer[0].ends_with(want), "{:?}", report.newer);
    let open = Store::open(dir.path()).unwrap();
    let mut mender = Mender::begin(&open).unwrap();
    let e = mender.mend(Look::Files, 0).unwrap_err();
    assert!(matches!(e, Error::Newer { found: 2, .. }), "{e}");
    drop(mender);
    // The same version byte in a pack that is not what its name says is damage.
    whole[20] ^= 1;
    std::fs::write(&path, &whole).unwrap();
    let report = verify(dir.path());
    assert!(
        report.newer.is_empty() && report.problems.len() == 1,
        "{report:?}"
    );
}
