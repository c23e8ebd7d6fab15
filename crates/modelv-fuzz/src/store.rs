//! Entries of packs, packs, their indexes, and what remotes hold.

use modelv_store::codec::{self, Codec, Content, Width};
use modelv_store::fuzz;

use crate::take_u16;

/// Longest entry that is tried; real ones go to 4 MiB.
const PLAIN_BYTES_MAX: usize = 1 << 18;

/// Codec, length of the plain bytes, stored bytes.
pub(crate) fn codec(mut data: &[u8]) {
    let head = take_u16(&mut data);
    let plain_len = (take_u16(&mut data) << 2 | head >> 14) % PLAIN_BYTES_MAX;
    if let Some(codec) = Codec::from_byte((head % 6) as u8)
        && let Ok(plain) = codec::decode(codec, data, plain_len)
    {
        assert_eq!(plain.len(), plain_len);
    }
}

fn content(n: usize) -> Content {
    match n % 6 {
        0 => Content::Bytes,
        1 => Content::Unknown,
        2 => Content::Numbers(Width::One),
        3 => Content::Numbers(Width::Two),
        4 => Content::Numbers(Width::Four),
        _ => Content::Numbers(Width::Eight),
    }
}

/// What is written can be read, and is never larger than raw.
pub(crate) fn codec_round(mut data: &[u8]) {
    let how = take_u16(&mut data);
    // Repeated, so that short inputs reach what is done for long ones only.
    let plain = data.repeat(1 + (how >> 8) % 64);
    let Some((codec, stored)) = codec::encode(&plain, content(how)) else {
        return;
    };
    assert!(stored.len() < plain.len(), "{codec:?} is larger than raw");
    let again = codec::decode(codec, &stored, plain.len());
    assert!(
        again.is_ok_and(|again| again == plain),
        "{codec:?} lost bytes"
    );
}

/// Hostile deltas, and honest ones between the halves of the input.
pub(crate) fn over_base(mut data: &[u8]) {
    let how = take_u16(&mut data);
    let (base, new) = data.split_at(data.len() / 2);
    for codec in [Codec::Delta, Codec::Predicted, Codec::Patch] {
        if let Ok(plain) = fuzz::over_base(codec, new, base, base.len()) {
            assert_eq!(plain.len(), base.len());
        }
    }
    if let Some((codec, stored)) = fuzz::encode_patch(new, base) {
        assert!(stored.len() < new.len(), "{codec:?} is larger than raw");
        let again = match codec {
            Codec::Patch => fuzz::over_base(codec, &stored, base, new.len()),
            other => codec::decode(other, &stored, new.len()),
        };
        assert!(again.is_ok_and(|b| b == new), "{codec:?} lost bytes");
    }
    let times = 1 + (how >> 8) % 64;
    let (base, new) = (base.repeat(times), new[..base.len()].repeat(times));
    if let Some((codec, stored)) = fuzz::encode_over(&new, content(how), &base) {
        assert!(stored.len() < new.len(), "{codec:?} is larger than raw");
        let again = match codec {
            Codec::Delta | Codec::Predicted => fuzz::over_base(codec, &stored, &base, new.len()),
            other => codec::decode(other, &stored, new.len()),
        };
        assert!(
            again.is_ok_and(|again| again == new),
            "{codec:?} lost bytes"
        );
    }
}

/// Entries, then a table whose length and place are put right.
pub(crate) fn pack(data: &[u8]) {
    let _ = fuzz::pack(data);
    let mut rest = data;
    let at = (8 + take_u16(&mut rest)).min(data.len());
    let (entries, rows) = data.split_at(at);
    let rows = &rows[..rows.len() / 50 * 50];
    let words = [(rows.len() / 50) as u64, at as u64].map(u64::to_le_bytes);
    let whole = [entries, &words[0], rows, &words[1], &[0; 32]].concat();
    let _ = fuzz::pack(&whole);
}

/// An index whose hash and name are put right.
pub(crate) fn pack_index(data: &[u8]) {
    let whole = [data, blake3::hash(data).as_bytes()].concat();
    let name: [u8; 32] = data
        .get(8..40)
        .and_then(|n| n.try_into().ok())
        .unwrap_or_default();
    if let Some(again) = fuzz::pack_index(&whole, &name) {
        let rows = 40 + 256 * 4;
        // The fan-out is derived, and checked against the rows by whoever reads an index whole.
        assert!(again[..40] == whole[..40] && again[rows..again.len() - 32] == data[rows..]);
    }
}

pub(crate) fn remote_root(data: &[u8]) {
    let _ = fuzz::root(data);
}

pub(crate) fn pack_list(data: &[u8]) {
    if let Some(again) = fuzz::pack_list(data) {
        assert!(again == data, "a list is written otherwise than it was");
    }
}
