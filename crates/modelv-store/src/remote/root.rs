//! The root object of a remote, and the immutable lists of packs it names. See `spec/remote.md`.
//!
//! Both are canonical bytes; the root ends with its hash, a list is named by it.

use std::collections::BTreeMap;

use bincode::de::Decoder;
use bincode::enc::Encoder;
use bincode::error::{DecodeError as BodyError, EncodeError};
use bincode::{Decode, Encode};
use modelv_core::canon::{self, DecodeError, Kind, OBJECT_BYTES_MAX, Object, Version};
use modelv_core::id::{CommitId, to_hex};

use super::RemoteError;

type Result<T, E = RemoteError> = std::result::Result<T, E>;

/// Name of the root object.
pub(crate) const KEY: &str = "root";
const HASH_BYTES: usize = 32;
/// Largest root that is read, in bytes.
pub(crate) const BYTES_MAX: u64 = (OBJECT_BYTES_MAX + HASH_BYTES) as u64;
/// Nonces of earlier roots that a root remembers: an attempt is found as long as no more roots
/// than this were written after it.
pub(crate) const RECENT_MAX: usize = 64;
/// Most lists of packs; merging keeps their number far below.
const LISTS_MAX: usize = 256;
/// Most packs in one list.
pub(crate) const LIST_PACKS_MAX: usize = 200_000;
/// Most names that a root condemns.
pub(crate) const CONDEMNED_MAX: usize = 20_000;
/// Version of a root that condemns something.
const WITH_CONDEMNED: u8 = 3;
/// Version of a root that holds an alias.
const WITH_ALIASES: u8 = 4;
const NAME_BYTES_MAX: usize = 300;
/// Where aliases live.
const ALIASES: &str = "refs/aliases/";

/// A list of packs, by its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(crate) struct ListRef {
    pub(crate) id: [u8; 32],
    /// Packs in it.
    pub(crate) packs: u32,
}

/// What a remote holds: the one object that changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// Names the repository; made with its first root, never changed.
    pub repository: [u8; 16],
    /// 0 for the first root, then one more each time.
    pub seq: u64,
    /// Different for each attempt to write a root.
    pub(crate) nonce: [u8; 16],
    /// Nonces of the roots before, newest first.
    pub(crate) recent: Vec<[u8; 16]>,
    /// Full name of the branch that a clone checks out.
    pub head: String,
    /// Lists of packs.
    pub(crate) lists: Vec<ListRef>,
    /// Branches, tags, vendored wheels and aliases by full name.
    pub refs: BTreeMap<String, CommitId>,
    /// Packs and lists that no root may name any more, with the second by the remote's clock when they were
    /// condemned. From version 3 on.
    pub(crate) condemned: BTreeMap<[u8; 32], u64>,
}

/// What a writer wants the root to become.
#[derive(Debug, Clone)]
pub struct Change {
    /// Full name of the branch that a clone checks out.
    pub head: String,
    /// All branches, tags, vendored wheels and aliases.
    pub refs: BTreeMap<String, CommitId>,
}

/// Makes the next refs from a root; `None` leaves it as it is.
pub type Make<'a, E> = dyn FnMut(Option<&Root>) -> Result<Option<Change>, E> + 'a;

impl Encode for Root {
    fn encode<E: Encoder>(&self, out: &mut E) -> Result<(), EncodeError> {
        Encode::encode(&self.repository, out)?;
        Encode::encode(&self.seq, out)?;
        Encode::encode(&self.nonce, out)?;
        Encode::encode(&self.recent, out)?;
        Encode::encode(&self.head, out)?;
        Encode::encode(&self.lists, out)?;
        Encode::encode(&self.refs, out)?;
        if self.version() < WITH_CONDEMNED {
            return Ok(());
        }
        Encode::encode(&self.condemned, out)
    }
}

impl Decode<Version> for Root {
    fn decode<D: Decoder<Context = Version>>(from: &mut D) -> Result<Self, BodyError> {
        Ok(Self {
            repository: Decode::decode(from)?,
            seq: Decode::decode(from)?,
            nonce: Decode::decode(from)?,
            recent: Decode::decode(from)?,
            head: Decode::decode(from)?,
            lists: Decode::decode(from)?,
            refs: Decode::decode(from)?,
            condemned: match from.context() {
                Version(version) if *version >= WITH_CONDEMNED => Decode::decode(from)?,
                _ => BTreeMap::new(),
            },
        })
    }
}

impl Object for Root {
    const KIND: Kind = Kind::Root;
    const VERSION: u8 = WITH_ALIASES;

    /// Programs that know nothing of vendored wheels, or of aliases, refuse what names some.
    fn version(&self) -> u8 {
        let is_wheels = |name: &String| name.starts_with("refs/wheels/");
        let is_alias = |name: &String| name.starts_with(ALIASES);
        if self.refs.keys().any(is_alias) {
            WITH_ALIASES
        } else if !self.condemned.is_empty() {
            WITH_CONDEMNED
        } else if self.refs.keys().any(is_wheels) {
            2
        } else {
            1
        }
    }

    fn check(&self) -> std::result::Result<(), DecodeError> {
        self.check_limits()
    }
}

/// Whether a ref is that of an environment's wheels.
fn is_wheels(name: &str) -> bool {
    let is_digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    name.strip_prefix("refs/wheels/")
        .is_some_and(|id| id.len() == 64 && id.bytes().all(is_digit))
}

impl Root {
    fn check_limits(&self) -> std::result::Result<(), DecodeError> {
        let bad = |what| Err(DecodeError::NotCanonical(what));
        if self.condemned.len() > CONDEMNED_MAX {
            return bad("too many condemned names");
        }
        if self.recent.len() > RECENT_MAX || self.lists.len() > LISTS_MAX {
            return bad("too many nonces or lists");
        }
        let is_ref = |name: &str| {
            let below = name
                .strip_prefix("refs/heads/")
                .or_else(|| name.strip_prefix("refs/tags/"))
                .or_else(|| name.strip_prefix(ALIASES));
            let is_short = name.len() <= NAME_BYTES_MAX;
            (below.is_some_and(|n| !n.is_empty()) && is_short) || is_wheels(name)
        };
        if !self.refs.keys().all(|name| is_ref(name)) {
            return bad("a ref that is no branch, tag or alias and no environment's wheels");
        }
        if self.head.len() > NAME_BYTES_MAX {
            return bad("a head with a long name");
        }
        Ok(())
    }
}

impl Root {
    /// Whether the attempt with this nonce became this root or one before it.
    pub(crate) fn remembers(&self, nonce: &[u8; 16]) -> bool {
        self.nonce == *nonce || self.recent.contains(nonce)
    }

    /// The root behind `base`, with a fresh nonce.
    pub(crate) fn after(base: Option<&Self>, change: Change, lists: Vec<ListRef>) -> Self {
        let recent = base.map_or_else(Vec::new, |b| {
            std::iter::once(b.nonce)
                .chain(b.recent.iter().copied())
                .take(RECENT_MAX)
                .collect()
        });
        Self {
            repository: base.map_or_else(nonce, |b| b.repository),
            seq: base.map_or(0, |b| b.seq + 1),
            nonce: nonce(),
            recent,
            head: change.head,
            lists,
            refs: change.refs,
            condemned: base.map(|b| b.condemned.clone()).unwrap_or_default(),
        }
    }
}

/// One pack of a remote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct PackInfo {
    /// Its name: the hash of its bytes.
    pub name: [u8; 32],
    /// Its length in bytes.
    pub bytes: u64,
    /// Entries in it.
    pub entries: u64,
}

impl PackInfo {
    pub(crate) fn key(&self) -> String {
        format!("packs/{}.pack", to_hex(&self.name))
    }

    pub(crate) fn index_key(&self) -> String {
        format!("packs/{}.idx", to_hex(&self.name))
    }
}

/// An immutable list of packs.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct PackList {
    /// Sorted by name.
    pub(crate) packs: Vec<PackInfo>,
}

impl Object for PackList {
    const KIND: Kind = Kind::PackList;

    fn check(&self) -> std::result::Result<(), DecodeError> {
        let bad = |what| Err(DecodeError::NotCanonical(what));
        if self.packs.len() > LIST_PACKS_MAX {
            return bad("too many packs in one list");
        }
        if self.packs.windows(2).any(|w| w[0].name >= w[1].name) {
            return bad("packs not sorted or not unique");
        }
        Ok(())
    }
}

impl ListRef {
    pub(crate) fn key(&self) -> String {
        format!("meta/{}", to_hex(&self.id))
    }
}

/// Reference and bytes of a list.
pub(crate) fn encode_list(mut packs: Vec<PackInfo>) -> Result<(ListRef, Vec<u8>)> {
    packs.sort_unstable();
    packs.dedup_by_key(|p| p.name);
    let count = u32::try_from(packs.len()).unwrap_or(u32::MAX);
    let bytes = canon::encode(&PackList { packs }).map_err(crate::Error::from)?;
    let id = canon::hash(Kind::PackList, &bytes);
    Ok((ListRef { id, packs: count }, bytes))
}

/// Reads a list, checking it against its name.
pub(crate) fn decode_list(url: &str, list: &ListRef, bytes: &[u8]) -> Result<PackList> {
    let bad = |detail: &str| RemoteError::corrupt(url, format!("`{}`", list.key()), detail);
    if canon::hash(Kind::PackList, bytes) != list.id {
        return Err(bad("its bytes do not match its name"));
    }
    let found: PackList = canon::decode(bytes).map_err(|e| bad(&e.to_string()))?;
    Ok(found)
}

/// The bytes of a root object: canonical bytes, then their hash.
pub(crate) fn encode_root(root: &Root) -> Result<Vec<u8>> {
    let mut bytes = canon::encode(root).map_err(crate::Error::from)?;
    let hash = canon::hash(Kind::Root, &bytes);
    bytes.extend_from_slice(&hash);
    Ok(bytes)
}

/// Reads a root object.
pub(crate) fn decode_root(url: &str, bytes: &[u8]) -> Result<Root> {
    let bad = |detail: &str| RemoteError::corrupt(url, "the root", detail);
    let body = bytes
        .len()
        .checked_sub(HASH_BYTES)
        .ok_or_else(|| bad("it is cut off"))?;
    let (body, hash) = bytes.split_at(body);
    if canon::hash(Kind::Root, body) != hash {
        return Err(bad("its bytes do not match its hash"));
    }
    canon::decode(body).map_err(|e| match e {
        DecodeError::Version { found, known } => crate::Error::Newer {
            what: format!("remote `{url}`"),
            found,
            known,
        }
        .into(),
        other => bad(&other.to_string()),
    })
}

/// 128 random bits.
pub(crate) fn nonce() -> [u8; 16] {
    let mut out = [0; 16];
    loop {
        // The kernel's generator blocks until it is seeded and fails only when interrupted.
        if rustix::rand::getrandom(&mut out, rustix::rand::GetRandomFlags::empty())
            .is_ok_and(|n| n == out.len())
        {
            return out;
        }
    }
}
