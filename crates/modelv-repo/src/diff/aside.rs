//! Rows of large tables, put aside while all sides are read.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use modelv_core::driver::{Room, Scratch, Spill};

/// Rows put aside in an unnamed file of the system's temporary folder, which ends with the process.
#[derive(Default)]
pub(crate) struct Aside {
    file: Option<File>,
    end: u64,
    /// Where the pieces of each part stand.
    pieces: HashMap<(usize, usize), Vec<(u64, usize)>>,
}

impl Spill for Aside {
    fn put(&mut self, side: usize, part: usize, bytes: &[u8]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(tempfile::tempfile()?),
        };
        file.seek(SeekFrom::Start(self.end))?;
        file.write_all(bytes)?;
        let pieces = self.pieces.entry((side, part)).or_default();
        pieces.push((self.end, bytes.len()));
        self.end += bytes.len() as u64;
        Ok(())
    }

    fn take(&mut self, side: usize, part: usize) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        let pieces = self.pieces.remove(&(side, part)).unwrap_or_default();
        if let Some(file) = &mut self.file {
            for (at, length) in pieces {
                file.seek(SeekFrom::Start(at))?;
                Read::by_ref(file)
                    .take(length as u64)
                    .read_to_end(&mut out)?;
            }
        }
        Ok(out)
    }
}

impl Room for Aside {
    fn file(&mut self) -> io::Result<Box<dyn Scratch>> {
        Ok(Box::new(tempfile::tempfile()?))
    }
}
