//! Text in UTF-16 with a byte order mark, as Windows writes it: compared and merged by line like any
//! other, and written as it was. Without a mark nobody can tell such text from bytes: it is binary.

use std::borrow::Cow;

use super::binary::Binary;
use super::{Change, Labels, Merged, Rules, text};

/// Lines of text, of which one version at least is UTF-16.
pub(super) struct Wide;

/// How the characters of a text are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Utf8,
    /// UTF-16, the low byte first.
    Low,
    /// UTF-16, the high byte first.
    High,
}

fn encoding(bytes: &[u8]) -> Encoding {
    match bytes {
        [0xff, 0xfe, ..] => Encoding::Low,
        [0xfe, 0xff, ..] => Encoding::High,
        _ => Encoding::Utf8,
    }
}

/// The characters of a text in UTF-8, without the mark of UTF-16; `None`: it is none.
fn decode(bytes: &[u8]) -> Option<Cow<'_, [u8]>> {
    let unit: fn([u8; 2]) -> u16 = match encoding(bytes) {
        Encoding::Utf8 => return text::is_text(bytes).then_some(Cow::Borrowed(bytes)),
        Encoding::Low => u16::from_le_bytes,
        Encoding::High => u16::from_be_bytes,
    };
    let (pairs, rest) = bytes[2..].as_chunks::<2>();
    let units = pairs.iter().map(|pair| unit(*pair));
    let found: Result<String, _> = char::decode_utf16(units).collect();
    let found = found
        .ok()
        .filter(|t| rest.is_empty() && !t.contains('\0'))?;
    Some(Cow::Owned(found.into_bytes()))
}

fn encode(utf8: &[u8], encoding: Encoding) -> Vec<u8> {
    let bytes: fn(u16) -> [u8; 2] = match encoding {
        Encoding::Utf8 => return utf8.to_vec(),
        Encoding::Low => u16::to_le_bytes,
        Encoding::High => u16::to_be_bytes,
    };
    let text = String::from_utf8_lossy(utf8);
    let units = std::iter::once(0xfeff).chain(text.encode_utf16());
    units.flat_map(bytes).collect()
}

/// Whether bytes are text in UTF-16.
pub(super) fn is_wide(bytes: &[u8]) -> bool {
    encoding(bytes) != Encoding::Utf8 && decode(bytes).is_some()
}

/// Text in UTF-16 as UTF-8; anything else as it is.
#[must_use]
pub fn as_utf8(bytes: &[u8]) -> Cow<'_, [u8]> {
    match encoding(bytes) {
        Encoding::Utf8 => Cow::Borrowed(bytes),
        _ => decode(bytes).unwrap_or(Cow::Borrowed(bytes)),
    }
}

/// Merges base, ours and theirs.
type Merge<'a> = &'a dyn Fn(&[u8], &[u8], &[u8]) -> Merged;

/// Merges the characters of three texts, and writes them as the side does that changed how.
pub(super) fn merged([base, ours, theirs]: [&[u8]; 3], merge: Merge<'_>) -> Option<Merged> {
    let [b, o, t] = [base, ours, theirs].map(encoding);
    let to = match () {
        () if base.is_empty() || o != b => o,
        () => t,
    };
    let done = merge(&decode(base)?, &decode(ours)?, &decode(theirs)?);
    Some(Merged {
        bytes: encode(&done.bytes, to),
        ..done
    })
}

impl Rules for Wide {
    fn merge(
        &self,
        base: Option<&[u8]>,
        ours: &[u8],
        theirs: &[u8],
        labels: &Labels<'_>,
    ) -> Merged {
        let lines = |b: &[u8], o: &[u8], t: &[u8]| text::merge(b, o, t, labels);
        let done = merged([base.unwrap_or(b""), ours, theirs], &lines);
        done.unwrap_or_else(|| Binary.merge(base, ours, theirs, labels))
    }

    fn diff(&self, old: Option<&[u8]>, new: Option<&[u8]>) -> Vec<Change> {
        match (decode(old.unwrap_or(b"")), decode(new.unwrap_or(b""))) {
            (Some(old), Some(new)) => text::diff(Some(&old), Some(&new)),
            _ => Binary.diff(old, new),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Driver, Item, examine, examine_all, has_markers, merge_lines_as_ours};
    use super::super::{diff, merge};
    use super::*;

    const LABELS: Labels<'_> = Labels {
        ours: "ours",
        base: "base",
        theirs: "theirs",
    };

    fn low(text: &str) -> Vec<u8> {
        encode(text.as_bytes(), Encoding::Low)
    }

    #[test]
    fn lines_merge_and_stay_as_they_are_written() {
        let (base, ours, theirs) = ("ä\r\nb\r\nc\r\n", "Ä\r\nb\r\nc\r\n", "ä\r\nb\r\n😀\r\n");
        for encoding in [Encoding::Low, Encoding::High] {
            let [b, o, t] = [base, ours, theirs].map(|t| encode(t.as_bytes(), encoding));
            let (driver, notes) = examine_all(b"a.txt", &[&b, &o, &t]);
            assert_eq!((driver, notes), (Driver::Wide, vec![]));
            let want = encode("Ä\r\nb\r\n😀\r\n".as_bytes(), encoding);
            for (o, t) in [(&o, &t), (&t, &o)] {
                let done = merge(driver, Some(&b), o, t, &LABELS);
                assert_eq!((&done.bytes, done.conflicts), (&want, vec![]));
            }
            let lines = Change::Lines {
                added: 1,
                removed: 1,
            };
            assert_eq!(diff(driver, Some(&b), Some(&o)), [lines]);
        }
    }

    #[test]
    fn what_both_changed_stands_between_markers_in_the_same_encoding() {
        let [b, o, t] = ["a\n", "b\n", "c\n"].map(low);
        let done = merge(Driver::Wide, Some(&b), &o, &t, &LABELS);
        assert_eq!(done.conflicts[0].item, Item::Lines { hunks: 1 });
        assert!(is_wide(&done.bytes) && has_markers(&done.bytes));
        assert!(as_utf8(&done.bytes).starts_with(b"<<<<<<< ours\nb\n"));
        let [b, o, t] = ["a\n1\n2\n", "b\n1\n2\n", "c\n1\n3\n"].map(low);
        assert_eq!(merge_lines_as_ours(&b, &o, &t).unwrap(), low("b\n1\n3\n"));
    }

    #[test]
    fn one_side_may_write_it_otherwise() {
        let (b, o, t) = (low("a\nb\nc\n"), b"a\nb\nC\n".to_vec(), low("A\nb\nc\n"));
        let (driver, _) = examine_all(b"a.txt", &[&b, &o, &t]);
        assert_eq!(driver, Driver::Wide);
        for (x, y) in [(&o, &t), (&t, &o)] {
            assert_eq!(merge(driver, Some(&b), x, y, &LABELS).bytes, b"A\nb\nC\n");
        }
    }

    #[test]
    fn what_does_not_decode_is_binary() {
        for bytes in [
            b"\xff\xfea".as_slice(),
            b"\xff\xfe\0\xd8",
            b"\xff\xfe\0\0",
            b"a\0b\0",
            b"\xfe\xff\xdc\0",
        ] {
            assert_eq!(examine(b"a.txt", bytes).driver, Driver::Binary, "{bytes:?}");
            assert!(!is_wide(bytes) && *as_utf8(bytes) == *bytes);
        }
        let done = merge(Driver::Wide, Some(b"\xff\xfe"), b"\xff", b"\xfe", &LABELS);
        assert_eq!(done.conflicts[0].item, Item::File);
    }
}
