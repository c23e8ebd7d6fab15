//! Drivers: whatever three versions of a file hold, comparing and merging them ends, a clean merge
//! is a file of the same kind, and it is clean from both sides.

use std::io::Cursor;

use modelv_core::driver::{
    self, Driver, Item, Labels, Source, TensorFile, config_values, has_markers, is_secret, unified,
    without_secrets,
};

const LABELS: Labels<'_> = Labels {
    ours: "ours",
    base: "base",
    theirs: "theirs",
};

/// Stands between versions: never a byte of UTF-8.
const SEPARATOR: u8 = 0xfe;

fn versions(data: &[u8]) -> [&[u8]; 3] {
    let mut parts = data.splitn(3, |b| *b == SEPARATOR);
    let base = parts.next().unwrap_or_default();
    let ours = parts.next().unwrap_or(base);
    [base, ours, parts.next().unwrap_or(ours)]
}

fn check(path: &str, data: &[u8]) {
    let all = versions(data);
    let [base, ours, theirs] = all;
    let name = path.as_bytes();
    let (driver, _) = driver::examine_all(name, &all);
    for (old, new) in [
        (Some(base), Some(ours)),
        (None, Some(theirs)),
        (Some(ours), None),
    ] {
        let _ = driver::diff(driver, old, new);
    }
    let _ = unified(ours, theirs, 3);
    for base in [Some(base), None] {
        let merged = driver::merge(driver, base, ours, theirs, &LABELS);
        let swapped = driver::merge(driver, base, theirs, ours, &LABELS);
        let clean = merged.conflicts.is_empty();
        assert_eq!(clean, swapped.conflicts.is_empty(), "the side decides");
        // As text or bytes two files may well make a better one.
        if clean && !matches!(driver, Driver::Text | Driver::Binary) {
            let found = driver::choose(name, &merged.bytes);
            assert_eq!(found, driver, "a clean merge is no such file");
        }
        for conflict in &merged.conflicts {
            let value = conflict.theirs.as_deref();
            let _ = driver::settle(driver, &merged.bytes, &conflict.item, value);
        }
        let _ = has_markers(&merged.bytes);
    }
    if let Driver::Config(format) = driver {
        let values = config_values(format, ours);
        for key in values.iter().flat_map(|v| v.keys()) {
            let _ = is_secret(name, key, "value");
            let item = Item::Key(key.clone());
            let _ = driver::settle(driver, ours, &item, Some("1"));
            let _ = driver::settle(driver, ours, &item, None);
        }
    }
    let _ = without_secrets(name, ours);
}

pub(crate) fn text(data: &[u8]) {
    check("a.py", data);
}

pub(crate) fn toml(data: &[u8]) {
    check("a.toml", data);
}

pub(crate) fn json(data: &[u8]) {
    check("a.json", data);
}

pub(crate) fn yaml(data: &[u8]) {
    check("a.yaml", data);
}

pub(crate) fn ini(data: &[u8]) {
    check("a.ini", data);
}

pub(crate) fn dotenv(data: &[u8]) {
    check(".env", data);
}

pub(crate) fn notebook(data: &[u8]) {
    check("a.ipynb", data);
}

pub(crate) fn csv(data: &[u8]) {
    check("a.csv", data);
    check("a.tsv", data);
}

pub(crate) fn jsonl(data: &[u8]) {
    check("a.jsonl", data);
}

pub(crate) fn requirements(data: &[u8]) {
    check("requirements.txt", data);
}

/// Two files of tensors against each other.
fn tensors(format: TensorFile, old: &[u8], new: &[u8]) {
    let (mut a, mut b) = (Cursor::new(old), Cursor::new(new));
    let _ = format.diff(
        Some(&mut a as &mut dyn Source),
        Some(&mut b as &mut dyn Source),
    );
    let mut b = Cursor::new(new);
    let _ = format.diff(None, Some(&mut b as &mut dyn Source));
}

/// The input is two headers; their tensors' bytes are the same ramp.
pub(crate) fn safetensors(data: &[u8]) {
    let ramp: Vec<u8> = (0..=255).collect();
    let [old, new, _] = versions(data);
    let file = |json: &[u8]| [&(json.len() as u64).to_le_bytes(), json, &ramp].concat();
    tensors(TensorFile::Safetensors, &file(old), &file(new));
    tensors(TensorFile::Safetensors, old, new);
}

pub(crate) fn npy(data: &[u8]) {
    let (old, new) = data.split_at(data.len() / 2);
    tensors(TensorFile::Npy, old, new);
    tensors(TensorFile::Npy, data, data);
}

pub(crate) fn npz(data: &[u8]) {
    let (old, new) = data.split_at(data.len() / 2);
    tensors(TensorFile::Npz, old, new);
    tensors(TensorFile::Npz, data, data);
}
