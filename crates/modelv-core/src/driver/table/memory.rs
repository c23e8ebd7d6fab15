//! Rows and results kept in memory: for files that are there already, and for tests.

use std::collections::HashMap;
use std::io::{self, Cursor};

use super::{Room, Scratch, Spill};

/// Room in memory. It grows with what is put into it.
#[derive(Debug, Default)]
pub struct InMemory(HashMap<(usize, usize), Vec<u8>>);

impl Spill for InMemory {
    fn put(&mut self, side: usize, part: usize, bytes: &[u8]) -> io::Result<()> {
        self.0.entry((side, part)).or_default().extend(bytes);
        Ok(())
    }

    fn take(&mut self, side: usize, part: usize) -> io::Result<Vec<u8>> {
        Ok(self.0.remove(&(side, part)).unwrap_or_default())
    }
}

impl Room for InMemory {
    fn file(&mut self) -> io::Result<Box<dyn Scratch>> {
        Ok(Box::new(Cursor::new(Vec::new())))
    }
}
