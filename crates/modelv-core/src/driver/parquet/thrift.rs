//! Thrift's compact protocol: values from the front of a slice. `None`: malformed. Counts are never
//! believed: every element takes at least a byte of what is there.

/// How deep values that are skipped may be nested.
const DEPTH_MAX: usize = 16;

// Types of the protocol.
const TRUE: u8 = 1;
const FALSE: u8 = 2;
const BYTE: u8 = 3;
const I16: u8 = 4;
const I64: u8 = 6;
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const SET: u8 = 10;
const MAP: u8 = 11;
const STRUCT: u8 = 12;
const UUID: u8 = 13;

/// What is left to read.
pub(super) struct Compact<'a>(pub(super) &'a [u8]);

impl<'a> Compact<'a> {
    pub(super) fn take(&mut self, len: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(len).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|b| b[0])
    }

    pub(super) fn varint(&mut self) -> Option<u64> {
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

    pub(super) fn int(&mut self) -> Option<i64> {
        let raw = self.varint()?;
        Some((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
    }

    pub(super) fn text(&mut self) -> Option<String> {
        let len = self.varint()?;
        let bytes = self.take(len)?;
        Some(String::from_utf8_lossy(bytes).into_owned())
    }

    /// Hands every field of a struct to `each`, which reads or skips it.
    pub(super) fn fields(
        &mut self,
        mut each: impl FnMut(&mut Self, i64, u8) -> Option<()>,
    ) -> Option<()> {
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

    /// Hands every struct of a list to `each`, which reads it.
    pub(super) fn structs(
        &mut self,
        kind: u8,
        mut each: impl FnMut(&mut Self) -> Option<()>,
    ) -> Option<()> {
        let (of, count) = self.list()?;
        if kind != LIST || (of != STRUCT && count > 0) {
            return None;
        }
        (0..count).try_for_each(|_| each(self))
    }

    /// A yes or no, which stands in the type of its field.
    pub(super) fn flag(kind: u8) -> Option<bool> {
        match kind {
            TRUE => Some(true),
            FALSE => Some(false),
            _ => None,
        }
    }

    fn list(&mut self) -> Option<(u8, u64)> {
        let head = self.byte()?;
        let count = match head >> 4 {
            15 => self.varint()?,
            short => u64::from(short),
        };
        Some((head & 15, count))
    }

    /// Skips a value.
    pub(super) fn skip(&mut self, kind: u8, depth: usize) -> Option<()> {
        if depth > DEPTH_MAX {
            return None;
        }
        match kind {
            TRUE | FALSE => {}
            BYTE => drop(self.byte()?),
            I16..=I64 => drop(self.varint()?),
            DOUBLE => drop(self.take(8)?),
            BINARY => drop(self.text()?),
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
