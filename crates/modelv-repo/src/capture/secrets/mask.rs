//! Masking: what a run records of itself must not hold what it was told in confidence.

use std::collections::BTreeMap;
use std::path::Path;

use modelv_core::value::Value;
use modelv_store::fs;

use super::rules::{self, TextKind};
use super::scan::{Hit, scan};
use crate::error::{Error, Result};

/// Characters of a long value that stay readable, so that people know which one it is.
const SHOWN: usize = 4;
const LONG: usize = 16;
/// No shorter word of a command line is a credential by its shape.
const SHORTEST: usize = 12;

/// A value for people: its first characters if it is long, and stars.
pub(super) fn shown(value: &[u8]) -> String {
    let kept = if value.len() >= LONG { SHOWN } else { 0 };
    format!("{}***", String::from_utf8_lossy(&value[..kept]))
}

/// Where the stars begin and how many there are: as long as the value, so that nothing moves.
fn stars(hit: &Hit) -> (u64, usize) {
    let kept = if hit.value.len() >= LONG { SHOWN } else { 0 };
    (hit.start + kept as u64, hit.value.len() - kept)
}

/// A text with stars for every credential in it.
#[must_use]
pub fn mask_text(text: &str) -> String {
    let hits = scan(&mut text.as_bytes(), TextKind::Config).unwrap_or_default();
    if hits.is_empty() {
        return text.to_owned();
    }
    let mut bytes = text.as_bytes().to_vec();
    for (start, len) in hits.iter().map(stars) {
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        if let Some(part) = bytes.get_mut(start..start.saturating_add(len)) {
            part.fill(b'*');
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Texts among named values that are credentials, by their shape or by their name, become `***`.
pub fn mask_values(values: &mut BTreeMap<String, Value>) {
    for (key, value) in values {
        mask_value(key, value);
    }
}

fn mask_value(key: &str, value: &mut Value) {
    match value {
        Value::Str(text) => {
            if let Some(masked) = mask_named(key, text) {
                *text = masked;
            }
        }
        Value::List(items) => items.iter_mut().for_each(|item| mask_value(key, item)),
        Value::Map(map) => mask_values(map),
        _ => {}
    }
}

/// Whether a value is one that is told in confidence: by its name, whatever it looks like, or by its
/// shape.
#[must_use]
pub fn is_secret(name: &str, value: &str) -> bool {
    !value.is_empty() && (rules::names_a_secret(name) || mask_named(name, value).is_some())
}

/// A text with the name it is given, masked if it is a credential.
fn mask_named(key: &str, text: &str) -> Option<String> {
    let name = key.rsplit([':', '.']).next().unwrap_or(key);
    if !text.is_empty() && rules::names_a_password(name) {
        return Some(shown(text.as_bytes()));
    }
    // As an assignment, so that a telling name counts.
    let line = format!("{name} = \"{}\"", text.replace('\n', " "));
    let named = scan(&mut line.as_bytes(), TextKind::Code).unwrap_or_default();
    if named.iter().any(|h| h.value == text.as_bytes()) {
        return Some(shown(text.as_bytes()));
    }
    let masked = mask_text(text);
    (masked != text).then_some(masked)
}

/// The words of a command line: `--token VALUE`, `--token=VALUE`, `TOKEN=VALUE`, and whatever has the
/// shape of a credential wherever it stands.
pub fn mask_words(words: &mut [String]) {
    let mut flag: Option<String> = None;
    for word in words {
        let before = flag.take();
        let named = match word.split_once('=') {
            Some((name, value)) => mask_named(name.trim_start_matches('-'), value)
                .map(|masked| format!("{name}={masked}")),
            None => before.and_then(|name| mask_named(&name, word)),
        };
        if let Some(masked) = named {
            *word = masked;
        } else if word.starts_with("--") && !word.contains('=') {
            flag = Some(word.trim_start_matches('-').to_owned());
        } else if word.len() >= SHORTEST {
            *word = mask_text(word);
        }
    }
}

/// Puts stars over every credential in a log of ours; gives how many there were.
///
/// # Errors
/// The file can't be read or written.
pub fn mask_file(path: &Path) -> Result<usize> {
    let mut file = fs::open_rw(path).map_err(Error::io("open", path))?;
    let hits = scan(&mut file, TextKind::Log).map_err(Error::io("read", path))?;
    for (start, len) in hits.iter().map(stars) {
        fs::write_all_at(&file, &vec![b'*'; len], start).map_err(Error::io("write", path))?;
    }
    Ok(hits.len())
}
