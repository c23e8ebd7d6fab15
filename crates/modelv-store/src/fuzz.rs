//! Doors to private decoders for `modelv-fuzz`. Each takes hostile bytes and gives back what the
//! decoder made of them, so that the caller can check it; nothing else may use this.

use std::path::Path;

use crate::codec::{self, Base, Codec, Content, Origin};
use crate::error::{Error, Result};
use crate::pack::Row;
use crate::remote::fuzz as remote;
use crate::{index, pack};

pub use remote::{pack_list, root};

/// A pack in memory: decodes all its entries and gives the sum of their decoded lengths.
///
/// # Errors
/// It is no pack.
pub fn pack(bytes: &[u8]) -> Result<u64> {
    let path = Path::new("fuzz.pack");
    let bad = || Error::corrupt("pack", "it is cut off");
    let trailer = usize::try_from(pack::TRAILER_BYTES).unwrap_or(0);
    let end = bytes.len().checked_sub(trailer).ok_or_else(bad)?;
    let word = bytes[end..].first_chunk().ok_or_else(bad)?;
    let table = u64::from_le_bytes(*word);
    let at = usize::try_from(table).map_err(|_| bad())?;
    let rows = pack::parse_table(path, bytes.get(at..end).ok_or_else(bad)?, table)?;
    let mut sum = 0;
    for row in rows {
        assert!(Row::from_bytes(&row.to_bytes()) == row);
        let start = usize::try_from(row.offset).map_err(|_| bad())?;
        let stored = bytes.get(start..start + row.stored as usize);
        if let Ok(plain) = pack::decode_entry(path, &row, stored.ok_or_else(bad)?) {
            assert_eq!(plain.len(), row.plain as usize);
            // Hostile content must not stop these either.
            let _ = (
                pack::check_hash(&row.key, &plain),
                pack::check_form(&row.key, &plain).is_ok(),
            );
            sum += plain.len() as u64;
        }
    }
    Ok(sum)
}

/// An index of the pack of this name, written anew.
#[must_use]
pub fn pack_index(bytes: &[u8], name: &[u8; 32]) -> Option<Vec<u8>> {
    index::from_bytes(bytes, name).map(|rows| index::to_bytes(name, &rows))
}

/// Decodes an entry over a base, which also stands for every other chunk that it names.
///
/// # Errors
/// It is damaged.
pub fn over_base(codec: Codec, stored: &[u8], base: &[u8], plain_len: usize) -> Result<Vec<u8>> {
    let mut plain = vec![0; plain_len];
    let bases: codec::Bases<'_> = &|_, _| Ok(base.to_vec());
    codec::with_scratch(|s| codec::decode_into(codec, stored, &mut plain, bases, s))?;
    // Whoever keeps or sends the entry reads what it names.
    let (names, _) = codec::names(codec, stored)?;
    assert_eq!(names.is_empty(), !codec.is_over_others());
    Ok(plain)
}

/// Encodes an entry over a base, if that is worth it.
#[must_use]
pub fn encode_over(plain: &[u8], content: Content, base: &[u8]) -> Option<(Codec, Vec<u8>)> {
    encode(plain, content, vec![whole(base)], Vec::new())
}

/// Encodes an entry as a patch of another one, if that is worth it.
#[must_use]
pub fn encode_patch(plain: &[u8], base: &[u8]) -> Option<(Codec, Vec<u8>)> {
    encode(plain, Content::Unknown, Vec::new(), vec![whole(base)])
}

fn whole(plain: &[u8]) -> Base {
    Base {
        id: [7; 32],
        plain: plain.to_vec(),
        is_whole: true,
    }
}

fn encode(
    plain: &[u8],
    content: Content,
    bases: Vec<Base>,
    alike: Vec<Base>,
) -> Option<(Codec, Vec<u8>)> {
    let origin = Origin {
        bases,
        alike,
        pairs: Vec::new(),
        first: 0,
    };
    codec::with_scratch(|s| {
        codec::encode_in(plain, content, Some(&origin), s).map(|(codec, b)| (codec, b.to_vec()))
    })
}
