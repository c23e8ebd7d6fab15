//! Owners of files in rpm's database: a table of package headers in an SQLite file (rpm 4.16 and later). Only
//! what that takes is read, every number is checked against the bytes that are there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::owners::{Owner, Wanted};

/// Largest database that is read, in bytes.
const BYTES_MAX: u64 = 512 << 20;
/// How deep a tree of pages may be; SQLite's own are never deeper.
const DEPTH_MAX: usize = 20;
/// Largest header of a package, in bytes: rpm's own limit.
const HEADER_BYTES_MAX: usize = 256 << 20;

/// Finds owners among the packages of a database. One that is none, or damaged, knows of nothing.
pub(super) fn owners(path: &Path, wanted: &Wanted, out: &mut BTreeMap<PathBuf, Owner>) {
    let is_small = std::fs::metadata(path).is_ok_and(|m| m.len() <= BYTES_MAX);
    if wanted.is_empty() || !is_small {
        return;
    }
    let Some(database) = std::fs::read(path).ok().and_then(Database::new) else {
        return;
    };
    let Some(root) = database.root_of(b"Packages") else {
        return;
    };
    database.rows(root, 0, &mut |record| {
        let header = column(record, 1).map(|(_, bytes)| bytes);
        if let Some(header) = header.and_then(Header::new) {
            header.claim(wanted, out);
        }
        None::<()>
    });
}

struct Database {
    bytes: Vec<u8>,
    page: usize,
    /// Bytes of a page that SQLite uses.
    usable: usize,
}

/// A number in big-endian order.
fn number(bytes: &[u8], at: usize, len: usize) -> Option<usize> {
    let part = bytes.get(at..at.checked_add(len)?)?;
    Some(part.iter().fold(0, |sum, b| sum << 8 | usize::from(*b)))
}

/// SQLite's number of one to nine bytes, and how many it has.
fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0;
    for (i, byte) in bytes.iter().take(9).enumerate() {
        if i == 8 {
            return Some((value << 8 | u64::from(*byte), 9));
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((value, i + 1));
        }
    }
    None
}

/// A column of a record: its type, and its bytes.
fn column(record: &[u8], wanted: usize) -> Option<(u64, &[u8])> {
    let (header, mut at) = varint(record)?;
    let header = usize::try_from(header).ok()?;
    let mut body = header;
    for i in 0.. {
        if at >= header {
            return None;
        }
        let (kind, len) = varint(record.get(at..)?)?;
        at += len;
        let size = match kind {
            0 | 8 | 9 => 0,
            1..=4 => kind,
            5 => 6,
            6 | 7 => 8,
            _ => kind.checked_sub(12)? / 2,
        };
        let end = body.checked_add(usize::try_from(size).ok()?)?;
        if i == wanted {
            return Some((kind, record.get(body..end)?));
        }
        body = end;
    }
    None
}

impl Database {
    fn new(bytes: Vec<u8>) -> Option<Self> {
        if !bytes.starts_with(b"SQLite format 3\0") {
            return None;
        }
        let page = match number(&bytes, 16, 2)? {
            1 => 65536,
            n => n,
        };
        let usable = page.checked_sub(number(&bytes, 20, 1)?)?;
        let is_sound = page.is_power_of_two() && page >= 512 && usable >= 480;
        is_sound.then_some(Self {
            bytes,
            page,
            usable,
        })
    }

    fn page(&self, number: usize) -> Option<&[u8]> {
        let start = number.checked_sub(1)?.checked_mul(self.page)?;
        self.bytes.get(start..start.checked_add(self.page)?)
    }

    /// The first page of a table.
    fn root_of(&self, table: &[u8]) -> Option<usize> {
        self.rows(1, 0, &mut |record| {
            let is_it = column(record, 0)?.1 == b"table" && column(record, 1)?.1 == table;
            let (_, root) = column(record, 3).filter(|_| is_it)?;
            number(root, 0, root.len())
        })
    }

    /// Shows every row below a page, until `see` has an answer.
    fn rows<T>(
        &self,
        at: usize,
        depth: usize,
        see: &mut dyn FnMut(&[u8]) -> Option<T>,
    ) -> Option<T> {
        let page = self.page(at).filter(|_| depth < DEPTH_MAX)?;
        // The first page begins with the header of the file.
        let head = if at == 1 { 100 } else { 0 };
        let (kind, count) = (number(page, head, 1)?, number(page, head + 3, 2)?);
        let cells = head + if kind == 5 { 12 } else { 8 };
        for i in 0..count {
            let cell = number(page, cells + 2 * i, 2)?;
            let found = match kind {
                5 => self.rows(number(page, cell, 4)?, depth + 1, see),
                13 => self.payload(page, cell).and_then(|record| see(&record)),
                _ => return None,
            };
            if found.is_some() {
                return found;
            }
        }
        match kind {
            5 => self.rows(number(page, head + 8, 4)?, depth + 1, see),
            _ => None,
        }
    }

    /// The record of a cell, with the pages that it flows over to.
    fn payload(&self, page: &[u8], cell: usize) -> Option<Vec<u8>> {
        let (size, a) = varint(page.get(cell..)?)?;
        let (_, b) = varint(page.get(cell + a..)?)?;
        let size = usize::try_from(size)
            .ok()
            .filter(|s| *s <= HEADER_BYTES_MAX)?;
        let start = cell + a + b;
        let most = self.usable - 35;
        let local = if size <= most {
            size
        } else {
            let least = (self.usable - 12) * 32 / 255 - 23;
            let fits = least + (size - least) % (self.usable - 4);
            if fits <= most { fits } else { least }
        };
        let mut out = page.get(start..start + local)?.to_vec();
        let mut next = match local < size {
            true => number(page, start + local, 4)?,
            false => 0,
        };
        while out.len() < size {
            let page = self.page(next)?;
            let part = (size - out.len()).min(self.usable - 4);
            out.extend_from_slice(page.get(4..4 + part)?);
            next = number(page, 0, 4)?;
        }
        Some(out)
    }
}

/// Tags of a header.
const NAME: usize = 1000;
const VERSION: usize = 1001;
const RELEASE: usize = 1002;
const EPOCH: usize = 1003;
const DIR_INDEXES: usize = 1116;
const BASE_NAMES: usize = 1117;
const DIR_NAMES: usize = 1118;

/// The header of a package: an index of tags, and their data.
struct Header<'a> {
    index: &'a [u8],
    data: &'a [u8],
}

impl<'a> Header<'a> {
    fn new(bytes: &'a [u8]) -> Option<Self> {
        let (count, size) = (number(bytes, 0, 4)?, number(bytes, 4, 4)?);
        let index = bytes.get(8..8 + count.checked_mul(16)?)?;
        let start = 8 + index.len();
        let data = bytes.get(start..start.checked_add(size)?)?;
        Some(Self { index, data })
    }

    /// Data of a tag from its beginning, and how many values it has.
    fn find(&self, tag: usize) -> Option<(&'a [u8], usize)> {
        let row = self
            .index
            .chunks_exact(16)
            .find(|r| number(r, 0, 4) == Some(tag))?;
        Some((self.data.get(number(row, 8, 4)?..)?, number(row, 12, 4)?))
    }

    fn texts(&self, tag: usize) -> impl Iterator<Item = &'a [u8]> {
        let (data, count) = self.find(tag).unwrap_or((&[], 0));
        data.split(|b| *b == 0).take(count)
    }

    fn text(&self, tag: usize) -> Option<String> {
        let text = self.texts(tag).next()?;
        Some(String::from_utf8_lossy(text).into_owned())
    }

    fn claim(&self, wanted: &Wanted, out: &mut BTreeMap<PathBuf, Owner>) {
        let folders: Vec<&[u8]> = self.texts(DIR_NAMES).collect();
        let (places, _) = self.find(DIR_INDEXES).unwrap_or((&[], 0));
        for (i, name) in self.texts(BASE_NAMES).enumerate() {
            // Libraries alone are asked for.
            if !name.windows(3).any(|w| w == b".so") {
                continue;
            }
            let folder = number(places, 4 * i, 4).and_then(|f| folders.get(f));
            let full = [folder.copied().unwrap_or_default(), name].concat();
            let path = wanted.get(&String::from_utf8_lossy(&full));
            if let (Some(path), Some(owner)) = (path, self.owner()) {
                out.insert(path.clone(), owner);
            }
        }
    }

    fn owner(&self) -> Option<Owner> {
        let epoch = self.find(EPOCH).and_then(|(data, _)| number(data, 0, 4));
        let epoch = epoch.map(|e| format!("{e}:")).unwrap_or_default();
        let (version, release) = (self.text(VERSION)?, self.text(RELEASE)?);
        Some(Owner {
            name: self.text(NAME)?,
            version: format!("{epoch}{version}-{release}"),
            manager: "rpm",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Makes a database as rpm does, with SQLite itself: packages of many files, so that headers flow over
    /// to other pages and the tree has more than one level.
    const MAKE: &str = r#"
import sqlite3, struct, sys
def header(name, epoch, files):
    folders = sorted({f.rsplit("/", 1)[0] + "/" for f in files})
    texts = lambda all: b"".join(t.encode() + b"\0" for t in all)
    rows = [(1000, 6, 1, texts([name])), (1001, 6, 1, texts(["1.2"])), (1002, 6, 1, texts(["3.el9"]))]
    if epoch is not None:
        rows.append((1003, 4, 1, struct.pack(">I", epoch)))
    rows += [(1116, 4, len(files), b"".join(struct.pack(">I", folders.index(f.rsplit("/", 1)[0] + "/")) for f in files)),
             (1117, 8, len(files), texts(f.rsplit("/", 1)[1] for f in files)), (1118, 8, len(folders), texts(folders))]
    index, data = b"", b""
    for tag, kind, count, bytes in rows:
        index += struct.pack(">IIII", tag, kind, len(data), count)
        data += bytes
    return struct.pack(">II", len(rows), len(data)) + index + data
db = sqlite3.connect(sys.argv[1])
db.execute("CREATE TABLE 'Other' (x)")
db.execute("CREATE TABLE IF NOT EXISTS 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)")
for n in range(300):
    files = ["/usr/share/doc/%d/%d" % (n, i) for i in range(40 * (n % 9))]
    files += ["/usr/lib64/lib%d.so.1" % n, "/usr/lib64/lib%d.so.1.0" % n]
    db.execute("INSERT INTO Packages (blob) VALUES (?)", (header("p%d" % n, n if n % 2 else None, files),))
db.commit()
"#;

    fn database() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rpmdb.sqlite");
        let made = Command::new("python3")
            .args(["-c", MAKE])
            .arg(&path)
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        (dir, path)
    }

    fn found(path: &Path, names: &[&str]) -> Vec<String> {
        let names: Vec<PathBuf> = names.iter().map(PathBuf::from).collect();
        let mut out = BTreeMap::new();
        owners(path, &Wanted::new(&names), &mut out);
        out.values()
            .map(|o| format!("{} {} {}", o.manager, o.name, o.version))
            .collect()
    }

    #[test]
    fn owners_are_found_wherever_they_stand() {
        let (_dir, path) = database();
        let found = found(
            &path,
            &[
                "/lib64/lib0.so.1",
                "/usr/lib64/lib17.so.1.0",
                "/usr/lib64/lib299.so.1",
                "/x/lib1.so.1",
            ],
        );
        assert_eq!(
            found,
            [
                "rpm p0 1.2-3.el9",
                "rpm p17 17:1.2-3.el9",
                "rpm p299 299:1.2-3.el9"
            ]
        );
    }

    #[test]
    fn damage_knows_of_nothing_and_is_no_panic() {
        let (_dir, path) = database();
        let whole = std::fs::read(&path).unwrap();
        let mut state = 7_u64;
        for _ in 0..300 {
            let mut bytes = whole.clone();
            for _ in 0..4 {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                // Where the pages of the trees are, more often than not.
                let at = usize::try_from(state >> 33).unwrap() % bytes.len();
                let at = if state & 1 << 20 == 0 {
                    at / 4096 * 4096 + at % 16
                } else {
                    at
                };
                bytes[at] = state.to_le_bytes()[2];
            }
            std::fs::write(&path, &bytes).unwrap();
            let _ = found(&path, &["/usr/lib64/lib17.so.1"]);
        }
        for cut in [0, 15, 90, 4095, 4096, 5000, whole.len() - 1] {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let _ = found(&path, &["/usr/lib64/lib17.so.1"]);
        }
    }
}
