//! What an ELF file asks for and what it offers: shared libraries, where it looks for them, and the
//! versions of their symbols.

use object::ReadRef;
use object::elf;
use object::read::elf::{Dyn, ElfFile64, FileHeader, ProgramHeader};

/// How an ELF file begins.
pub(crate) const MAGIC: &[u8] = b"\x7fELF";

/// What a program or library says of itself.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Needs {
    /// Names of libraries it asks for (`DT_NEEDED`).
    pub(crate) libraries: Vec<String>,
    /// Folders it looks in first (`DT_RPATH`, `DT_RUNPATH`).
    pub(crate) run_path: Vec<String>,
    /// Versions of symbols it asks for, with the library that has to have them.
    pub(crate) versions: Vec<(String, String)>,
    /// The name under which it is asked for itself.
    pub(crate) name: Option<String>,
    /// Versions of symbols it has.
    pub(crate) offers: Vec<String>,
    /// Absolute path of the loader, for a program.
    pub(crate) loader: Option<String>,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Reads a file's needs; `None` when it is no 64-bit ELF file.
pub(crate) fn needs<'d>(bytes: impl ReadRef<'d>) -> Option<Needs> {
    if bytes.read_bytes_at(0, MAGIC.len() as u64).ok()? != MAGIC {
        return None;
    }
    let file: ElfFile64<'_, object::Endianness, _> = ElfFile64::parse(bytes).ok()?;
    let endian = file.endian();
    let mut out = Needs::default();
    let headers = file.elf_header().program_headers(endian, bytes).ok()?;
    for header in headers {
        if let Ok(Some(path)) = header.interpreter(endian, bytes) {
            out.loader = Some(text(path));
        }
    }
    let sections = file.elf_section_table();
    if let Ok(Some((entries, link))) = sections.dynamic(endian, bytes) {
        let strings = sections.strings(endian, bytes, link).ok()?;
        for entry in entries {
            let Ok(value) = entry.string(endian, strings) else {
                continue;
            };
            match entry.tag(endian) {
                elf::DT_NEEDED => out.libraries.push(text(value)),
                elf::DT_SONAME => out.name = Some(text(value)),
                elf::DT_RPATH | elf::DT_RUNPATH => {
                    let folders = text(value);
                    let folders = folders.split(':').filter(|f| !f.is_empty());
                    out.run_path.extend(folders.map(str::to_owned));
                }
                _ => {}
            }
        }
    }
    read_versions(&file, bytes, &mut out);
    Some(out)
}

/// The tables of versions. What is damaged in them is left out: a loader would refuse the file itself.
fn read_versions<'d, R: ReadRef<'d>>(
    file: &ElfFile64<'d, object::Endianness, R>,
    bytes: R,
    out: &mut Needs,
) {
    let endian = file.endian();
    let sections = file.elf_section_table();
    if let Ok(Some((mut wanted, link))) = sections.gnu_verneed(endian, bytes)
        && let Ok(strings) = sections.strings(endian, bytes, link)
    {
        while let Ok(Some((need, mut parts))) = wanted.next() {
            let Ok(library) = need.file(endian, strings) else {
                continue;
            };
            while let Ok(Some(part)) = parts.next() {
                if let Ok(version) = part.name(endian, strings) {
                    out.versions.push((text(library), text(version)));
                }
            }
        }
    }
    if let Ok(Some((mut offered, link))) = sections.gnu_verdef(endian, bytes)
        && let Ok(strings) = sections.strings(endian, bytes, link)
    {
        while let Ok(Some((_, mut names))) = offered.next() {
            // The first is its own name, those after it what it follows.
            if let Ok(Some(name)) = names.next()
                && let Ok(version) = name.name(endian, strings)
            {
                out.offers.push(text(version));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_and_its_c_library_are_read() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let needs = needs(own.as_slice()).unwrap();
        assert!(needs.libraries.iter().any(|l| l == "libc.so.6"));
        assert!(needs.loader.unwrap().contains("ld-linux"));
        let of_libc = |(library, version): &(String, String)| {
            library == "libc.so.6" && version.starts_with("GLIBC_2.")
        };
        assert!(needs.versions.iter().any(of_libc));
        let arch = std::env::consts::ARCH;
        let libc = std::fs::read(format!("/lib/{arch}-linux-gnu/libc.so.6")).unwrap();
        let libc = super::needs(libc.as_slice()).unwrap();
        assert_eq!(libc.name.as_deref(), Some("libc.so.6"));
        for (library, version) in &needs.versions {
            let is_there = library != "libc.so.6" || libc.offers.contains(version);
            assert!(is_there, "{version}");
        }
        assert_eq!(super::needs(&b"\x7fELF and nothing more"[..]), None);
    }
}
