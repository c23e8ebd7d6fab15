//! What an ELF file asks the dynamic linker for. Reads a few small pieces of the file, each with a limit;
//! must never load or execute it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Most program headers, entries of the dynamic section and names that are read.
const HEADERS_MAX: u64 = 256;
const ENTRIES_MAX: u64 = 4096;
const NAMES_MAX: usize = 512;
/// Longest name of a library that is read, in bytes.
const NAME_BYTES_MAX: usize = 512;

const PT_LOAD: u64 = 1;
const PT_DYNAMIC: u64 = 2;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;

/// For which machines a file is: its class (32 or 64 bits), its byte order, and the number of the processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Machine {
    is_64: bool,
    is_big: bool,
    number: u64,
}

/// What a file says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dynamic {
    pub(super) machine: Machine,
    /// The libraries that it asks for (`DT_NEEDED`), in its order.
    pub(super) needed: Vec<String>,
}

/// Reads a file; `None`: it is no ELF file, or damaged.
pub(super) fn read(path: &Path) -> Option<Dynamic> {
    let file = File::open(path).ok()?;
    let mut ident = [0; 20];
    file.read_exact_at(&mut ident, 0).ok()?;
    if !ident.starts_with(b"\x7fELF") || !matches!((ident[4], ident[5]), (1 | 2, 1 | 2)) {
        return None;
    }
    let mut machine = Machine {
        is_64: ident[4] == 2,
        is_big: ident[5] == 2,
        number: 0,
    };
    machine.number = machine.number(&ident[18..20]);
    let reader = Reader { file, machine };
    let needed = reader.needed()?;
    Some(Dynamic { machine, needed })
}

impl Machine {
    /// A number of this byte order.
    fn number(self, bytes: &[u8]) -> u64 {
        let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        match self.is_big {
            true => bytes.iter().fold(0, add),
            false => bytes.iter().rev().fold(0, add),
        }
    }
}

struct Reader {
    file: File,
    machine: Machine,
}

/// A part of the file that lies somewhere else once it is loaded.
struct Segment {
    kind: u64,
    offset: u64,
    address: u64,
    size: u64,
}

impl Reader {
    fn bytes(&self, at: u64, len: u64) -> Option<Vec<u8>> {
        let mut out = vec![0; usize::try_from(len).ok()?];
        self.file.read_exact_at(&mut out, at).ok()?;
        Some(out)
    }

    /// The number of `len` bytes at an offset of a record; by the class of the file, one of two.
    fn field(&self, record: &[u8], wide: (usize, usize), narrow: (usize, usize)) -> Option<u64> {
        let (at, len) = if self.machine.is_64 { wide } else { narrow };
        Some(self.machine.number(record.get(at..at + len)?))
    }

    fn segments(&self) -> Option<Vec<Segment>> {
        let head = self.bytes(0, if self.machine.is_64 { 64 } else { 52 })?;
        let start = self.field(&head, (32, 8), (28, 4))?;
        let size = self.field(&head, (54, 2), (42, 2))?;
        let count = self.field(&head, (56, 2), (44, 2))?;
        let least = if self.machine.is_64 { 56 } else { 32 };
        if count > HEADERS_MAX || size < least || size > 1024 {
            return None;
        }
        let bytes = self.bytes(start, size * count)?;
        let row = |row: &[u8]| {
            Some(Segment {
                kind: self.field(row, (0, 4), (0, 4))?,
                offset: self.field(row, (8, 8), (4, 4))?,
                address: self.field(row, (16, 8), (8, 4))?,
                size: self.field(row, (32, 8), (16, 4))?,
            })
        };
        bytes.chunks(usize::try_from(size).ok()?).map(row).collect()
    }

    fn needed(&self) -> Option<Vec<String>> {
        let segments = self.segments()?;
        let Some(dynamic) = segments.iter().find(|s| s.kind == PT_DYNAMIC) else {
            return Some(Vec::new());
        };
        let entry = if self.machine.is_64 { 16 } else { 8 };
        if dynamic.size > ENTRIES_MAX * entry {
            return None;
        }
        let bytes = self.bytes(dynamic.offset, dynamic.size)?;
        let (mut names, mut table) = (Vec::new(), None);
        for row in bytes.chunks_exact(usize::try_from(entry).ok()?) {
            let value = self.field(row, (8, 8), (4, 4))?;
            match self.field(row, (0, 8), (0, 4))? {
                0 => break,
                DT_NEEDED if names.len() < NAMES_MAX => names.push(value),
                DT_STRTAB => table = Some(value),
                _ => {}
            }
        }
        if names.is_empty() {
            return Some(Vec::new());
        }
        let table = table?;
        let holds = |s: &&Segment| {
            s.kind == PT_LOAD && table.checked_sub(s.address).is_some_and(|d| d < s.size)
        };
        let holder = segments.iter().find(holds)?;
        let start = (table - holder.address).checked_add(holder.offset)?;
        let at = |name: &u64| self.text(start.checked_add(*name)?);
        names.iter().map(at).collect()
    }

    /// A text that a zero ends.
    fn text(&self, at: u64) -> Option<String> {
        let mut buffer = [0; NAME_BYTES_MAX];
        let mut len = 0;
        // The last names of a file may end where it does.
        while len < buffer.len() && !buffer[..len].contains(&0) {
            match self.file.read_at(
                &mut buffer[len..],
                at.checked_add(u64::try_from(len).ok()?)?,
            ) {
                Ok(0) | Err(_) => break,
                Ok(n) => len += n,
            }
        }
        let end = buffer[..len].iter().position(|b| *b == 0)?;
        let text = std::str::from_utf8(&buffer[..end]).ok()?;
        (!text.is_empty()).then(|| text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of 64 bits that asks for two libraries, by the layout of the System V ABI.
    fn file() -> Vec<u8> {
        let word = |n: u64| n.to_le_bytes();
        let mut out = b"\x7fELF\x02\x01\x01".to_vec();
        out.resize(16, 0);
        out.extend([3, 0, 62, 0, 1, 0, 0, 0]);
        out.extend([word(0), word(64), word(0)].concat());
        out.extend([0, 0, 0, 0, 64, 0, 56, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
        let segment = |kind: u8, offset: u64, address: u64, size: u64| {
            let head = [kind, 0, 0, 0, 4, 0, 0, 0];
            let rest = [
                word(offset),
                word(address),
                word(address),
                word(size),
                word(size),
                word(8),
            ];
            [head.to_vec(), rest.concat()].concat()
        };
        out.extend(segment(1, 176, 0x1000, 104));
        out.extend(segment(2, 176, 0x1000, 64));
        for (tag, value) in [(1, 1), (1, 11), (5, 0x1040), (0, 0)] {
            out.extend([word(tag), word(value)].concat());
        }
        out.extend(b"\0libm.so.6\0libgomp.so.1\0");
        out.resize(280, 0);
        out
    }

    fn read_bytes(bytes: &[u8]) -> Option<Dynamic> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.so");
        std::fs::write(&path, bytes).unwrap();
        read(&path)
    }

    #[test]
    fn what_a_library_asks_for_is_read() {
        let found = read_bytes(&file()).unwrap();
        assert_eq!(found.needed, ["libm.so.6", "libgomp.so.1"]);
        let want = Machine {
            is_64: true,
            is_big: false,
            number: 62,
        };
        assert_eq!(found.machine, want);
    }

    #[test]
    fn damage_is_no_library_and_no_panic() {
        let whole = file();
        for cut in 0..whole.len() {
            let _ = read_bytes(&whole[..cut]);
        }
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                let _ = read_bytes(&bytes);
            }
        }
        assert_eq!(read_bytes(b"#!/bin/sh\n"), None);
        // More program headers than any file has, and a dynamic section that is none.
        let mut many = whole.clone();
        many[56..58].copy_from_slice(&[0xff, 0xff]);
        assert_eq!(read_bytes(&many), None);
        let mut large = whole;
        large[152..160].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(read_bytes(&large), None);
    }

    #[test]
    fn the_test_program_itself_asks_for_the_c_library() {
        let found = read(&std::env::current_exe().unwrap()).unwrap();
        let is_libc = |n: &String| n.starts_with("libc.");
        assert!(found.needed.iter().any(is_libc), "{found:?}");
    }
}
