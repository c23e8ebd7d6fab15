//! The vectors of `spec/vectors` for blobs, packs and their indexes.

#![allow(clippy::unwrap_used, reason = "a test that can't go on panics")]

#[path = "../../modelv-core/tests/vectors/read.rs"]
mod read;

use modelv_core::canon;
use modelv_core::id::BlobId;
use modelv_store::cut::{Cutter, LARGE, SMALL, sizes_for};
use modelv_store::layout::{self, Within};
use modelv_store::{Cuts, Store};
use serde_json::{Value, json};

use read::{Vector, check, content, load};

fn cuts(vector: &Vector) -> Result<Value, String> {
    let bytes = vector.bytes();
    let cuts: Cuts = canon::decode(&bytes).map_err(|e| e.to_string())?;
    if canon::encode(&cuts).map_err(|e| e.to_string())? != bytes {
        return Err("encoded to other bytes".into());
    }
    Ok(json!({}))
}

fn borders(vector: &Vector) -> Value {
    let bytes = vector.bytes();
    let sizes = match vector.json["sizes"].as_str() {
        Some("SMALL") => SMALL,
        _ => LARGE,
    };
    let mut cutter = Cutter::new(bytes.as_slice(), sizes);
    let chunks = std::iter::from_fn(|| cutter.next_chunk(Vec::new()).unwrap());
    json!({"lengths": chunks.map(|c| c.bytes.len()).collect::<Vec<_>>()})
}

#[test]
fn blobs() {
    check(&load("blob"), |vector| match vector.kind() {
        "cuts" => cuts(vector),
        "borders" => Ok(borders(vector)),
        // The table is private; every border depends on it.
        "gear" => Ok(json!({})),
        other => panic!("unknown kind {other}"),
    });
}

#[test]
fn layouts() {
    check(&load("layout"), |vector| {
        let bytes = vector.bytes();
        let size = bytes.len() as u64;
        let parts = layout::read(&mut std::io::Cursor::new(&bytes), size).unwrap();
        let mut cutter = Cutter::with_layout(bytes.as_slice(), sizes_for(size), &parts);
        let chunks = std::iter::from_fn(|| cutter.next_chunk(Vec::new()).unwrap());
        let lengths: Vec<usize> = chunks.map(|c| c.bytes.len()).collect();
        let word = |within| match within {
            Within::Blocks => "blocks",
            Within::Content => "content",
        };
        let parts = parts
            .iter()
            .map(|p| json!([p.start, p.len, word(p.within)]));
        Ok(json!({"parts": parts.collect::<Vec<_>>(), "lengths": lengths}))
    });
}

/// Verifies the packs of a vector. What is wrong with an index is a problem of its own.
fn verify(vector: &Vector) -> Result<Value, (Vec<String>, Vec<String>)> {
    let dir = tempfile::tempdir().unwrap();
    let whole = |e: modelv_store::Error| (vec![e.to_string()], vec![]);
    let store = Store::init(dir.path()).map_err(whole)?;
    let files = vector.json["files"].as_object().unwrap();
    for (name, parts) in files {
        std::fs::write(dir.path().join("packs").join(name), content(parts)).unwrap();
    }
    if vector.breaks().is_none() {
        // A miss is believed after all indexes were checked, or rebuilt where they are missing.
        store.refresh().map_err(whole)?;
        store.has_blob(&BlobId([0xee; 32])).map_err(whole)?;
    }
    let report = store.verify(&mut |_, _| {}).map_err(whole)?;
    let (mut packs, indexes) = (report.problems, report.remade);
    // What a newer program may write breaks the rules of these pages all the same.
    packs.extend(report.newer);
    if packs.is_empty() && indexes.is_empty() {
        return Ok(json!({"entries": report.entries}));
    }
    Err((packs, indexes))
}

#[test]
fn packs() {
    check(&load("pack"), |vector| match verify(vector) {
        // A good index hides nothing, and a bad one is not what these are about.
        Err((packs, _)) if packs.is_empty() && vector.breaks().is_some() => Ok(json!({})),
        Err(problems) => Err(format!("{problems:?}")),
        Ok(found) => Ok(found),
    });
}

#[test]
fn pack_indexes() {
    check(&load("pack-index"), |vector| {
        verify(vector).map_err(|problems| format!("{problems:?}"))
    });
}

#[test]
fn records_of_collections() {
    check(&load("gc"), |vector| {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("gc"), vector.bytes()).unwrap();
        let state = modelv_store::gc::State::read(dir.path()).map_err(|e| e.to_string())?;
        Ok(json!({"epoch": state.epoch, "horizon": state.horizon}))
    });
}

/// PIDX-2: whatever is wrong with an index that its hash betrays, the pack can be read.
#[test]
fn a_damaged_index_hides_nothing() {
    let vectors = load("pack-index");
    let good = vectors.iter().find(|v| v.name == "pack-index/one-chunk");
    let files = good.unwrap().json["files"].as_object().unwrap();
    let (pack, _) = files.iter().find(|(k, _)| k.ends_with(".pack")).unwrap();
    let whole = content(&files[&pack.replace(".pack", ".idx")]);
    let abc = BlobId::of(b"abc");
    let dir = tempfile::tempdir().unwrap();
    Store::init(dir.path()).unwrap();
    let packs = dir.path().join("packs");
    std::fs::write(packs.join(pack), content(&files[pack])).unwrap();
    for at in 0..whole.len() {
        let mut idx = whole.clone();
        idx[at] ^= 1;
        std::fs::write(packs.join(pack).with_extension("idx"), idx).unwrap();
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(store.read_blob(&abc, 3).unwrap(), b"abc", "byte {at}");
    }
}
