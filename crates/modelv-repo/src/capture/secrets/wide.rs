//! Text in UTF-16, as some editors and shells write it, read as UTF-8. What is no such text comes
//! out with replacement characters; nothing is refused.

use std::io::{self, Read};

/// Bytes that are read together.
const PIECE: usize = 16 << 10;

/// A stream of UTF-16 behind its mark.
pub(super) struct Wide<R> {
    inner: R,
    little: bool,
    /// A byte, or the first half of a pair, that waits for what follows.
    odd: Option<u8>,
    high: Option<u16>,
    ready: Vec<u8>,
    at: usize,
    is_end: bool,
}

/// Whether a text that begins so is UTF-16, and if so whether the low byte of a pair comes first.
pub(super) fn is_little_endian(head: &[u8]) -> Option<bool> {
    match head {
        [0xff, 0xfe] => Some(true),
        [0xfe, 0xff] => Some(false),
        _ => None,
    }
}

impl<R: Read> Wide<R> {
    pub(super) fn new(inner: R, little: bool) -> Self {
        Self {
            inner,
            little,
            odd: None,
            high: None,
            ready: Vec::new(),
            at: 0,
            is_end: false,
        }
    }

    /// Reads until there is something to give, or nothing is left.
    fn fill(&mut self) -> io::Result<()> {
        self.ready.clear();
        self.at = 0;
        while self.ready.is_empty() && !self.is_end {
            let mut bytes: Vec<u8> = self.odd.take().into_iter().collect();
            let before = bytes.len();
            (&mut self.inner)
                .take(PIECE as u64)
                .read_to_end(&mut bytes)?;
            self.is_end = bytes.len() == before;
            let (pairs, rest) = bytes.as_chunks::<2>();
            self.odd = rest.first().copied();
            let unit = |b: &[u8; 2]| match self.little {
                true => u16::from_le_bytes(*b),
                false => u16::from_le_bytes(*b).swap_bytes(),
            };
            let mut units: Vec<u16> = self.high.take().into_iter().collect();
            units.extend(pairs.iter().map(unit));
            if !self.is_end {
                self.high = units.pop_if(|u| (0xd800..0xdc00).contains(u));
            }
            let text: String = char::decode_utf16(units)
                .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
                .collect();
            self.ready = text.into_bytes();
        }
        Ok(())
    }
}

impl<R: Read> Read for Wide<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.at == self.ready.len() {
            self.fill()?;
        }
        let rest = &self.ready[self.at..];
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        self.at += n;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte at a time.
    struct Slow<'b>(&'b [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let n = buf.len().min(1);
            self.0.read(&mut buf[..n])
        }
    }

    #[test]
    fn both_orders_read_as_they_were_written_however_they_come() {
        let text = "T = 'abc'\n\u{e9} \u{1f600}".repeat(9_000);
        for little in [true, false] {
            let turn = |u: u16| {
                if little {
                    u.to_le_bytes()
                } else {
                    u.swap_bytes().to_le_bytes()
                }
            };
            let bytes: Vec<u8> = text.encode_utf16().flat_map(turn).collect();
            let mut out = String::new();
            Wide::new(&bytes[..], little)
                .read_to_string(&mut out)
                .unwrap();
            assert!(out == text);
            out.clear();
            Wide::new(Slow(&bytes[..999]), little)
                .read_to_string(&mut out)
                .unwrap();
            assert!(text.starts_with(out.trim_end_matches('\u{fffd}')));
        }
        let mut out = String::new();
        Wide::new(&[0x00, 0xd8, 0x41, 0x00, 0x00][..], true)
            .read_to_string(&mut out)
            .unwrap();
        assert_eq!(out, "\u{fffd}A");
    }
}
