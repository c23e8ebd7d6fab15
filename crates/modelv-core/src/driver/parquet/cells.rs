//! Rows of Parquet as lines of cells with tabs between them, without a loss: what is read from a cell is
//! what was written into it, bit by bit. Only what is not nested has cells.
//!
//! Numbers are decimal, text is itself but for what is escaped with a backslash, everything else is
//! `\x` and its bytes. `\N`, and nothing at all, is no value; `\E` is an empty text.

use std::io::Write as _;

use super::super::Refusal;
use super::footer::{Footer, Leaf, Logical, Node, Physical, Repetition, beyond, invalid};

pub(super) const SEPARATOR: char = '\t';
const NULL: &str = "\\N";
const EMPTY: &str = "\\E";

/// Refuses what has no cells: columns within columns, and names that a line can't hold.
pub(super) fn check(footer: &Footer) -> Result<(), Refusal> {
    for node in &footer.columns {
        let name = &node.name;
        if !node.inside.is_empty() || node.repetition == Repetition::Repeated {
            return Err(beyond(format!("its column `{name}` is nested")));
        }
        let is_plain = !name.is_empty() && name.trim() == name && !name.starts_with('\u{feff}');
        if !is_plain || name.chars().any(char::is_control) {
            return Err(beyond("a column of it has a name that no line can hold"));
        }
    }
    Ok(())
}

/// The names of the columns as a line.
pub(super) fn head(columns: &[Node]) -> String {
    let names: Vec<&str> = columns.iter().map(|n| n.name.as_str()).collect();
    names.join("\t") + "\n"
}

/// Writes a value, or that there is none.
pub(super) fn write(out: &mut Vec<u8>, leaf: &Leaf, raw: Option<&[u8]>) {
    let Some(raw) = raw else {
        out.extend(NULL.as_bytes());
        return;
    };
    // Writing to memory does not fail.
    let _ = match (leaf.physical, raw) {
        (Physical::Bool, [n]) => write!(out, "{}", *n != 0),
        (Physical::Int32, &[a, b, c, d]) => {
            let n = i32::from_le_bytes([a, b, c, d]);
            match leaf.logical {
                Logical::Unsigned => write!(out, "{}", n.cast_unsigned()),
                _ => write!(out, "{n}"),
            }
        }
        (Physical::Int64, raw) if raw.len() == 8 => {
            let n = long(raw);
            match leaf.logical {
                Logical::Unsigned => write!(out, "{}", n.cast_unsigned()),
                _ => write!(out, "{n}"),
            }
        }
        (Physical::Float, &[a, b, c, d]) => match f32::from_le_bytes([a, b, c, d]) {
            n if n.is_nan() => hex(out, raw),
            n => write!(out, "{n:?}"),
        },
        (Physical::Double, raw) if raw.len() == 8 => {
            match f64::from_bits(long(raw).cast_unsigned()) {
                n if n.is_nan() => hex(out, raw),
                n => write!(out, "{n:?}"),
            }
        }
        (Physical::Bytes, b"") => out.write_all(EMPTY.as_bytes()),
        (Physical::Bytes, raw) => match std::str::from_utf8(raw) {
            Ok(text) => {
                escape(out, text);
                Ok(())
            }
            Err(_) => hex(out, raw),
        },
        _ => hex(out, raw),
    };
}

fn long(raw: &[u8]) -> i64 {
    let bits = raw.iter().rev().fold(0u64, |n, b| n << 8 | u64::from(*b));
    bits.cast_signed()
}

fn hex(out: &mut Vec<u8>, raw: &[u8]) -> std::io::Result<()> {
    out.extend(b"\\x");
    raw.iter().try_for_each(|b| write!(out, "{b:02x}"))
}

fn escape(out: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'\\' => out.extend(b"\\\\"),
            b'\t' => out.extend(b"\\t"),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            0 => out.extend(b"\\0"),
            other => out.push(other),
        }
    }
}

/// Reads the value of a cell; `None`: there is none.
pub(super) fn read(leaf: &Leaf, cell: &str) -> Result<Option<Vec<u8>>, Refusal> {
    if cell.is_empty() || cell == NULL {
        return Ok(None);
    }
    let wrong = || invalid(format!("`{cell}` is no value of its column"));
    let width = match leaf.physical {
        Physical::Bool => Some(1),
        Physical::Int32 | Physical::Float => Some(4),
        Physical::Int64 | Physical::Double => Some(8),
        Physical::Int96 => Some(12),
        Physical::Fixed(width) => Some(width),
        Physical::Bytes => None,
    };
    let value = match cell.strip_prefix("\\x") {
        Some(digits) => unhex(digits),
        None => plain(leaf, cell),
    };
    let value = value.filter(|v| width.is_none_or(|w| v.len() == w));
    value.ok_or_else(wrong).map(Some)
}

fn plain(leaf: &Leaf, cell: &str) -> Option<Vec<u8>> {
    let is_unsigned = leaf.logical == Logical::Unsigned;
    Some(match leaf.physical {
        Physical::Bool => vec![u8::from(cell.parse::<bool>().ok()?)],
        Physical::Int32 if is_unsigned => cell.parse::<u32>().ok()?.to_le_bytes().to_vec(),
        Physical::Int32 => cell.parse::<i32>().ok()?.to_le_bytes().to_vec(),
        Physical::Int64 if is_unsigned => cell.parse::<u64>().ok()?.to_le_bytes().to_vec(),
        Physical::Int64 => cell.parse::<i64>().ok()?.to_le_bytes().to_vec(),
        Physical::Float => cell.parse::<f32>().ok()?.to_le_bytes().to_vec(),
        Physical::Double => cell.parse::<f64>().ok()?.to_le_bytes().to_vec(),
        Physical::Bytes if cell == EMPTY => Vec::new(),
        Physical::Bytes => unescape(cell)?,
        Physical::Int96 | Physical::Fixed(_) => return None,
    })
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let digits = digits.as_bytes();
    let digit = |b: u8| char::from(b).to_digit(16);
    if digits.len() % 2 == 1 {
        return None;
    }
    let byte = |pair: &[u8]| u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok();
    digits.chunks_exact(2).map(byte).collect()
}

fn unescape(cell: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(cell.len());
    let mut bytes = cell.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'\\' => match bytes.next()? {
                b'\\' => b'\\',
                b't' => b'\t',
                b'n' => b'\n',
                b'r' => b'\r',
                b'0' => 0,
                _ => return None,
            },
            other => other,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn leaf(physical: Physical, logical: Logical) -> Leaf {
        Leaf {
            physical,
            logical,
            max_def: 1,
            max_rep: 0,
        }
    }

    fn cell(leaf: &Leaf, raw: Option<&[u8]>) -> String {
        let mut out = Vec::new();
        write(&mut out, leaf, raw);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn cells_are_what_people_would_write() {
        use Logical::{Date, Plain, Text, Unsigned};
        for (physical, logical, raw, want) in [
            (Physical::Bool, Plain, vec![1], "true"),
            (Physical::Int32, Unsigned, vec![0xff; 4], "4294967295"),
            (Physical::Int32, Date, vec![0xff; 4], "-1"),
            (Physical::Int64, Plain, vec![0xff; 8], "-1"),
            (Physical::Float, Plain, 0.1f32.to_le_bytes().to_vec(), "0.1"),
            (
                Physical::Double,
                Plain,
                (-0.0f64).to_le_bytes().to_vec(),
                "-0.0",
            ),
            (Physical::Bytes, Text, b"a\t\\N\n".to_vec(), "a\\t\\\\N\\n"),
            (Physical::Bytes, Text, vec![], "\\E"),
            (Physical::Bytes, Text, b"\\E".to_vec(), "\\\\E"),
            (Physical::Bytes, Plain, vec![0xff, 0], "\\xff00"),
            (Physical::Fixed(2), Plain, vec![1, 2], "\\x0102"),
        ] {
            let leaf = leaf(physical, logical);
            assert_eq!(cell(&leaf, Some(&raw)), want);
            assert_eq!(read(&leaf, want).unwrap(), Some(raw));
        }
        let text = leaf(Physical::Bytes, Text);
        assert_eq!(
            (read(&text, "\\N").unwrap(), read(&text, "").unwrap()),
            (None, None)
        );
        assert_eq!(cell(&text, None), "\\N");
        for (physical, bad) in [
            (Physical::Bool, "yes"),
            (Physical::Int32, "4294967295"),
            (Physical::Int64, "1.0"),
            (Physical::Double, "x"),
            (Physical::Bytes, "\\q"),
            (Physical::Bytes, "\\xf"),
            (Physical::Fixed(2), "\\x00"),
            (Physical::Int96, "12"),
        ] {
            assert!(read(&leaf(physical, Plain), bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost_in_a_cell(raw: Vec<u8>, bits: u64, text in "\\PC*|[\\\\tnNEx\t\n\r\0]*") {
            let eight = bits.to_le_bytes();
            for (physical, raw) in [
                (Physical::Bytes, raw.as_slice()),
                (Physical::Bytes, text.as_bytes()),
                (Physical::Int64, &eight),
                (Physical::Double, &eight),
                (Physical::Float, &eight[..4]),
                (Physical::Int32, &eight[..4]),
                (Physical::Fixed(8), &eight),
            ] {
                for logical in [Logical::Plain, Logical::Unsigned] {
                    let leaf = leaf(physical, logical);
                    let cell = cell(&leaf, Some(raw));
                    prop_assert!(!cell.contains(['\t', '\n', '\r', '\0']) && !cell.is_empty());
                    let back = read(&leaf, &cell).unwrap();
                    prop_assert_eq!(back.as_deref(), Some(raw));
                }
            }
        }
    }
}
