//! Tables: rows and columns counted.

use super::{Change, text};

/// Differences of two tables; with no separator, of files with one JSON value a line.
pub(super) fn diff(old: &[u8], new: &[u8], separator: Option<char>) -> Vec<Change> {
    let mut out = Vec::new();
    let header = u64::from(separator.is_some());
    let rows = |b: &[u8]| count_rows(b, separator).saturating_sub(header);
    if let Some(separator) = separator {
        let (a, b) = (columns(old, separator), columns(new, separator));
        let gone = a.iter().filter(|c| !b.contains(c)).map(|c| (c, false));
        let come = b.iter().filter(|c| !a.contains(c)).map(|c| (c, true));
        // Without a header in common, the first lines are rows and not names.
        if a.is_empty() || b.is_empty() || a.iter().any(|c| b.contains(c)) {
            let named = |(name, added): (&String, bool)| Change::Column {
                name: name.clone(),
                added,
            };
            if !a.is_empty() && !b.is_empty() {
                out.extend(gone.chain(come).map(named));
            }
        }
    }
    out.push(Change::Rows {
        old: rows(old),
        new: rows(new),
    });
    let (added, removed) = text::count(old, new);
    out.push(Change::Lines { added, removed });
    out
}

/// Lines outside of quotes.
fn count_rows(bytes: &[u8], separator: Option<char>) -> u64 {
    let mut quoted = false;
    let mut rows = 0;
    let mut inside = false;
    for byte in bytes {
        match byte {
            // In TSV, quotes are letters like all others.
            b'"' if separator == Some(',') => quoted = !quoted,
            b'\n' if !quoted => {
                rows += u64::from(inside);
                inside = false;
                continue;
            }
            b'\r' => continue,
            _ => {}
        }
        inside = true;
    }
    rows + u64::from(inside)
}

fn columns(bytes: &[u8], separator: char) -> Vec<String> {
    let line = bytes.split(|b| *b == b'\n').next().unwrap_or(b"");
    let line = String::from_utf8_lossy(line);
    let line = line.trim_end_matches('\r');
    if line.is_empty() {
        return Vec::new();
    }
    line.split(separator)
        .map(|c| c.trim().trim_matches('"').to_owned())
        .collect()
}
