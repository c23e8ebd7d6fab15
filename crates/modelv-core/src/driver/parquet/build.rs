//! Structs of Thrift's compact protocol under construction, in which Parquet describes itself.

use crate::thrift::{BINARY, I64, LIST, STRUCT};

/// An integer of 32 bits.
const I32: u8 = I64 - 1;

/// A struct, field by field, in the order of their numbers.
#[derive(Debug, Default)]
pub(super) struct Struct(Vec<u8>, i64);

fn varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// How signed numbers are written.
fn zigzag(n: i64) -> u64 {
    (n << 1 ^ n >> 63).cast_unsigned()
}

impl Struct {
    fn head(mut self, number: i64, kind: u8) -> Self {
        let step = u8::try_from(number - self.1).unwrap_or(0);
        self.0.push(step << 4 | kind);
        self.1 = number;
        self
    }

    /// A number of 32 bits.
    pub(super) fn int(self, number: i64, n: i32) -> Self {
        let mut out = self.head(number, I32);
        varint(&mut out.0, zigzag(n.into()));
        out
    }

    /// A number of 64 bits.
    pub(super) fn long(self, number: i64, n: i64) -> Self {
        let mut out = self.head(number, I64);
        varint(&mut out.0, zigzag(n));
        out
    }

    pub(super) fn text(self, number: i64, text: &str) -> Self {
        let mut out = self.head(number, BINARY);
        varint(&mut out.0, text.len() as u64);
        out.0.extend(text.as_bytes());
        out
    }

    pub(super) fn inside(self, number: i64, inside: Self) -> Self {
        let mut out = self.head(number, STRUCT);
        out.0.extend(inside.end());
        out
    }

    fn list(self, number: i64, kind: u8, count: usize) -> Self {
        let mut out = self.head(number, LIST);
        out.0.push(0xf0 | kind);
        varint(&mut out.0, count as u64);
        out
    }

    /// A list of structs that are whole.
    pub(super) fn structs(self, number: i64, all: &[Vec<u8>]) -> Self {
        let mut out = self.list(number, STRUCT, all.len());
        all.iter().for_each(|one| out.0.extend(one));
        out
    }

    pub(super) fn ints(self, number: i64, all: &[i32]) -> Self {
        let mut out = self.list(number, I32, all.len());
        all.iter()
            .for_each(|n| varint(&mut out.0, zigzag((*n).into())));
        out
    }

    pub(super) fn texts(self, number: i64, all: &[&str]) -> Self {
        let mut out = self.list(number, BINARY, all.len());
        for text in all {
            varint(&mut out.0, text.len() as u64);
            out.0.extend(text.as_bytes());
        }
        out
    }

    /// A list as another file has it.
    pub(super) fn raw_list(self, number: i64, raw: &[u8]) -> Self {
        let mut out = self.head(number, LIST);
        out.0.extend(raw);
        out
    }

    pub(super) fn end(mut self) -> Vec<u8> {
        self.0.push(0);
        self.0
    }
}
