//! Which shared libraries a program or library asks for.

use object::elf;
use object::read::elf::{Dyn, ElfFile64, FileHeader, ProgramHeader};

/// What an ELF file needs at run time.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Needs {
    /// Names of libraries.
    pub(crate) libraries: Vec<String>,
    /// Absolute path of the loader, for a program.
    pub(crate) loader: Option<String>,
}

/// Reads a file's needs; `None` when it is no 64-bit ELF file.
pub(crate) fn needs(bytes: &[u8]) -> Option<Needs> {
    if !bytes.starts_with(b"\x7fELF") {
        return None;
    }
    let file: ElfFile64<'_> = ElfFile64::parse(bytes).ok()?;
    let endian = file.endian();
    let mut out = Needs::default();
    let headers = file.elf_header().program_headers(endian, bytes).ok()?;
    for header in headers {
        if let Ok(Some(path)) = header.interpreter(endian, bytes) {
            out.loader = Some(String::from_utf8_lossy(path).into_owned());
        }
    }
    let sections = file.elf_section_table();
    if let Ok(Some((entries, link))) = sections.dynamic(endian, bytes) {
        let strings = sections.strings(endian, bytes, link).ok()?;
        for entry in entries {
            if entry.tag(endian) == elf::DT_NEEDED
                && let Ok(name) = entry.string(endian, strings)
            {
                out.libraries
                    .push(String::from_utf8_lossy(name).into_owned());
            }
        }
    }
    Some(out)
}
