//! Reading headers field by field, within a border and a budget.

use std::io::{BufReader, Read, SeekFrom};

use super::super::Refusal;
use super::{HEADER_BYTES_MAX, Source, TensorError};

/// A header is read through this.
pub(super) struct Fields<'a> {
    input: BufReader<&'a mut dyn Source>,
    pub(super) at: u64,
    end: u64,
    /// Bytes that may still be read, other than by skipping.
    budget: u64,
}

pub(super) fn bad(text: &str) -> TensorError {
    Refusal::Invalid(text.to_owned()).into()
}

impl<'a> Fields<'a> {
    pub(super) fn new(
        source: &'a mut dyn Source,
        start: u64,
        end: u64,
    ) -> Result<Self, TensorError> {
        source.seek(SeekFrom::Start(start))?;
        Ok(Self {
            input: BufReader::with_capacity(64 << 10, source),
            at: start,
            end,
            budget: 4 * HEADER_BYTES_MAX,
        })
    }

    fn step(&mut self, len: u64) -> Result<(), TensorError> {
        let at = self.at.checked_add(len).filter(|at| *at <= self.end);
        self.at = at.ok_or_else(|| bad("it ends in the middle of its header"))?;
        Ok(())
    }

    fn spend(&mut self, len: u64) -> Result<(), TensorError> {
        self.step(len)?;
        let left = self.budget.checked_sub(len);
        self.budget = left.ok_or_else(|| bad("its header is too large"))?;
        Ok(())
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], TensorError> {
        self.spend(N as u64)?;
        let mut out = [0; N];
        self.input.read_exact(&mut out)?;
        Ok(out)
    }

    pub(super) fn u32(&mut self) -> Result<u32, TensorError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, TensorError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn varint(&mut self) -> Result<u64, TensorError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(bad("a number in its header is too long"))
    }

    pub(super) fn skip(&mut self, len: u64) -> Result<(), TensorError> {
        self.step(len)?;
        let by = i64::try_from(len).map_err(|_| bad("a length is too large"))?;
        Ok(self.input.seek_relative(by)?)
    }

    pub(super) fn text(&mut self, len: u64) -> Result<String, TensorError> {
        self.spend(len)?;
        let mut out = vec![0; usize::try_from(len).unwrap_or(0)];
        self.input.read_exact(&mut out)?;
        Ok(String::from_utf8_lossy(&out).into_owned())
    }
}
