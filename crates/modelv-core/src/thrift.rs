//! Thrift's compact protocol, in which Parquet describes itself: values from the front of a slice.
//! `None`: malformed. Must never believe a count: every element takes at least a byte of what is there.
//!
//! How a Parquet file is cut for the store depends on what is read here: that must not change.

/// How deep values that are skipped may be nested.
const DEPTH_MAX: usize = 16;

// Types of the protocol.
const TRUE: u8 = 1;
const FALSE: u8 = 2;
const BYTE: u8 = 3;
/// An integer of 16 bits; those of 32 and 64 follow it.
pub const I16: u8 = 4;
/// An integer of 64 bits.
pub const I64: u8 = 6;
const DOUBLE: u8 = 7;
/// Bytes with their length.
pub const BINARY: u8 = 8;
/// A list of values of one type.
pub const LIST: u8 = 9;
const SET: u8 = 10;
const MAP: u8 = 11;
/// Fields by number.
pub const STRUCT: u8 = 12;
const UUID: u8 = 13;

/// What is left to read.
#[derive(Debug)]
pub struct Compact<'a>(pub &'a [u8]);

impl<'a> Compact<'a> {
    /// The next `len` bytes.
    pub fn take(&mut self, len: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(len).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    /// The next byte.
    pub fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|b| b[0])
    }

    /// A number of up to 64 bits, seven to a byte.
    pub fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// A signed number, in zigzag form.
    pub fn int(&mut self) -> Option<i64> {
        let raw = self.varint()?;
        Some((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
    }

    /// Bytes with their length before them.
    pub fn binary(&mut self) -> Option<&'a [u8]> {
        let len = self.varint()?;
        self.take(len)
    }

    /// The same as text, lossily.
    pub fn text(&mut self) -> Option<String> {
        let bytes = self.binary()?;
        Some(String::from_utf8_lossy(bytes).into_owned())
    }

    /// Hands every field of a struct to `each`, which reads or skips it.
    pub fn fields(&mut self, mut each: impl FnMut(&mut Self, i64, u8) -> Option<()>) -> Option<()> {
        let mut number = 0i64;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Some(());
            }
            number = match head >> 4 {
                0 => self.int()?,
                step => number.checked_add(i64::from(step))?,
            };
            each(self, number, head & 15)?;
        }
    }

    /// Hands every struct of a list to `each`, which reads it, with its place.
    pub fn structs(
        &mut self,
        kind: u8,
        mut each: impl FnMut(&mut Self, u64) -> Option<()>,
    ) -> Option<()> {
        let (of, count) = self.list()?;
        if kind != LIST || (of != STRUCT && count > 0) {
            return None;
        }
        (0..count).try_for_each(|place| each(self, place))
    }

    /// A yes or no, which stands in the type of its field.
    pub fn flag(kind: u8) -> Option<bool> {
        match kind {
            TRUE => Some(true),
            FALSE => Some(false),
            _ => None,
        }
    }

    /// Type and number of the elements of a list or set.
    pub fn list(&mut self) -> Option<(u8, u64)> {
        let head = self.byte()?;
        let count = match head >> 4 {
            15 => self.varint()?,
            short => u64::from(short),
        };
        Some((head & 15, count))
    }

    /// Skips a value.
    pub fn skip(&mut self, kind: u8, depth: usize) -> Option<()> {
        if depth > DEPTH_MAX {
            return None;
        }
        match kind {
            TRUE | FALSE => {}
            BYTE => drop(self.byte()?),
            I16..=I64 => drop(self.varint()?),
            DOUBLE => drop(self.take(8)?),
            BINARY => drop(self.binary()?),
            UUID => drop(self.take(16)?),
            LIST | SET => {
                let (kind, count) = self.list()?;
                (0..count).try_for_each(|_| self.skip_element(kind, depth))?;
            }
            MAP => {
                let count = self.varint()?;
                let kinds = if count == 0 { 0 } else { self.byte()? };
                (0..count).try_for_each(|_| {
                    self.skip_element(kinds >> 4, depth)?;
                    self.skip_element(kinds & 15, depth)
                })?;
            }
            STRUCT => self.fields(|s, _, kind| s.skip(kind, depth + 1))?,
            _ => return None,
        }
        Some(())
    }

    /// In lists, a yes or no takes a byte.
    fn skip_element(&mut self, kind: u8, depth: usize) -> Option<()> {
        match kind {
            TRUE | FALSE => self.byte().map(drop),
            other => self.skip(other, depth + 1),
        }
    }
}
