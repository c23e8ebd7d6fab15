//! Headers of every kind, whole, cut off, and lying.

use std::io::Cursor;

use proptest::prelude::*;

use super::*;

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
    }
}

const TWO: Content = Content::Numbers(Width::Two);
const FOUR: Content = Content::Numbers(Width::Four);
const EIGHT: Content = Content::Numbers(Width::Eight);

pub(crate) fn safetensors(tensors: &[(&str, &str, usize)]) -> Vec<u8> {
    let mut json = String::from(r#"{"__metadata__":{"format":"pt"}"#);
    let mut at = 0;
    for (name, dtype, len) in tensors {
        let end = at + len;
        json +=
            &format!(r#","{name}":{{"dtype":"{dtype}","shape":[1],"data_offsets":[{at},{end}]}}"#);
        at = end;
    }
    json.push('}');
    let mut out = (json.len() as u64).to_le_bytes().to_vec();
    out.extend_from_slice(json.as_bytes());
    out.resize(out.len() + at, 7);
    out
}

fn npy(descr: &str, len: usize) -> Vec<u8> {
    let dict = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': (1,), }}\n");
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend_from_slice(&u16::try_from(dict.len()).unwrap().to_le_bytes());
    out.extend_from_slice(dict.as_bytes());
    out.resize(out.len() + len, 7);
    out
}

/// A zip of members, the first `stored` of them stored; with wide fields if asked to.
fn zip(members: &[(&str, Vec<u8>)], method: u16, wide: bool) -> Vec<u8> {
    let (mut out, mut central) = (Vec::new(), Vec::new());
    let u16s = |v: &[u16]| v.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>();
    let u32s = |v: &[u32]| v.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>();
    for (name, bytes) in members {
        let (at, len) = (out.len() as u64, bytes.len() as u64);
        let name_len = u16::try_from(name.len()).unwrap();
        let [short_len, short_at] = if wide {
            [u32::MAX; 2]
        } else {
            [len, at].map(|n| u32::try_from(n).unwrap())
        };
        let mut extra = Vec::new();
        if wide {
            extra = u16s(&[1, 24]);
            extra.extend([len, len, at].iter().flat_map(|n| n.to_le_bytes()));
        }
        out.extend([&b"PK\x03\x04"[..], &u16s(&[20, 0, method, 0, 0])].concat());
        out.extend([u32s(&[0, 0, 0]), u16s(&[name_len, 3])].concat());
        out.extend([name.as_bytes(), b"pad", bytes].concat());
        central.extend([&b"PK\x01\x02"[..], &u16s(&[20, 20, 0, method, 0, 0])].concat());
        central.extend(u32s(&[0, short_len, short_len]));
        let extra_len = u16::try_from(extra.len()).unwrap();
        central.extend([u16s(&[name_len, extra_len, 0, 0, 0]), u32s(&[0, short_at])].concat());
        central.extend([name.as_bytes(), &extra].concat());
    }
    let (start, len) = (out.len() as u64, central.len() as u64);
    out.extend(&central);
    if wide {
        let record = out.len() as u64;
        out.extend([&b"PK\x06\x06"[..], &[0; 36]].concat());
        out.extend([len, start].iter().flat_map(|n| n.to_le_bytes()));
        out.extend([&b"PK\x06\x07"[..], &[0; 4], &record.to_le_bytes(), &[0; 4]].concat());
    }
    out.extend([&b"PK\x05\x06"[..], &[0; 8]].concat());
    out.extend(if wide {
        u32s(&[u32::MAX; 2])
    } else {
        u32s(&[len, start].map(|n: u64| u32::try_from(n).unwrap()))
    });
    out.extend([0; 2]);
    out
}

fn gguf(tensors: &[(&str, u32, u64)], data: usize) -> Vec<u8> {
    let text = |out: &mut Vec<u8>, s: &str| {
        out.extend((s.len() as u64).to_le_bytes());
        out.extend(s.as_bytes());
    };
    let mut out = b"GGUF\x03\0\0\0".to_vec();
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend(3u64.to_le_bytes());
    text(&mut out, "general.alignment");
    out.extend([4u32, 64].iter().flat_map(|n| n.to_le_bytes()));
    text(&mut out, "tokens");
    out.extend([9u32, 8].iter().flat_map(|n| n.to_le_bytes()));
    out.extend(2u64.to_le_bytes());
    text(&mut out, "first");
    text(&mut out, "second");
    text(&mut out, "rope");
    out.extend([12u32, 0, 0].iter().flat_map(|n| n.to_le_bytes()));
    for (name, kind, offset) in tensors {
        text(&mut out, name);
        out.extend(2u32.to_le_bytes());
        out.extend([9u64, 9].iter().flat_map(|n| n.to_le_bytes()));
        out.extend(kind.to_le_bytes());
        out.extend(offset.to_le_bytes());
    }
    out.resize(out.len().next_multiple_of(64) + data, 7);
    out
}

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
        which in 0usize..5,
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
