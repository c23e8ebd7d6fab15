//! Predictions of any numbers and shapes, and headers that lie.

use std::collections::HashMap;

use proptest::prelude::*;

use super::predict::{self, Header, Place, Update};
use super::product::{Rule, Sum};
use super::*;
use crate::tests::noise as bytes;

type Chunks = HashMap<[u8; 32], Vec<u8>>;

/// A header over chunks of noise: numbers of any kind, not a number and infinite ones too.
fn case(
    seed: u64,
    format: Format,
    by: Format,
    rule: Rule,
    shape: [usize; 4],
) -> (Header, Chunks, Vec<u8>) {
    let [columns, first, count, rank] = shape;
    let place = Place {
        format,
        columns,
        first,
    };
    let (rows, size) = (place.rows(count), by.bytes());
    let adapter = bytes(seed, (rows + columns) * rank * size);
    let base = bytes(seed + 1, count * format.bytes());
    let border = (rows * rank * size) as u32;
    // One factor in two pieces that split a number.
    let piece = |offset, len| Piece {
        id: [2; 32],
        offset,
        len,
    };
    let factor = |pieces| Factor { format: by, pieces };
    let update = Update {
        rank,
        rule,
        left: factor(vec![piece(0, 1), piece(1, border - 1)]),
        right: factor(vec![piece(border, adapter.len() as u32 - border)]),
    };
    let header = Header {
        base: [1; 32],
        place: Some(place),
        updates: vec![update],
    };
    let chunks = HashMap::from([([1; 32], base.clone()), ([2; 32], adapter)]);
    (header, chunks, base)
}

fn decoded(stored: &[u8], len: usize, chunks: &Chunks) -> Result<Vec<u8>> {
    let bases: Bases<'_> = &|id, _| {
        let missing = || Error::corrupt("chunk", "it is missing");
        chunks.get(id).cloned().ok_or_else(missing)
    };
    let mut plain = vec![0; len];
    with_scratch(|s| decode_into(Codec::Predicted, stored, &mut plain, bases, s))?;
    Ok(plain)
}

fn encoded(plain: &[u8], header: &Header, guess: &[u8], width: Width) -> Vec<u8> {
    with_scratch(|s| {
        let len = predict::encode(plain, width, &header.to_bytes(), guess, f64::INFINITY, s);
        s.out[..len.unwrap()].to_vec()
    })
}

const FORMATS: [Format; 3] = [Format::Bf16, Format::F16, Format::F32];

proptest! {
    #[test]
    fn any_numbers_come_back_and_other_shapes_are_refused(
        seed: u64,
        formats in proptest::array::uniform4(0usize..3),
        sum in 0usize..3,
        scale_first: bool,
        scale in proptest::num::f32::NORMAL | proptest::num::f32::SUBNORMAL | proptest::num::f32::ZERO,
        columns in 1usize..60,
        first in 0usize..60,
        count in 1usize..300,
        rank in 1usize..5,
        cut in 0usize..200,
    ) {
        let [format, by, p, q] = formats.map(|f| FORMATS[f]);
        let rule = Rule { sum: Sum::ALL[sum], scale_first, first: p, second: q, scale };
        let shape = [columns, first % columns, count, rank];
        let (header, chunks, base) = case(seed, format, by, rule, shape);
        // Read back, the header is the same.
        let written = header.to_bytes();
        prop_assert_eq!(&Header::read(&written).unwrap().0, &header);
        prop_assert_eq!(predict::names(&written).unwrap(), (vec![[1; 32], [2; 32]], true));
        prop_assert!(Header::read(&written[..cut.min(written.len() - 1)]).is_err());
        let plain = bytes(seed + 2, base.len());
        let bases: Bases<'_> = &|id, _| Ok(chunks[id].clone());
        let left = predict::load(&header.updates[0].left, bases).unwrap();
        let right = predict::load(&header.updates[0].right, bases).unwrap();
        let mut guess = base.clone();
        predict::apply(&mut guess, header.place.unwrap(), &rule, &left, &right);
        let stored = encoded(&plain, &header, &guess, format.width());
        prop_assert!(decoded(&stored, plain.len(), &chunks).unwrap() == plain);
        // Another length, a base that is longer, factors of another shape.
        prop_assert!(decoded(&stored, plain.len() + format.bytes(), &chunks).is_err());
        let mut other = chunks.clone();
        other.insert([1; 32], [&base[..], b"more"].concat());
        prop_assert!(decoded(&stored, plain.len(), &other).is_err());
        let mut other = chunks;
        other.get_mut(&[2; 32]).unwrap().pop();
        prop_assert!(decoded(&stored, plain.len(), &other).is_err());
        other.remove(&[2; 32]);
        prop_assert!(decoded(&stored, plain.len(), &other).is_err());
    }

    #[test]
    fn damaged_bytes_are_refused_or_decoded_to_the_length(
        seed: u64,
        at in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let rule = Rule { sum: Sum::Single, scale_first: false, first: Format::F32, second: Format::F32, scale: 0.5 };
        let (header, chunks, base) = case(seed, Format::Bf16, Format::Bf16, rule, [8, 2, 60, 2]);
        let mut stored = encoded(&base, &header, &base, Width::Two);
        for (index, byte) in at {
            let at = index.index(stored.len());
            stored[at] = byte;
        }
        let _ = predict::names(&stored);
        if let Ok(plain) = decoded(&stored, base.len(), &chunks) {
            prop_assert_eq!(plain.len(), base.len());
        }
    }

    #[test]
    fn words_without_a_format_come_back(seed: u64, width in 0usize..4, count in 1usize..200) {
        let width = [Width::One, Width::Two, Width::Four, Width::Eight][width];
        let (base, plain) = (bytes(seed, count * width.bytes()), bytes(seed + 1, count * width.bytes()));
        let header = Header { base: [1; 32], place: None, updates: Vec::new() };
        let stored = encoded(&plain, &header, &base, width);
        let chunks = HashMap::from([([1; 32], base)]);
        prop_assert!(decoded(&stored, plain.len(), &chunks).unwrap() == plain);
    }
}

/// The longest header is as long as said: enough is read of an entry to know all that it names.
#[test]
fn the_longest_header_is_read_whole() {
    let rule = Rule {
        sum: Sum::Double,
        scale_first: true,
        first: Format::F16,
        second: Format::Bf16,
        scale: -1.0,
    };
    let factor = |n: u8| Factor {
        format: Format::F32,
        pieces: (0..32)
            .map(|i| Piece {
                id: [n + i; 32],
                offset: 1,
                len: 2,
            })
            .collect(),
    };
    let update = |n: u8| Update {
        rank: 128,
        rule,
        left: factor(n),
        right: factor(n + 32),
    };
    let place = Place {
        format: Format::F16,
        columns: 7,
        first: 6,
    };
    let header = Header {
        base: [255; 32],
        place: Some(place),
        updates: (0..4).map(|n| update(n * 60)).collect(),
    };
    let written = header.to_bytes();
    assert_eq!(written.len(), HEADER_BYTES_MAX);
    let (names, has_updates) = names(Codec::Predicted, &written).unwrap();
    assert!(has_updates && names[0] == [255; 32]);
    assert_eq!(names.len(), 1 + 3 * 60 + 64);
}
