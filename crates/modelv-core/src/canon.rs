//! Canonical bytes: an 8-byte header (magic, kind, version) and a body in the `bincode` 2 wire
//! format. The only module that knows `bincode`. See `spec/object.md`.
//!
//! Exactly one byte string is valid for a value: after decoding, the value is encoded again and
//! must give the same bytes. What [`encode`] gives, [`decode`] takes: both check the same rules and
//! the same size. Decoding needs memory in proportion to the bytes given, whatever lengths they
//! claim.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};

use crate::value::ELEMENTS_MAX;

/// Largest canonical object, header included, in bytes.
pub const OBJECT_BYTES_MAX: usize = 16 << 20;

const MAGIC: &[u8; 6] = b"MODELV";
const HEADER_BYTES: usize = 8;

/// No type needs more memory than this for one byte on the wire; the worst need about forty (a
/// list of nulls, a ref that changes from nothing to nothing).
const MEMORY_PER_BYTE_MAX: usize = 64;

/// Decoding limits are part of the type, so there is one for each step of the body's size.
type Bounded<const BYTES: usize> = Configuration<LittleEndian, Varint, Limit<BYTES>>;
const SMALL_BYTES: usize = 4 << 10;
const MEDIUM_BYTES: usize = 256 << 10;
const SMALL: Bounded<{ SMALL_BYTES * MEMORY_PER_BYTE_MAX }> =
    bincode::config::standard().with_limit();
const MEDIUM: Bounded<{ MEDIUM_BYTES * MEMORY_PER_BYTE_MAX }> =
    bincode::config::standard().with_limit();
const LARGE: Bounded<{ OBJECT_BYTES_MAX * MEMORY_PER_BYTE_MAX }> =
    bincode::config::standard().with_limit();

/// Kinds of canonical objects; the number is the kind byte on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A tree node.
    Tree = 1,
    /// An environment document.
    Env = 2,
    /// A recipe; only its id is used, it is never stored alone.
    Recipe = 3,
    /// A commit.
    Commit = 4,
    /// The record of one execution.
    Run = 5,
    /// How a blob is cut into chunks. Found by blob id, so it has no id of its own.
    Cuts = 6,
    /// A frame of the operation log.
    Operation = 7,
    /// What a stage of a pipeline executes; only its id is used, it is never stored alone.
    Stage = 8,
    /// The root object of a remote.
    Root = 32,
    /// A list of packs of a remote.
    PackList = 33,
}

impl Kind {
    /// The `derive_key` context that separates the ids of this kind from all others.
    #[must_use]
    pub fn context(self) -> &'static str {
        match self {
            Self::Tree => "modelv 2026-11 tree v1",
            Self::Env => "modelv 2026-11 env v1",
            Self::Recipe => "modelv 2026-11 recipe v1",
            Self::Commit => "modelv 2026-11 commit v1",
            Self::Run => "modelv 2026-11 run v1",
            Self::Cuts => "modelv 2026-11 cuts v1",
            Self::Operation => "modelv 2026-11 operation v1",
            Self::Stage => "modelv 2026-11 stage v1",
            Self::Root => "modelv 2026-11 remote root v1",
            Self::PackList => "modelv 2026-11 pack list v1",
        }
    }
}

/// Why bytes are not the canonical form of an object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Shorter than a header, longer than the limit, or the magic is wrong.
    #[error("not an object: {0}")]
    Header(&'static str),
    /// Another kind was expected here.
    #[error("expected object kind {expected}, found {found}")]
    Kind {
        /// Kind byte the caller asked for.
        expected: u8,
        /// Kind byte in the header.
        found: u8,
    },
    /// Written by a newer program.
    #[error("object format version {found} is newer than this program reads ({known})")]
    Version {
        /// Version in the header.
        found: u8,
        /// Newest version known.
        known: u8,
    },
    /// The body does not decode.
    #[error("malformed object body: {0}")]
    Body(String),
    /// The body decodes, but another byte string is the canonical form, or a rule is broken.
    #[error("object is not in canonical form: {0}")]
    NotCanonical(&'static str),
}

/// The format version of the bytes that are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version(pub u8);

/// A value with one canonical byte string.
pub trait Object: bincode::Encode + bincode::Decode<Version> {
    /// Kind byte in the header.
    const KIND: Kind;
    /// Newest format version that is read.
    const VERSION: u8 = 1;

    /// The format version that holds this value: the oldest that can, so that a value has one form.
    fn version(&self) -> u8 {
        Self::VERSION
    }

    /// Rules the wire format can't express (sorted, no duplicates, within limits).
    ///
    /// # Errors
    /// [`DecodeError::NotCanonical`] naming the rule that is broken.
    fn check(&self) -> Result<(), DecodeError> {
        Ok(())
    }
}

/// Checks the lengths of an object's lists and maps against [`ELEMENTS_MAX`].
///
/// # Errors
/// [`DecodeError::NotCanonical`] when one is longer.
pub fn check_lengths(lengths: &[usize]) -> Result<(), DecodeError> {
    if lengths.iter().any(|n| *n > ELEMENTS_MAX) {
        return Err(DecodeError::NotCanonical(
            "list or map of more than 65536 elements",
        ));
    }
    Ok(())
}

/// Why a value has no canonical bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// More than [`OBJECT_BYTES_MAX`].
    #[error("{bytes} bytes, one object holds at most {OBJECT_BYTES_MAX}")]
    TooLarge {
        /// What it would have.
        bytes: usize,
    },
    /// A rule is broken that a reader would refuse.
    #[error(transparent)]
    Rule(#[from] DecodeError),
}

/// The canonical bytes of a value that is to be stored: whatever this gives, [`decode`] takes.
///
/// # Errors
/// The value breaks a rule of its kind or is too large.
pub fn encode<T: Object>(value: &T) -> Result<Vec<u8>, EncodeError> {
    value.check()?;
    let bytes = encode_unchecked(value);
    if bytes.len() > OBJECT_BYTES_MAX {
        return Err(EncodeError::TooLarge { bytes: bytes.len() });
    }
    Ok(bytes)
}

/// The id of a value, without a look at its rules.
#[must_use]
pub fn id_of<T: Object>(value: &T) -> [u8; 32] {
    hash(T::KIND, &encode_unchecked(value))
}

/// The bytes of a value that may break the rules of its kind, as tests of those rules need them.
#[must_use]
pub fn encode_unchecked<T: Object>(value: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    out.extend_from_slice(MAGIC);
    out.push(T::KIND as u8);
    out.push(value.version());
    encode_body(value, &mut out);
    out
}

fn encode_body<T: bincode::Encode>(value: &T, out: &mut Vec<u8>) {
    bincode::encode_into_std_write(value, out, bincode::config::standard())
        .expect("a Vec takes every byte");
}

/// Decodes with a memory limit in proportion to the bytes that are there.
fn decode_body<T: bincode::Decode<Version>>(
    body: &[u8],
    version: Version,
) -> Result<(T, usize), bincode::error::DecodeError> {
    if body.len() <= SMALL_BYTES {
        bincode::decode_from_slice_with_context(body, SMALL, version)
    } else if body.len() <= MEDIUM_BYTES {
        bincode::decode_from_slice_with_context(body, MEDIUM, version)
    } else {
        bincode::decode_from_slice_with_context(body, LARGE, version)
    }
}

/// Reads canonical bytes, refusing every other form of the same value.
///
/// # Errors
/// See [`DecodeError`].
pub fn decode<T: Object>(bytes: &[u8]) -> Result<T, DecodeError> {
    if bytes.len() > OBJECT_BYTES_MAX {
        return Err(DecodeError::Header("larger than the limit"));
    }
    let Some((header, body)) = bytes.split_at_checked(HEADER_BYTES) else {
        return Err(DecodeError::Header("shorter than a header"));
    };
    if !header.starts_with(MAGIC) {
        return Err(DecodeError::Header("wrong magic"));
    }
    if header[6] != T::KIND as u8 {
        return Err(DecodeError::Kind {
            expected: T::KIND as u8,
            found: header[6],
        });
    }
    if !(1..=T::VERSION).contains(&header[7]) {
        return Err(DecodeError::Version {
            found: header[7],
            known: T::VERSION,
        });
    }
    let (value, used): (T, usize) =
        decode_body(body, Version(header[7])).map_err(|e| DecodeError::Body(e.to_string()))?;
    if used != body.len() {
        return Err(DecodeError::NotCanonical("bytes after the end"));
    }
    if value.version() != header[7] {
        return Err(DecodeError::NotCanonical(
            "a value in another format version than its own",
        ));
    }
    value.check()?;
    let mut again = Vec::with_capacity(body.len());
    encode_body(&value, &mut again);
    if again != body {
        return Err(DecodeError::NotCanonical(
            "another encoding of the same value",
        ));
    }
    Ok(value)
}

/// Hashes canonical bytes in the domain of their kind.
#[must_use]
pub fn hash(kind: Kind, bytes: &[u8]) -> [u8; 32] {
    *blake3::Hasher::new_derive_key(kind.context())
        .update(bytes)
        .finalize()
        .as_bytes()
}

/// Where stored objects come from: a store, a session that is being written, a map in a test.
pub trait Source {
    /// Why an object can't be had.
    type Error: std::error::Error + From<DecodeError>;

    /// The canonical bytes of an object. Implementations verify them against the id.
    ///
    /// # Errors
    /// The object is missing, damaged or unreadable.
    fn load_bytes(&self, kind: Kind, id: &[u8; 32]) -> Result<Vec<u8>, Self::Error>;
}

/// Loads and decodes one object.
///
/// # Errors
/// As [`Source::load_bytes`], or the bytes are not canonical.
pub fn load<T: Object, S: Source + ?Sized>(source: &S, id: &[u8; 32]) -> Result<T, S::Error> {
    Ok(decode(&source.load_bytes(T::KIND, id)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(bincode::Encode, bincode::Decode, Debug, PartialEq)]
    struct Pair(u64, String);
    impl Object for Pair {
        const KIND: Kind = Kind::Run;
    }

    #[test]
    fn round_trip_and_layout() {
        let bytes = encode(&Pair(300, "ab".into())).unwrap();
        assert_eq!(bytes, b"MODELV\x05\x01\xfb\x2c\x01\x02ab");
        assert_eq!(decode::<Pair>(&bytes).unwrap(), Pair(300, "ab".into()));
    }

    #[test]
    fn what_is_too_large_to_read_is_not_written() {
        let fits = OBJECT_BYTES_MAX - HEADER_BYTES - 6;
        let bytes = encode(&Pair(0, "x".repeat(fits))).unwrap();
        assert_eq!(bytes.len(), OBJECT_BYTES_MAX);
        assert!(decode::<Pair>(&bytes).is_ok());
        assert_eq!(
            encode(&Pair(0, "x".repeat(fits + 1))),
            Err(EncodeError::TooLarge {
                bytes: OBJECT_BYTES_MAX + 1
            })
        );
    }

    #[test]
    fn every_other_form_is_refused() {
        let refuse = |bytes: &[u8]| decode::<Pair>(bytes).unwrap_err();
        assert_eq!(
            refuse(b"MODELV"),
            DecodeError::Header("shorter than a header")
        );
        assert_eq!(
            refuse(b"MODELX\x05\x01\x00\x00"),
            DecodeError::Header("wrong magic")
        );
        assert_eq!(
            refuse(b"MODELV\x04\x01\x00\x00"),
            DecodeError::Kind {
                expected: 5,
                found: 4
            }
        );
        assert_eq!(
            refuse(b"MODELV\x05\x02\x00\x00"),
            DecodeError::Version { found: 2, known: 1 }
        );
        // A long form of the number 7, and a byte after the end.
        assert!(matches!(
            refuse(b"MODELV\x05\x01\xfb\x07\x00\x00"),
            DecodeError::NotCanonical(_)
        ));
        assert!(matches!(
            refuse(b"MODELV\x05\x01\x07\x00\x00"),
            DecodeError::NotCanonical(_)
        ));
        // A length that lies must not allocate.
        assert!(matches!(
            refuse(b"MODELV\x05\x01\x07\xfd\xff\xff\xff\xff\xff\xff\xff\x7f"),
            DecodeError::Body(_)
        ));
    }
}
