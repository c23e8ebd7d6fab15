//! Packs: append-only files of entries, with a table of contents at the end. See `spec/pack.md`.
//!
//! ```text
//! header 8 | entry* | table: count u64, row* | table offset u64 | BLAKE3 of all before
//! entry  = stored bytes, nothing else: every fact about it is in its row
//! row    = tag u8, codec u8, id 32, offset u64, stored u32, plain u32   (50 bytes)
//! ```
//! The trailer is also the pack's name, so a pack that was renamed into place is whole.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::codec::{self, Bases, Codec, HEADER_BYTES_MAX};
use crate::cut::CHUNK_BYTES_MAX;
use crate::error::{Error, Result};
use crate::{Cuts, Key, Tag, fs};

use modelv_core::canon::{self, Kind, OBJECT_BYTES_MAX};
use modelv_core::commit::Commit;
use modelv_core::env::Env;
use modelv_core::run::Run;
use modelv_core::tree::Node;

/// Magic and format version.
pub(crate) const MAGIC: &[u8; 8] = b"MVPACK\x00\x01";
pub(crate) const ROW_BYTES: usize = 50;
pub(crate) const TRAILER_BYTES: u64 = 40;
/// A pack is closed when it has grown to this many bytes.
pub(crate) const PACK_BYTES: u64 = 64 << 20;
/// Largest entry of a tag when decoded.
fn plain_bytes_max(tag: u8) -> usize {
    match Tag::from_byte(tag) {
        Some(Tag::Chunk) => CHUNK_BYTES_MAX,
        _ => OBJECT_BYTES_MAX,
    }
}

/// Where an entry is in a pack and how it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) key: Key,
    pub(crate) codec: u8,
    pub(crate) offset: u64,
    pub(crate) stored: u32,
    pub(crate) plain: u32,
}

impl Row {
    /// Whether it takes other chunks to decode.
    pub(crate) fn is_over_others(&self) -> bool {
        // One that is not known may be over anything.
        Codec::from_byte(self.codec).is_none_or(Codec::is_over_others)
    }

    pub(crate) fn to_bytes(self) -> [u8; ROW_BYTES] {
        let mut out = [0; ROW_BYTES];
        out[0] = self.key.0;
        out[1] = self.codec;
        out[2..34].copy_from_slice(&self.key.1);
        out[34..42].copy_from_slice(&self.offset.to_le_bytes());
        out[42..46].copy_from_slice(&self.stored.to_le_bytes());
        out[46..50].copy_from_slice(&self.plain.to_le_bytes());
        out
    }

    pub(crate) fn from_bytes(b: &[u8; ROW_BYTES]) -> Self {
        let mut id = [0; 32];
        id.copy_from_slice(&b[2..34]);
        let u32_at = |i: usize| u32::from_le_bytes([b[i], b[i + 1], b[i + 2], b[i + 3]]);
        Self {
            key: (b[0], id),
            codec: b[1],
            offset: u64::from(u32_at(34)) | u64::from(u32_at(38)) << 32,
            stored: u32_at(42),
            plain: u32_at(46),
        }
    }
}

/// Small entries are written together, so that the file grows by whole pages.
const BUFFER_BYTES: usize = 1 << 20;

/// A pack that is being written, under a temporary name.
pub(crate) struct Writer {
    file: File,
    path: PathBuf,
    hasher: blake3::Hasher,
    len: u64,
    /// The last bytes, which are not in the file yet. An entry is in it whole or not at all.
    buffer: Vec<u8>,
    pub(crate) rows: Vec<Row>,
    published: bool,
}

impl Writer {
    pub(crate) fn create(path: PathBuf) -> Result<Self> {
        let file = fs::create_new(&path).map_err(Error::io("create", &path))?;
        // Tells `gc` that it is not left behind, where the file system has locks.
        let _ = file.try_lock();
        let mut writer = Self {
            file,
            path,
            hasher: blake3::Hasher::new(),
            len: 0,
            buffer: Vec::new(),
            rows: Vec::new(),
            published: false,
        };
        writer.write(MAGIC)?;
        Ok(writer)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.flush()?;
        }
        self.len += bytes.len() as u64;
        if bytes.len() < BUFFER_BYTES {
            self.buffer.extend_from_slice(bytes);
            return Ok(());
        }
        fs::write_all(&mut self.file, bytes).map_err(Error::io("write", &self.path))?;
        self.hasher.update(bytes);
        Ok(())
    }

    /// Brings the buffer to the file.
    fn flush(&mut self) -> Result<()> {
        if !self.buffer.is_empty() {
            fs::write_all(&mut self.file, &self.buffer).map_err(Error::io("write", &self.path))?;
            self.hasher.update(&self.buffer);
            self.buffer.clear();
        }
        Ok(())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Appends one entry.
    pub(crate) fn append(
        &mut self,
        key: Key,
        codec: Codec,
        stored: &[u8],
        plain: usize,
    ) -> Result<Row> {
        let row = Row {
            key,
            codec: codec as u8,
            offset: self.len,
            stored: u32::try_from(stored.len()).unwrap_or(u32::MAX),
            plain: u32::try_from(plain).unwrap_or(u32::MAX),
        };
        self.write(stored)?;
        self.rows.push(row);
        Ok(row)
    }

    /// Reads the stored bytes of an entry that was appended.
    pub(crate) fn read_stored(&self, row: &Row) -> Result<Vec<u8>> {
        let in_file = self.len - self.buffer.len() as u64;
        let Some(at) = row.offset.checked_sub(in_file) else {
            return read_stored(&self.file, &self.path, row);
        };
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        let stored = self.buffer.get(at..);
        let stored = stored.and_then(|b| b.get(..row.stored as usize));
        Ok(stored.unwrap_or_default().to_vec())
    }

    /// Writes table and trailer; returns the pack's name. It can be published when it is synced.
    pub(crate) fn seal(&mut self) -> Result<[u8; 32]> {
        let table = self.len;
        self.rows.sort_by_key(|r| r.key);
        let mut bytes = Vec::with_capacity(16 + self.rows.len() * ROW_BYTES);
        bytes.extend_from_slice(&(self.rows.len() as u64).to_le_bytes());
        for row in &self.rows {
            bytes.extend_from_slice(&row.to_bytes());
        }
        bytes.extend_from_slice(&table.to_le_bytes());
        self.write(&bytes)?;
        self.flush()?;
        let name = *self.hasher.finalize().as_bytes();
        fs::write_all(&mut self.file, &name).map_err(Error::io("write", &self.path))?;
        Ok(name)
    }

    /// What brings the pack to the disk; may run on another thread.
    pub(crate) fn syncer(&self) -> Result<impl FnOnce() -> Result<()> + Send + use<>> {
        let path = self.path.clone();
        let file = self.file.try_clone().map_err(Error::io("sync", &path))?;
        Ok(move || fs::sync(&file).map_err(Error::io("sync", &path)))
    }

    pub(crate) fn publish(mut self, to: &Path) -> Result<()> {
        fs::publish(&self.path, to).map_err(Error::io("rename", &self.path))?;
        self.published = true;
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.published {
            // Left behind it would only take room, until gc sweeps `tmp/`.
            let _ = fs::remove(&self.path);
        }
    }
}

/// Reads and decodes one entry into `plain`; the caller checks its hash.
pub(crate) fn read_entry(
    file: &File,
    path: &Path,
    row: &Row,
    bases: Bases<'_>,
    plain: &mut Vec<u8>,
) -> Result<()> {
    let name = || format!("pack `{}`", path.display());
    check_lengths(path, row)?;
    let codec = codec_of(path, row)?;
    if codec.is_over_others() && row.key.0 != Tag::Chunk.byte() {
        return Err(Error::corrupt(name(), "an object is stored over a chunk"));
    }
    // Growing clears what is new only: a buffer that is used again costs nothing here.
    plain.resize(row.plain as usize, 0);
    if codec == Codec::Raw && row.stored == row.plain {
        return read_exact(file, path, plain, row.offset);
    }
    codec::with_scratch(|scratch| {
        let mut stored = std::mem::take(&mut scratch.stored);
        stored.resize(row.stored as usize, 0);
        let done = read_exact(file, path, &mut stored, row.offset).and_then(|()| {
            codec::decode_into(codec, &stored, plain, bases, scratch)
                .map_err(|e| Error::corrupt(name(), e.to_string()))
        });
        scratch.stored = stored;
        done
    })
}

/// Reads the stored bytes of one entry.
pub(crate) fn read_stored(file: &File, path: &Path, row: &Row) -> Result<Vec<u8>> {
    check_lengths(path, row)?;
    let mut stored = vec![0; row.stored as usize];
    read_exact(file, path, &mut stored, row.offset)?;
    Ok(stored)
}

/// Decodes the stored bytes of one entry of the pack at `path` that is over no base.
pub(crate) fn decode_entry(path: &Path, row: &Row, stored: &[u8]) -> Result<Vec<u8>> {
    decode_over(path, row, stored, &codec::no_base)
}

/// Decodes the stored bytes of one entry, with the chunks that it is over.
pub(crate) fn decode_over(
    path: &Path,
    row: &Row,
    stored: &[u8],
    bases: Bases<'_>,
) -> Result<Vec<u8>> {
    check_lengths(path, row)?;
    let codec = codec_of(path, row)?;
    let mut plain = vec![0; row.plain as usize];
    codec::with_scratch(|s| codec::decode_into(codec, stored, &mut plain, bases, s))
        .map_err(|e| Error::corrupt(format!("pack `{}`", path.display()), e.to_string()))?;
    Ok(plain)
}

fn check_lengths(path: &Path, row: &Row) -> Result<()> {
    if row.plain as usize > plain_bytes_max(row.key.0) || row.stored > row.plain {
        let name = format!("pack `{}`", path.display());
        return Err(Error::corrupt(name, "an entry has an impossible length"));
    }
    Ok(())
}

fn codec_of(path: &Path, row: &Row) -> Result<Codec> {
    let unknown = |part, found| Error::UnknownEntry {
        what: format!("an entry of pack `{}`", path.display()),
        part,
        found,
    };
    match (Tag::from_byte(row.key.0), Codec::from_byte(row.codec)) {
        (None, _) => Err(unknown("kind", row.key.0)),
        (_, None) => Err(unknown("codec", row.codec)),
        (_, Some(codec)) => Ok(codec),
    }
}

/// Ids of the chunks that an entry is over, the base first, and whether it predicts more than that
/// base.
pub(crate) fn read_names(file: &File, path: &Path, row: &Row) -> Result<(Vec<[u8; 32]>, bool)> {
    let codec = codec_of(path, row)?;
    if !codec.is_over_others() {
        return Ok((Vec::new(), false));
    }
    let mut stored = vec![0; HEADER_BYTES_MAX.min(row.stored as usize)];
    read_exact(file, path, &mut stored, row.offset)?;
    codec::names(codec, &stored)
        .map_err(|e| Error::corrupt(format!("pack `{}`", path.display()), e.to_string()))
}

fn read_exact(file: &File, path: &Path, buf: &mut [u8], at: u64) -> Result<()> {
    file.read_exact_at(buf, at).map_err(|e| match e.kind() {
        std::io::ErrorKind::UnexpectedEof => {
            Error::corrupt(format!("pack `{}`", path.display()), "it is cut off")
        }
        _ => Error::io("read", path)(e),
    })
}

/// Checks that decoded bytes are what their key says.
pub(crate) fn check_hash(key: &Key, plain: &[u8]) -> bool {
    match Tag::from_byte(key.0) {
        Some(Tag::Chunk) => *blake3::hash(plain).as_bytes() == key.1,
        // A cuts record is found by the id of the blob it describes; the reader checks the blob.
        Some(Tag::Object(Kind::Cuts)) => true,
        Some(Tag::Object(kind)) => canon::hash(kind, plain) == key.1,
        None => false,
    }
}

/// Checks that an object is in the canonical form of its kind; whether a chunk is depends on nothing.
pub(crate) fn check_form(key: &Key, plain: &[u8]) -> Result<()> {
    match Tag::from_byte(key.0) {
        Some(Tag::Chunk) => {}
        Some(Tag::Object(Kind::Tree)) => drop(canon::decode::<Node>(plain)?),
        Some(Tag::Object(Kind::Env)) => drop(canon::decode::<Env>(plain)?),
        Some(Tag::Object(Kind::Commit)) => drop(canon::decode::<Commit>(plain)?),
        Some(Tag::Object(Kind::Run)) => drop(canon::decode::<Run>(plain)?),
        Some(Tag::Object(Kind::Cuts)) => drop(canon::decode::<Cuts>(plain)?),
        Some(Tag::Object(
            Kind::Recipe | Kind::Operation | Kind::Stage | Kind::Root | Kind::PackList,
        ))
        | None => {
            return Err(Error::corrupt(
                "stored object",
                "its kind is never in a pack",
            ));
        }
    }
    Ok(())
}

/// Checks that nothing but entries lies between magic and table, and no byte in two of them. Only
/// for a whole check: entries of a pack with a gap can be read.
pub(crate) fn is_filled(rows: &[Row], file: &File) -> bool {
    let mut word = [0; 8];
    let table = file.metadata().is_ok_and(|m| {
        let at = m.len().saturating_sub(TRAILER_BYTES);
        file.read_exact_at(&mut word, at).is_ok()
    });
    let mut places: Vec<(u64, u32)> = rows.iter().map(|r| (r.offset, r.stored)).collect();
    places.sort_unstable();
    let end = places
        .into_iter()
        .try_fold(MAGIC.len() as u64, |at, (offset, stored)| {
            (offset == at).then(|| at + u64::from(stored))
        });
    table && end == Some(u64::from_le_bytes(word))
}

/// Whether a pack is what its name says, read from its start.
pub(crate) fn is_named(file: &mut File, name: &[u8; 32]) -> std::io::Result<bool> {
    use std::io::Read;
    let body = file.metadata()?.len().saturating_sub(32);
    let mut hasher = blake3::Hasher::new();
    std::io::copy(&mut Read::by_ref(file).take(body), &mut hasher)?;
    let mut trailer = Vec::new();
    file.read_to_end(&mut trailer)?;
    Ok(hasher.finalize().as_bytes() == name && trailer == name)
}

/// Reads the table of contents from the end of a pack.
pub(crate) fn read_table(file: &File, path: &Path) -> Result<Vec<Row>> {
    let bad = |detail: &str| Error::corrupt(format!("pack `{}`", path.display()), detail);
    let io = |e: std::io::Error| Error::io("read", path)(e);
    let len = file.metadata().map_err(io)?.len();
    let head_and_tail = MAGIC.len() as u64 + 8 + TRAILER_BYTES;
    if len < head_and_tail {
        return Err(bad("it is cut off"));
    }
    let mut magic = [0; 8];
    file.read_exact_at(&mut magic, 0).map_err(io)?;
    if magic != *MAGIC {
        if magic[..7] == MAGIC[..7] {
            let what = format!("pack `{}`", path.display());
            return Err(Error::Newer {
                what,
                found: magic[7],
                known: MAGIC[7],
            });
        }
        return Err(bad("its header is wrong"));
    }
    let mut word = [0; 8];
    file.read_exact_at(&mut word, len - TRAILER_BYTES)
        .map_err(io)?;
    let table = u64::from_le_bytes(word);
    let end = len - TRAILER_BYTES;
    if table < 8 || table > end - 8 {
        return Err(bad("its table of contents is not where the trailer says"));
    }
    let mut bytes = vec![0; usize::try_from(end - table).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut bytes, table).map_err(io)?;
    parse_table(path, &bytes, table)
}

/// Reads the bytes of a table of contents that begins at `table`.
pub(crate) fn parse_table(path: &Path, bytes: &[u8], table: u64) -> Result<Vec<Row>> {
    let bad = |detail: &str| Error::corrupt(format!("pack `{}`", path.display()), detail);
    let Some((count, rows)) = bytes.split_first_chunk::<8>() else {
        return Err(bad("it is cut off"));
    };
    let (rows, rest) = rows.as_chunks::<ROW_BYTES>();
    if rows.len() as u64 != u64::from_le_bytes(*count) || !rest.is_empty() {
        return Err(bad("its table of contents has another length than it says"));
    }
    let rows: Vec<Row> = rows.iter().map(Row::from_bytes).collect();
    if rows.windows(2).any(|w| w[0].key >= w[1].key) {
        return Err(bad("its table of contents is not sorted"));
    }
    let outside = |r: &Row| r.offset < 8 || r.offset.saturating_add(u64::from(r.stored)) > table;
    if rows.iter().any(outside) {
        return Err(bad("an entry lies outside"));
    }
    Ok(rows)
}
