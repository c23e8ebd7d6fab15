//! Headers of every kind, whole, cut off, and lying.

use std::io::Cursor;

use proptest::prelude::*;

use super::*;

mod kinds;
mod make;

use make::*;

fn layout(bytes: &[u8]) -> Vec<Part> {
    read(&mut Cursor::new(bytes), bytes.len() as u64).unwrap()
}

fn part(start: u64, len: u64, content: Content, name: &str) -> Part {
    let name = name.as_bytes().to_vec();
    Part {
        start,
        len,
        content,
        name,
        ..Part::default()
    }
}

const TWO: Content = Content::Numbers(Width::Two);
const FOUR: Content = Content::Numbers(Width::Four);
const EIGHT: Content = Content::Numbers(Width::Eight);

/// One file of each kind.
fn corpus() -> Vec<Vec<u8>> {
    let array = npy("<f4", 80_000);
    let members = [("a.npy", array.clone()), ("data/1", vec![3; 90_000])];
    vec![
        safetensors(&[("a", "BF16", 100_000), ("b", "F32", 70_000)]),
        npy("<f8", 100_000),
        zip(&members, 0, false),
        zip(&members, 0, true),
        gguf(&[("a", 30, 0), ("b", 0, 70_016)], 200_000),
        onnx(
            &[onnx_tensor("w", 10, 9, 80_000)],
            &onnx_tensor("c", 1, 4, 70_000),
        ),
        parquet(
            &[vec![
                ("a", 0, 4, 70_000, None),
                ("b", 6, 80_000, 70_000, Some(79_000)),
            ]],
            200_000,
        ),
        tar(&[
            tar_member("PaxHeaders/x", b'x', b"14 size=70000\n"),
            tar_member("x", b'0', &[7; 70_000]),
            tar_member("a.npy", b'0', &npy("<f4", 80_000)),
        ]),
    ]
}

#[test]
fn safetensors_are_cut_at_tensors() {
    let file = safetensors(&[
        ("big", "BF16", 100_000),
        ("tiny.1", "F32", 100),
        ("tiny.2", "F32", 200),
        ("other", "U8", 300),
        ("last", "F64", 70_000),
        ("empty", "F32", 0),
    ]);
    let first = file.len() as u64 - 170_600;
    let found = [
        part(first, 100_000, TWO, "big"),
        part(first + 100_000, 600, Content::Unknown, "tiny.1"),
        part(first + 100_600, 70_000, EIGHT, "last"),
    ];
    assert_eq!(layout(&file), found);
    let same = safetensors(&[("x", "F32", 40_000), ("y", "F32", 40_000)]);
    assert_eq!(layout(&same)[0].content, FOUR);
    assert_eq!(layout(&same)[0].len, 80_000);
}

#[test]
fn small_parts_are_put_together_up_to_a_limit() {
    let rows: Vec<(String, &str, usize)> =
        (0..100).map(|i| (format!("t{i}"), "F32", 10_000)).collect();
    let rows: Vec<_> = rows.iter().map(|(n, d, l)| (n.as_str(), *d, *l)).collect();
    let found = layout(&safetensors(&rows));
    assert_eq!(found.len(), 4);
    assert_eq!(found[1].name, b"t26");
    assert!(
        found
            .iter()
            .all(|p| p.len <= RUN_BYTES_MAX && p.content == FOUR)
    );
}

#[test]
fn npy_is_cut_behind_its_header() {
    for (descr, content) in [
        ("<f4", FOUR),
        ("<f2", TWO),
        ("<i8", EIGHT),
        ("<c16", EIGHT),
        ("|u1", Content::Numbers(Width::One)),
        (">f4", Content::Unknown),
        ("|O", Content::Unknown),
    ] {
        let file = npy(descr, 100_000);
        let start = file.len() as u64 - 100_000;
        assert_eq!(layout(&file), [part(start, 100_000, content, "")]);
    }
}

#[test]
fn zip_members_are_found_when_they_are_stored() {
    for wide in [false, true] {
        let members = [("a.npy", npy("<f4", 80_000)), ("data/1", vec![3; 90_000])];
        let found = layout(&zip(&members, 0, wide));
        let array_start = 30 + 5 + 3 + (members[0].1.len() as u64 - 80_000);
        let second = array_start + 80_000 + 30 + 6 + 3;
        assert_eq!(
            found,
            [
                part(array_start, 80_000, FOUR, "a.npy"),
                part(second, 90_000, Content::Unknown, "data/1")
            ]
        );
        assert_eq!(layout(&zip(&members, 8, wide)), []);
    }
}

#[test]
fn gguf_tensors_reach_to_the_next() {
    let file = gguf(
        &[("a", 30, 0), ("q", 12, 70_016), ("b", 0, 140_032)],
        240_032,
    );
    let first = file.len() as u64 - 240_032;
    assert_eq!(
        layout(&file),
        [
            part(first, 70_016, TWO, "a"),
            part(first + 70_016, 70_016, Content::Unknown, "q"),
            part(first + 140_032, 100_000, FOUR, "b"),
        ]
    );
}

#[test]
fn headers_that_lie_give_no_layout() {
    let mut long = safetensors(&[("a", "BF16", 100_000)]);
    long[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    let row = |offsets: &str| {
        let json = format!(r#"{{"a":{{"dtype":"F32","shape":[],"data_offsets":{offsets}}}}}"#);
        let mut out = (json.len() as u64).to_le_bytes().to_vec();
        out.extend_from_slice(json.as_bytes());
        out.resize(100_000, 0);
        out
    };
    let mut overlap = safetensors(&[("a", "F32", 50_000), ("b", "F32", 50_000)]);
    let text = overlap
        .windows(12)
        .position(|w| w == b"50000,100000")
        .unwrap();
    overlap[text..text + 5].copy_from_slice(b"49999");
    let mut many = b"GGUF\x03\0\0\0".to_vec();
    many.extend([0xff; 16]);
    many.resize(100_000, 0xff);
    let lies = [
        long,
        row("[0,200000]"),
        row("[9,8]"),
        row("[18446744073709551615,18446744073709551615]"),
        row("[1]"),
        overlap,
        many,
        vec![b'{'; 100_000],
        [
            b"PK\x03\x04".as_slice(),
            &[0xff; 100_000],
            b"PK\x05\x06",
            &[0xff; 18],
        ]
        .concat(),
        [b"\x93NUMPY\x01\x00\xff\xff".as_slice(), &[0; 65_000]].concat(),
    ];
    for (number, lie) in lies.iter().enumerate() {
        assert_eq!(layout(lie), [], "number {number}");
    }
}

/// Whatever happens to a header, the layout stays inside the file and in order.
fn is_sound(parts: &[Part], size: u64) -> bool {
    parts.iter().all(|p| p.len > 0 && p.end() <= size)
        && parts.windows(2).all(|w| w[0].end() <= w[1].start)
}

proptest! {
    #[test]
    fn damaged_headers_give_a_sound_layout_or_none(
        which in 0usize..8,
        cut in 0usize..300_000,
        flips in proptest::collection::vec((0usize..600, any::<u8>(), any::<bool>()), 0..6),
    ) {
        let mut file = corpus().swap_remove(which);
        prop_assert!(!layout(&file).is_empty());
        for (at, byte, from_end) in flips {
            let at = if from_end { file.len() - 1 - at } else { at };
            file[at] = byte;
        }
        file.truncate(cut.max(65_536));
        prop_assert!(is_sound(&layout(&file), file.len() as u64));
    }
}
