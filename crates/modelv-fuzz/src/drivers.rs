//! Drivers: whatever three versions of a file hold, comparing and merging them ends, a clean merge
//! is a file of the same kind, and it is clean from both sides.

use std::io::Cursor;

use modelv_core::driver::{
    self, Driver, Item, Labels, Source, TensorFile, config_values, has_markers, is_secret, unified,
    without_secrets,
};
use modelv_core::requirement::{Requirement, Version, witness};
use modelv_core::scan;

pub(crate) const LABELS: Labels<'_> = Labels {
    ours: "ours",
    base: "base",
    theirs: "theirs",
};

/// Stands between versions: never a byte of UTF-8.
const SEPARATOR: u8 = 0xfe;

pub(crate) fn versions(data: &[u8]) -> [&[u8]; 3] {
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
        if clean && !matches!(driver, Driver::Text | Driver::Wide | Driver::Binary) {
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

pub(crate) fn lock(data: &[u8]) {
    check("uv.lock", data);
    check("poetry.lock", data);
}

pub(crate) fn conda(data: &[u8]) {
    check("environment.yml", data);
}

/// Each line is a demand on a package; two of them are tried together.
pub(crate) fn requirement(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let demands: Vec<Requirement> = text
        .lines()
        .filter_map(Requirement::parse)
        .take(8)
        .collect();
    for a in &demands {
        if let Some(version) = witness(&[&a.specifiers]) {
            assert!(a.specifiers.contains(&version), "no version that will do");
        }
        for b in &demands {
            assert_eq!(a.agrees_with(b), b.agrees_with(a), "the order decides");
            if let Some(version) = witness(&[&a.specifiers, &b.specifiers]) {
                let all = [a, b].map(|d| d.specifiers.contains(&version));
                assert_eq!(all, [true, true], "no version that will do for both");
            }
        }
        if let Some(marker) = &a.marker {
            assert!(!marker.meets(marker) || marker.can_hold());
        }
    }
    for word in text.split_whitespace() {
        let (Some(a), Some(b)) = (Version::parse(word), Version::parse(word)) else {
            continue;
        };
        assert!(a == b && a.partial_cmp(&b) == Some(std::cmp::Ordering::Equal));
    }
}

/// What a file of any kind would do when it is loaded; the first byte chooses its name.
pub(crate) fn scanned(data: &[u8]) {
    let names = ["a.pt", "a.pkl", "a.zip", "a.keras", "a.onnx", "a.gguf", "a"];
    let (first, rest) = data.split_first().unwrap_or((&0, &[]));
    let name = names[usize::from(*first) % names.len()];
    let look = || scan::scan(name, &mut Cursor::new(rest));
    if let (Ok(a), Ok(b)) = (look(), look()) {
        assert_eq!(a.verdict(), b.verdict());
    }
}

/// A picture, and its halves against each other; the first byte chooses the name.
pub(crate) fn image(data: &[u8]) {
    let names = ["a.png", "a.jpg", "a.gif", "a.webp", "a.bmp"];
    let (first, rest) = data.split_first().unwrap_or((&0, &[]));
    let name = names[usize::from(*first) % names.len()].as_bytes();
    let (old, new) = rest.split_at(rest.len() / 2);
    for (old, new) in [
        (None, Some(rest)),
        (Some(rest), Some(new)),
        (Some(old), Some(new)),
    ] {
        let versions: Vec<&[u8]> = [old, new].into_iter().flatten().collect();
        let (driver, _) = driver::examine_all(name, &versions);
        let _ = driver::diff(driver, old, new);
        // The rules of pictures take what is none, too.
        let _ = driver::diff(Driver::Image, old, new);
    }
    let merged = driver::merge(Driver::Image, Some(old), rest, new, &LABELS);
    assert!(rest == new || rest == old || old == new || !merged.conflicts.is_empty());
    let _ = driver::image_kind(rest);
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
    halves(TensorFile::Npy, data);
}

pub(crate) fn gguf(data: &[u8]) {
    halves(TensorFile::Gguf, data);
}

pub(crate) fn onnx(data: &[u8]) {
    halves(TensorFile::Onnx, data);
}

pub(crate) fn torch(data: &[u8]) {
    halves(TensorFile::Torch, data);
}

/// The input is a file, or two of one length.
fn halves(format: TensorFile, data: &[u8]) {
    let (old, new) = data.split_at(data.len() / 2);
    tensors(format, old, new);
    tensors(format, data, data);
}

pub(crate) fn npz(data: &[u8]) {
    halves(TensorFile::Npz, data);
}
