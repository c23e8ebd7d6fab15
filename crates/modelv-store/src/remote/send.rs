//! Sending: what the remote does not have, in as few packs as sensible, several at a time.
//!
//! The same objects make the same packs, so a push that was cut short finds its finished packs
//! there and sends only the others.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use modelv_core::id::to_hex;

use super::catalog::lock;
use super::collect::{Condemned, Relied};
use super::root::PackInfo;
use super::{Outgoing, Remote, RemoteError, Result, Watch};
use crate::codec::{self, Codec, Content};
use crate::pack::{self, PACK_BYTES, Row, Writer};
use crate::store::{Pack, Store};
use crate::{Error, Key, Tag, index};

/// A local pack of this size or more is sent as it is when all of it is wanted; smaller ones are
/// put together, so that a remote does not fill with small packs.
const WHOLE_BYTES_MIN: u64 = 8 << 20;
/// So many names a pack may have besides its own.
const SALTS: usize = 64;
/// Packs on their way at once.
const UPLOADS_AT_ONCE: usize = 4;

/// What was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sent {
    /// Packs that are on the remote now, sent or found there.
    pub packs: Vec<PackInfo>,
    /// Entries in them.
    pub entries: u64,
    /// Bytes that went over the line.
    pub bytes: u64,
    /// Bytes of packs that an earlier attempt had brought there.
    pub bytes_found: u64,
    /// What must not have been taken away when the root is moved.
    pub(crate) relied: Relied,
}

/// A pack that is ready to go.
struct Job {
    name: [u8; 32],
    path: PathBuf,
    index: Vec<u8>,
    entries: u64,
    /// Removes a pack that was made for the purpose.
    _temp: Option<Writer>,
}

impl Remote {
    /// Sends packs that hold what was added. Nothing on the remote refers to them until the root
    /// is moved.
    ///
    /// # Errors
    /// The local store is damaged, or the remote can't be reached or written.
    pub fn send(&self, out: &Outgoing<'_>, watch: &dyn Watch) -> Result<Sent> {
        let (whole, rest, total) = plan(out)?;
        watch.start("sending", total);
        let sent = Mutex::new(out.nothing());
        let (give, take) = crossbeam_channel::bounded::<Job>(1);
        let done = std::thread::scope(|scope| {
            let hands: Vec<_> = (0..UPLOADS_AT_ONCE)
                .map(|_| {
                    let take = take.clone();
                    let sent = &sent;
                    scope.spawn(move || take.iter().try_for_each(|job| self.ship(job, sent, watch)))
                })
                .collect();
            drop(take);
            // The queue closes early only when all hands failed; theirs is the error to tell.
            let mut hand_over = |job| give.send(job).is_ok();
            let made = hand_out_whole(&whole, &mut hand_over)
                .and_then(|()| build(out, &rest, watch, &mut hand_over));
            drop(give);
            let shipped = hands
                .into_iter()
                .try_for_each(|hand| hand.join().unwrap_or_else(|_| Err(super::thread_died())));
            shipped.and(made)
        });
        watch.finish();
        done?;
        let mut sent = sent
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        sent.packs.sort_unstable();
        Ok(sent)
    }

    fn ship(&self, job: Job, sent: &Mutex<Sent>, watch: &dyn Watch) -> Result<()> {
        let size = std::fs::metadata(&job.path)
            .map_err(Error::io("read", &job.path))?
            .len();
        let info = PackInfo {
            name: job.name,
            bytes: size,
            entries: job.entries,
        };
        let is_there = self.backend.size(&info.key())? == Some(size);
        if is_there {
            super::tick(watch, size)?;
        } else {
            super::stage::check_file(&job.path, &job.name)?;
            let at = blake3::hash(format!("{}\0{}", self.url, info.key()).as_bytes());
            let journal = self.cache.join("uploads").join(at.to_hex().as_str());
            self.backend
                .upload(&info.key(), &job.path, &journal, watch)?;
        }
        self.backend.put(&info.index_key(), &job.index)?;
        self.keep_index(&info, &job.index);
        let mut sent = lock(sent);
        sent.packs.push(info);
        sent.entries += job.entries;
        if is_there {
            sent.bytes_found += size;
        } else {
            sent.bytes += size;
        }
        Ok(())
    }
}

type Plan = (Vec<Arc<Pack>>, Vec<Key>, u64);

/// Which local packs go as they are, and which entries go into new ones; and the bytes of all.
fn plan(out: &Outgoing<'_>) -> Result<Plan> {
    let mut left = out.known.clone();
    let mut whole = Vec::new();
    let mut total = 0;
    for pack in out.store.packs() {
        let bytes = std::fs::metadata(&pack.path).map_or(0, |m| m.len());
        if bytes < WHOLE_BYTES_MIN || out.catalog.condemned.contains_key(&pack.name) {
            continue;
        }
        let keys = pack.index()?.with_rows(&pack.name, |rows| {
            // What is stored over a base goes on its own, for the base may lie in another pack.
            let fits = |r: &Row| left.contains(&r.key) && !r.is_over_others();
            let wanted = rows.iter().all(fits);
            wanted.then(|| rows.iter().map(|r| r.key).collect::<Vec<_>>())
        })?;
        if let Some(keys) = keys {
            for key in &keys {
                left.remove(key);
            }
            total += bytes;
            whole.push(pack);
        }
    }
    let mut rest: Vec<Key> = out
        .keys
        .iter()
        .filter(|k| left.contains(k))
        .copied()
        .collect();
    // Objects before chunks: whoever reads the history alone finds it in one place.
    rest.sort_by_key(|key| key.0 == Tag::Chunk.byte());
    for key in &rest {
        total += out
            .store
            .find(key)?
            .map_or(0, |(_, row)| u64::from(row.stored));
    }
    Ok((whole, rest, total))
}

fn hand_out_whole(packs: &[Arc<Pack>], hand_over: &mut dyn FnMut(Job) -> bool) -> Result<()> {
    for pack in packs {
        let rows = pack.index()?.with_rows(&pack.name, <[Row]>::to_vec)?;
        let job = Job {
            name: pack.name,
            path: pack.path.clone(),
            index: index::to_bytes(&pack.name, &rows),
            entries: rows.len() as u64,
            _temp: None,
        };
        if !hand_over(job) {
            break;
        }
    }
    Ok(())
}

/// Puts entries together in new packs, checking each on the way.
fn build(
    out: &Outgoing<'_>,
    keys: &[Key],
    watch: &dyn Watch,
    hand_over: &mut dyn FnMut(Job) -> bool,
) -> Result<()> {
    let store = out.store;
    let close = |writer| close(store.dir(), writer, &out.catalog.condemned);
    let mut open: Option<Writer> = None;
    for key in keys {
        if watch.is_stopped() {
            return Err(RemoteError::Stopped);
        }
        let mut writer = match open.take() {
            Some(writer) => writer,
            None => Writer::create(temp_path(store.dir()))?,
        };
        copy_entry(store, key, &mut writer)?;
        if writer.len() < PACK_BYTES {
            open = Some(writer);
        } else if !hand_over(close(writer)?) {
            return Ok(());
        }
    }
    if let Some(writer) = open {
        hand_over(close(writer)?);
    }
    Ok(())
}

fn temp_path(dir: &Path) -> PathBuf {
    let name = format!("tmp-push-{}.pack", to_hex(&super::root::nonce()));
    dir.join("tmp").join(name)
}

/// Finishes a pack. Its name is its content's: one that must not have its name gets a chunk that nobody asks
/// for.
fn close(dir: &Path, mut writer: Writer, condemned: &Condemned) -> Result<Job> {
    let mut name = writer.seal()?;
    let first = writer.rows.len();
    for salt in salts() {
        if !condemned.contains_key(&name) {
            break;
        }
        writer = with_salt(dir, &writer, first, &salt)?;
        name = writer.seal()?;
    }
    Ok(Job {
        name,
        path: writer.path().to_owned(),
        index: index::to_bytes(&name, &writer.rows),
        entries: writer.rows.len() as u64,
        _temp: Some(writer),
    })
}

/// Chunks that change the name of a pack, and that nobody ever asks for.
pub(super) fn salts() -> impl Iterator<Item = [u8; 16]> {
    (0..SALTS as u8).map(|n| {
        let mut salt = *b"modelv salt     ";
        salt[15] = n;
        salt
    })
}

pub(super) fn key_of_salt(salt: &[u8; 16]) -> Key {
    (Tag::Chunk.byte(), *blake3::hash(salt).as_bytes())
}

/// The same pack with this chunk.
fn with_salt(dir: &Path, writer: &Writer, entries: usize, salt: &[u8; 16]) -> Result<Writer> {
    let path = writer.path();
    let file = std::fs::File::open(path).map_err(Error::io("open", path))?;
    let mut again = Writer::create(temp_path(dir))?;
    let is_salt = |row: &&Row| salts().any(|salt| key_of_salt(&salt) == row.key);
    let salted = writer.rows.len() > entries;
    let rows = writer.rows.iter().filter(|row| !(salted && is_salt(row)));
    for row in rows {
        let stored = pack::read_stored(&file, path, row)?;
        let codec = Codec::from_byte(row.codec)
            .ok_or_else(|| Error::corrupt(path.display().to_string(), "a codec is not known"))?;
        again.append(row.key, codec, &stored, row.plain as usize)?;
    }
    again.append(key_of_salt(salt), Codec::Raw, salt, salt.len())?;
    Ok(again)
}

/// Copies an entry as it is stored, after decoding it once: damage must not travel.
fn copy_entry(store: &Store, key: &Key, writer: &mut Writer) -> Result<()> {
    if let Some((index, row)) = store.find(key)?
        && let Ok(file) = index.pack()
        && let Ok(stored) = pack::read_stored(&file, &index.pack_path, &row)
        && let Some(codec) = Codec::from_byte(row.codec)
        && !codec.is_over_others()
        && let Ok(plain) = pack::decode_entry(&index.pack_path, &row, &stored)
        && pack::check_hash(key, &plain)
    {
        writer.append(*key, codec, &stored, plain.len())?;
        return Ok(());
    }
    // The slow way puts an entry and its base together, finds it behind a damaged index, or says
    // what is wrong.
    let plain = store.read(key)?.ok_or_else(|| Error::NotFound {
        what: Tag::from_byte(key.0).map_or("entry", Tag::word),
        id: to_hex(&key.1),
    })?;
    match codec::encode(&plain, Content::Unknown) {
        Some((codec, stored)) => writer.append(*key, codec, &stored, plain.len())?,
        None => writer.append(*key, Codec::Raw, &plain, plain.len())?,
    };
    Ok(())
}
