use proptest::prelude::*;

use super::super::{Driver, examine, merge};
use super::*;

/// A safetensors file with one F32 tensor each.
fn file(tensors: &[(&str, &[f32])]) -> Vec<u8> {
    let (mut header, mut body) = (Vec::new(), Vec::new());
    for (name, numbers) in tensors {
        let begin = body.len();
        numbers.iter().for_each(|n| body.extend(n.to_le_bytes()));
        header.push(format!(
            "\"{name}\":{{\"dtype\":\"F32\",\"shape\":[{}],\"data_offsets\":[{begin},{}]}}",
            numbers.len(),
            body.len()
        ));
    }
    with_header(&format!("{{{}}}", header.join(",")), &body)
}

fn with_header(header: &str, body: &[u8]) -> Vec<u8> {
    [
        &(header.len() as u64).to_le_bytes(),
        header.as_bytes(),
        body,
    ]
    .concat()
}

fn npy(descr: &str, order: &str, shape: &str, body: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n");
    let length = u16::try_from(header.len()).unwrap().to_le_bytes();
    [
        b"\x93NUMPY\x01\x00",
        length.as_slice(),
        header.as_bytes(),
        body,
    ]
    .concat()
}

fn npz(members: &[(&str, Vec<u8>)], method: u16) -> Vec<u8> {
    let (mut out, mut table) = (Vec::new(), Vec::new());
    for (name, body) in members {
        let at = u32::try_from(out.len()).unwrap();
        let size = u32::try_from(body.len()).unwrap().to_le_bytes();
        let n = u16::try_from(name.len()).unwrap().to_le_bytes();
        let common = [
            &[20, 0, 0, 0],
            method.to_le_bytes().as_slice(),
            &[0; 8],
            &size,
            &size,
            &n,
            &[0, 0],
        ]
        .concat();
        out.extend([b"PK\x03\x04", common.as_slice(), name.as_bytes(), body].concat());
        table.extend(
            [
                b"PK\x01\x02\x14\x00",
                common.as_slice(),
                &[0; 10],
                &at.to_le_bytes(),
                name.as_bytes(),
            ]
            .concat(),
        );
    }
    let at = u32::try_from(out.len()).unwrap().to_le_bytes();
    let size = u32::try_from(table.len()).unwrap().to_le_bytes();
    out.extend(table);
    out.extend([b"PK\x05\x06", [0; 8].as_slice(), &size, &at, &[0, 0]].concat());
    out
}

fn changes(format: TensorFile, old: &[u8], new: &[u8]) -> Vec<TensorChange> {
    let (mut a, mut b) = (Cursor::new(old), Cursor::new(new));
    let all = format.diff(Some(&mut a), Some(&mut b)).unwrap();
    all.into_iter()
        .map(|c| match c {
            Change::Tensor(change) => *change,
            other => panic!("{other:?}"),
        })
        .collect()
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0)
}

#[test]
fn tensors_are_compared_one_by_one() {
    let old = file(&[
        ("a", &[1.0, 2.0, 2.0]),
        ("b", &[1.0]),
        ("gone", &[]),
        ("s", &[1.0]),
    ]);
    let new = file(&[
        ("a", &[1.0, 2.0, 4.0]),
        ("b", &[1.0]),
        ("come", &[1.0]),
        ("s", &[1.0, 1.0]),
    ]);
    let found = changes(TensorFile::Safetensors, &old, &new);
    let names: Vec<&str> = found.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["a", "come", "gone", "s"]);
    let n = found[0].numbers.unwrap();
    assert_eq!((n.count, n.changed, n.not_finite), (3, 1, 0));
    assert!(
        close(n.max_abs, 2.0)
            && close(n.mean_abs, 2.0 / 3.0)
            && close(n.rms, (4.0f64 / 3.0).sqrt())
    );
    assert!(close(n.cosine, 13.0 / (3.0 * 21f64.sqrt())), "{n:?}");
    assert!(found[1].old.is_none() && found[2].new.is_none() && found[3].numbers.is_none());
    assert_eq!(found[3].new.as_ref().unwrap().to_string(), "F32 [2]");
}

#[test]
fn types_may_change_and_odd_numbers_are_counted() {
    let halves = |dtype: &str, bits: &[u16]| {
        let body: Vec<u8> = bits.iter().flat_map(|b| b.to_le_bytes()).collect();
        with_header(
            &format!(
                "{{\"a\":{{\"dtype\":\"{dtype}\",\"shape\":[{}],\"data_offsets\":[0,{}]}}}}",
                bits.len(),
                body.len()
            ),
            &body,
        )
    };
    // The same three numbers as F16 and as BF16.
    let found = changes(
        TensorFile::Safetensors,
        &halves("F16", &[0x3c00, 0xc000, 0]),
        &halves("BF16", &[0x3f80, 0xc000, 0]),
    );
    assert_eq!(found[0].numbers.unwrap().changed, 0);
    // NaN stays NaN, infinity becomes a number.
    let found = changes(
        TensorFile::Safetensors,
        &halves("BF16", &[0x7fc0, 0x7f80, 0x3f80]),
        &halves("BF16", &[0x7fc0, 0, 0x4000]),
    );
    let n = found[0].numbers.unwrap();
    assert_eq!((n.changed, n.not_finite), (2, 2));
    assert_eq!((n.nan, n.infinite), ([1, 1], [1, 0]));
    assert!(close(n.max_abs, 1.0));
    // A number that became NaN is a change and takes no part in the rest; -0 is another number.
    let found = changes(
        TensorFile::Safetensors,
        &file(&[("a", &[1.0, 2.0, 0.0])]),
        &file(&[("a", &[1.0, f32::NAN, -0.0])]),
    );
    let n = found[0].numbers.unwrap();
    assert_eq!((n.changed, n.nan, n.infinite), (2, [0, 1], [0, 0]));
    assert!(close(n.max_abs, 0.0) && close(n.cosine, 1.0));
    // Whole numbers that are one f64 are two numbers.
    let long = |n: i64| npy("'<i8'", "False", "(1,)", &n.to_le_bytes());
    let found = changes(TensorFile::Npy, &long(i64::MAX), &long(i64::MAX - 1));
    assert_eq!(found[0].numbers.unwrap().changed, 1);
}

#[test]
fn arrays_of_numpy_are_read() {
    let body = |n: &[f64]| n.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
    let array = |n: &[f64]| npy("'<f8'", "False", "(1, 2)", &body(n));
    let old = npz(
        &[("w.npy", array(&[1.0, 2.0])), ("v.npy", array(&[0.0, 0.0]))],
        0,
    );
    let new = npz(
        &[("w.npy", array(&[1.0, 2.5])), ("v.npy", array(&[0.0, 0.0]))],
        0,
    );
    let found = changes(TensorFile::Npz, &old, &new);
    assert_eq!((found.len(), found[0].name.as_str()), (1, "w"));
    assert!(close(found[0].numbers.unwrap().max_abs, 0.5));
    // Another order of the same numbers is a change without numbers.
    let turned = npy("'<f8'", "True", "(1, 2)", &body(&[1.0, 2.0]));
    assert!(
        changes(TensorFile::Npy, &array(&[1.0, 2.0]), &turned)[0]
            .numbers
            .is_none()
    );
    assert!(changes(TensorFile::Npy, &array(&[1.0, 2.0]), &array(&[1.0, 2.0])).is_empty());
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn hostile_files_are_binary_with_a_word() {
    let one = |dtype: &str, shape: &str, span: &str| {
        format!("{{\"dtype\":\"{dtype}\",\"shape\":{shape},\"data_offsets\":{span}}}")
    };
    let tensors = |list: &[(&str, String)]| {
        let list: Vec<String> = list.iter().map(|(n, t)| format!("\"{n}\":{t}")).collect();
        format!("{{{}}}", list.join(","))
    };
    let (a, b) = (one("F32", "[1]", "[0,4]"), one("F32", "[1]", "[2,6]"));
    let array = npy("'<f4'", "False", "(1,)", &[0; 4]);
    for (name, content, want) in [
        (
            "a.safetensors",
            b"short".to_vec(),
            "shorter than its header",
        ),
        (
            "a.safetensors",
            u64::MAX.to_le_bytes().to_vec(),
            "its header is too large",
        ),
        (
            "a.safetensors",
            with_header("{", &[]),
            "expected a key in quotes",
        ),
        ("a.safetensors", with_header("[]", &[]), "no object"),
        (
            "a.safetensors",
            with_header(&tensors(&[("a", a.clone()), ("b", b)]), &[0; 6]),
            "overlap or leave holes",
        ),
        (
            "a.safetensors",
            with_header(&tensors(&[("a", a.clone())]), &[0; 8]),
            "do not fill the file",
        ),
        (
            "a.safetensors",
            with_header(&tensors(&[("a", a.clone())]), &[0; 3]),
            "do not fill the file",
        ),
        (
            "a.safetensors",
            with_header(&tensors(&[("a", a.clone()), ("a", a)]), &[0; 4]),
            "stands there twice",
        ),
        (
            "a.safetensors",
            with_header(&tensors(&[("a", one("X9", "[1]", "[0,4]"))]), &[0; 4]),
            "an unknown dtype",
        ),
        (
            "a.safetensors",
            with_header(&tensors(&[("a", one("F32", "[2]", "[0,4]"))]), &[0; 4]),
            "not the bytes of its shape",
        ),
        (
            "a.safetensors",
            with_header(&tensors(&[("a", one("F32", "[1]", "[4,0]"))]), &[0; 4]),
            "go backwards",
        ),
        (
            "a.safetensors",
            with_header(
                &tensors(&[("a", one("F32", "[4294967296,4294967296,4]", "[0,0]"))]),
                &[],
            ),
            "not the bytes of its shape",
        ),
        (
            "a.npy",
            b"\x93NUMPZ123456".to_vec(),
            "does not start like one",
        ),
        (
            "a.npy",
            npy("'|O'", "False", "(1,)", &[0; 8]),
            "elements of type `|O`",
        ),
        (
            "a.npy",
            npy("[('a', '<f4')]", "False", "(1,)", &[0; 4]),
            "elements of type `of fields`",
        ),
        (
            "a.npy",
            npy("'<f4'", "False", "(2,)", &[0; 4]),
            "not the bytes of its shape",
        ),
        (
            "a.npy",
            npy("'<f4'", "Maybe", "(2,)", &[0; 4]),
            "no dictionary",
        ),
        ("a.npz", b"PK".to_vec(), "it is no zip"),
        (
            "a.npz",
            npz(&[("a.npy", array.clone())], 8),
            "its members are compressed",
        ),
        (
            "a.npz",
            npz(&[("a.npy", array.clone()), ("a.npy", array)], 0),
            "two members have one name",
        ),
    ] {
        let found = examine(name.as_bytes(), &content);
        assert_eq!(found.driver, Driver::Binary, "{want}");
        let note = found.note.unwrap();
        assert!(
            note.contains(want) && note.ends_with("compared as binary"),
            "{note}"
        );
    }
}

#[test]
fn files_of_tensors_merge_as_a_whole() {
    let [b, o, t] = [1.0, 2.0, 3.0].map(|n| file(&[("a", &[n])]));
    let driver = examine(b"a.safetensors", &o).driver;
    assert_eq!(driver, Driver::Tensors(TensorFile::Safetensors));
    let labels = Labels {
        ours: "o",
        base: "b",
        theirs: "t",
    };
    assert_eq!(
        merge(driver, Some(&b), &o, &t, &labels),
        Merged::undecided(&o)
    );
    assert_eq!(merge(driver, Some(&b), &o, &b, &labels).bytes, o);
}

proptest! {
    #[test]
    fn numbers_are_what_they_are_defined_as(pairs in proptest::collection::vec((-1e3f32..1e3, -1e3f32..1e3), 1..50)) {
        let (a, b): (Vec<f32>, Vec<f32>) = pairs.iter().copied().unzip();
        prop_assume!(a != b);
        let found = changes(TensorFile::Safetensors, &file(&[("x", &a)]), &file(&[("x", &b)]));
        let n = found[0].numbers.unwrap();
        let gaps: Vec<f64> = pairs.iter().map(|(a, b)| (f64::from(*b) - f64::from(*a)).abs()).collect();
        let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        let count = gaps.len() as f64;
        prop_assert_eq!(n.changed, gaps.iter().filter(|g| **g > 0.0).count() as u64);
        prop_assert!(close(n.max_abs, gaps.iter().copied().fold(0.0, f64::max)));
        prop_assert!(close(n.mean_abs, gaps.iter().sum::<f64>() / count));
        prop_assert!(close(n.rms, (gaps.iter().map(|g| g * g).sum::<f64>() / count).sqrt()));
        prop_assert!(close(n.cosine, dot(&a, &b) / (dot(&a, &a).sqrt() * dot(&b, &b).sqrt())));
    }

    #[test]
    fn nothing_panics(name in "a.(safetensors|npy|npz)", mut bytes: Vec<u8>, at in 0usize..200, to: u8) {
        let _ = examine(name.as_bytes(), &bytes);
        for mut whole in [file(&[("a", &[1.0, 2.0])]), npz(&[("a.npy", npy("'<f4'", "False", "(1,)", &[0; 4]))], 0)] {
            let n = whole.len();
            whole[at % n] = to;
            let _ = examine(name.as_bytes(), &whole);
            whole.truncate(at);
            let _ = examine(name.as_bytes(), &whole);
        }
        bytes.truncate(3);
    }
}

/// A GGUF file of Q8_0 blocks of 32 numbers and a scale, and one of two F32 numbers.
fn gguf(blocks: &[[u8; 34]], numbers: [f32; 2]) -> Vec<u8> {
    let text = |t: &str| [&(t.len() as u64).to_le_bytes()[..], t.as_bytes()].concat();
    let row = |name: &str, count: u64, kind: u32, offset: u64| {
        let head = [
            text(name),
            1u32.to_le_bytes().to_vec(),
            count.to_le_bytes().to_vec(),
        ]
        .concat();
        [
            head,
            kind.to_le_bytes().to_vec(),
            offset.to_le_bytes().to_vec(),
        ]
        .concat()
    };
    let body = blocks.concat();
    let second = (body.len() as u64).next_multiple_of(32);
    let mut out = [
        b"GGUF\x03\0\0\0".to_vec(),
        2u64.to_le_bytes().to_vec(),
        0u64.to_le_bytes().to_vec(),
        row("q", 32 * blocks.len() as u64, 8, 0),
        row("f", 2, 0, second),
    ]
    .concat();
    out.resize(out.len().next_multiple_of(32), 0);
    let first = out.len();
    out.extend(body);
    out.resize(first + usize::try_from(second).unwrap(), 0);
    out.extend(numbers.iter().flat_map(|n| n.to_le_bytes()));
    out
}

#[test]
fn quantised_tensors_count_blocks() {
    let (a, b) = ([1u8; 34], [2u8; 34]);
    let old = gguf(&[a, a, a], [1.0, 2.0]);
    let new = gguf(&[a, b, a], [1.0, 4.0]);
    let found = changes(TensorFile::Gguf, &old, &new);
    assert_eq!(
        (found[1].name.as_str(), found[1].blocks),
        ("q", Some((1, 3)))
    );
    assert_eq!(found[0].numbers.unwrap().changed, 1);
    assert!(changes(TensorFile::Gguf, &old, &old).is_empty());
    for cut in 0..old.len() - 1 {
        let found = TensorFile::Gguf.diff(Some(&mut Cursor::new(&old[..cut])), None);
        assert!(found.is_err(), "{cut}");
    }
}

#[test]
fn initializers_of_onnx_are_tensors() {
    let field =
        |n: u8, body: &[u8]| [&[n << 3 | 2, u8::try_from(body.len()).unwrap()], body].concat();
    let file = |numbers: [f32; 2]| {
        let raw: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        let tensor = [&[8, 2, 16, 1][..], &field(8, b"w"), &field(9, &raw)].concat();
        [&[8, 9][..], &field(7, &field(5, &tensor))].concat()
    };
    let found = changes(TensorFile::Onnx, &file([1.0, 2.0]), &file([1.0, 3.0]));
    assert_eq!(found[0].new.as_ref().unwrap().to_string(), "float [2]");
    assert!(close(found[0].numbers.unwrap().max_abs, 1.0));
    assert!(examine(b"m.onnx", b"\x08\xff no model").note.is_some());
}

#[test]
fn checkpoints_of_pytorch_are_compared_without_loading_them() {
    let pickle = [
        b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storage".as_slice(),
        b"ctorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x02tQK\x00K\x02\x85K\x01\x85\x89Ntb",
    ]
    .concat();
    // `b` above stands where REDUCE must: replaced so that the text stays readable.
    let pickle = [&pickle[..pickle.len() - 1], b"Rs."].concat();
    let file = |numbers: [f32; 2], pickle: &[u8]| {
        let raw: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        npz(&[("m/data.pkl", pickle.to_vec()), ("m/data/0", raw)], 0)
    };
    let (old, new) = (file([1.0, 2.0], &pickle), file([1.0, 5.0], &pickle));
    let found = changes(TensorFile::Torch, &old, &new);
    assert_eq!((found.len(), found[0].name.as_str()), (1, "w"));
    assert_eq!(found[0].new.as_ref().unwrap().to_string(), "float32 [2]");
    assert!(close(found[0].numbers.unwrap().max_abs, 3.0));
    let cut = file([1.0, 2.0], &pickle[..pickle.len() - 3]);
    let note = examine(b"m.pt", &cut).note.unwrap();
    assert!(note.contains("its pickle can't be followed"), "{note}");
    let note = examine(b"m.pt", b"\x80\x02N.").note.unwrap();
    assert!(note.contains("PyTorch's old format"), "{note}");
}

#[test]
fn files_changed_in_different_tensors_are_merged() {
    let labels = Labels {
        ours: "o",
        base: "b",
        theirs: "t",
    };
    let base = file(&[("a", &[1.0]), ("b", &[2.0]), ("c", &[3.0])]);
    let ours = file(&[("a", &[9.0]), ("b", &[2.0]), ("c", &[3.0])]);
    let theirs = file(&[("new", &[7.0]), ("a", &[1.0]), ("b", &[8.0, 8.0])]);
    let driver = Driver::Tensors(TensorFile::Safetensors);
    let want = file(&[("a", &[9.0]), ("b", &[8.0, 8.0]), ("new", &[7.0])]);
    for (x, y) in [(&ours, &theirs), (&theirs, &ours)] {
        let merged = merge(driver, Some(&base), x, y, &labels);
        assert!(merged.conflicts.is_empty());
        assert!(changes(TensorFile::Safetensors, &merged.bytes, &want).is_empty());
    }
    let other = file(&[("a", &[5.0]), ("b", &[2.0]), ("c", &[3.0])]);
    assert_eq!(
        merge(driver, Some(&base), &ours, &other, &labels)
            .conflicts
            .len(),
        1
    );
}

const LABELS: Labels<'_> = Labels {
    ours: "o",
    base: "b",
    theirs: "t",
};

/// Merges in pieces, from both sides; the reason where somebody must decide.
fn joined(format: TensorFile, base: &[u8], ours: &[u8], theirs: &[u8]) -> Result<Vec<u8>, String> {
    let join = |sides: [&[u8]; 3]| {
        let mut out = Vec::new();
        let [mut b, mut o, mut t] = sides.map(Cursor::new);
        match format.join([&mut b, &mut o, &mut t], &mut out) {
            Ok(()) => Ok(out),
            Err(Stop::Open(why)) => {
                assert!(out.is_empty(), "{why}");
                Err(why)
            }
            Err(Stop::Failed(e)) => Err(e.to_string()),
        }
    };
    let done = join([base, ours, theirs]);
    assert_eq!(done, join([base, theirs, ours]));
    if let Ok(merged) = &done {
        let small = merge(Driver::Tensors(format), Some(base), ours, theirs, &LABELS);
        assert_eq!((&small.bytes, small.conflicts), (merged, vec![]));
        assert!(format.read(&mut Cursor::new(merged)).is_ok());
    }
    done
}

/// A checkpoint: a pickle that names tensors, storages, and what PyTorch writes beside them.
fn checkpoint(numbers: [f32; 2], pickle: &[u8], id: &str) -> Vec<u8> {
    let raw = |n: f32| n.to_le_bytes().to_vec();
    let members = [
        ("m/data.pkl", pickle.to_vec()),
        ("m/byteorder", b"little".to_vec()),
        ("m/data/0", raw(numbers[0])),
        ("m/data/1", raw(numbers[1])),
        ("m/version", b"3\n".to_vec()),
        ("m/.data/serialization_id", id.as_bytes().to_vec()),
    ];
    npz(&members, 0)
}

#[test]
fn storages_of_a_checkpoint_merge_where_its_pickle_is_the_same() {
    let tensor = |key: u8| {
        [
            b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x00".as_slice(),
            &[key],
            b"X\x03\x00\x00\x00cpuK\x01tQK\x00K\x01\x85K\x01\x85\x89NtR",
        ]
        .concat()
    };
    let pickle = [
        b"\x80\x02}(X\x01\x00\x00\x00w".as_slice(),
        &tensor(b'0'),
        b"X\x01\x00\x00\x00v",
        &tensor(b'1'),
        b"u.",
    ]
    .concat();
    let base = checkpoint([1.0, 2.0], &pickle, "1");
    let ours = checkpoint([5.0, 2.0], &pickle, "2");
    let theirs = checkpoint([1.0, 7.0], &pickle, "3");
    let merged = joined(TensorFile::Torch, &base, &ours, &theirs).unwrap();
    let both = checkpoint([5.0, 7.0], &pickle, "4");
    assert!(changes(TensorFile::Torch, &merged, &both).is_empty());
    let members = zip_members(&mut Cursor::new(&merged), merged.len() as u64).unwrap();
    for member in &members {
        let place = member_place(&mut Cursor::new(&merged), merged.len() as u64, member).unwrap();
        assert_eq!(place.0 % 64, 0, "{}", member.name);
        // What names all that was written at once would lie.
        assert!(!member.name.contains("serialization_id"));
    }
    let why = joined(
        TensorFile::Torch,
        &base,
        &ours,
        &checkpoint([6.0, 2.0], &pickle, "3"),
    );
    assert!(why.unwrap_err().contains("the same storages: `m/data/0`"));
    let other = [&pickle[..pickle.len() - 2], b"X\x01\x00\x00\x00eK\x01u."].concat();
    let why = joined(
        TensorFile::Torch,
        &base,
        &ours,
        &checkpoint([1.0, 7.0], &other, "3"),
    );
    assert!(why.unwrap_err().contains("its pickle says differs"));
}

#[test]
fn a_graph_that_one_side_changed_keeps_the_tensors_of_both() {
    let field =
        |n: u8, body: &[u8]| [&[n << 3 | 2, u8::try_from(body.len()).unwrap()], body].concat();
    let tensor = |name: &[u8], n: f32, more: &[u8]| {
        field(
            5,
            &[
                &[8, 1, 16, 1][..],
                &field(8, name),
                &field(9, &n.to_le_bytes()),
                more,
            ]
            .concat(),
        )
    };
    let file = |about: &[u8], w: f32, v: f32, more: &[u8]| {
        let graph = [
            field(2, b"g"),
            tensor(b"w", w, more),
            tensor(b"v", v, b""),
            field(10, about),
        ]
        .concat();
        [&[8, 9][..], &field(7, &graph), &field(2, b"producer")].concat()
    };
    let base = file(b"old", 1.0, 2.0, b"");
    let (ours, theirs) = (file(b"new", 1.0, 5.0, b""), file(b"old", 3.0, 2.0, b""));
    let merged = joined(TensorFile::Onnx, &base, &ours, &theirs).unwrap();
    assert_eq!(merged, file(b"new", 3.0, 5.0, b""));
    for (other, word) in [
        (file(b"else", 3.0, 2.0, b""), "both sides changed its graph"),
        (file(b"old", 1.0, 6.0, b""), "the same tensors: `v`"),
        (file(b"old", 1.0, 2.0, &field(13, b"")), "in other files"),
        (
            [file(b"old", 1.0, 2.0, b""), field(7, b"")].concat(),
            "two graphs",
        ),
        (b"\x08\x09".to_vec(), "no graph"),
    ] {
        let why = joined(TensorFile::Onnx, &base, &ours, &other).unwrap_err();
        assert!(why.contains(word), "{why}");
    }
}

#[test]
fn values_of_gguf_merge_beside_its_tensors() {
    let text = |t: &str| [&(t.len() as u64).to_le_bytes()[..], t.as_bytes()].concat();
    let file = |alignment: u32, name: &str, numbers: &[f32]| {
        let mut out = [
            b"GGUF\x03\0\0\0".to_vec(),
            2u64.to_le_bytes().to_vec(),
            2u64.to_le_bytes().to_vec(),
        ]
        .concat();
        out.extend(
            [
                text("general.alignment"),
                4u32.to_le_bytes().to_vec(),
                alignment.to_le_bytes().to_vec(),
            ]
            .concat(),
        );
        out.extend(
            [
                text("general.name"),
                8u32.to_le_bytes().to_vec(),
                text(name),
            ]
            .concat(),
        );
        let step = u64::from(alignment);
        for (i, tensor) in ["a", "b"].iter().enumerate() {
            out.extend(
                [
                    text(tensor),
                    1u32.to_le_bytes().to_vec(),
                    1u64.to_le_bytes().to_vec(),
                ]
                .concat(),
            );
            out.extend(0u32.to_le_bytes());
            out.extend((step * i as u64).to_le_bytes());
        }
        for n in numbers {
            out.resize(out.len().next_multiple_of(alignment as usize), 0);
            out.extend(n.to_le_bytes());
        }
        out.resize(out.len().next_multiple_of(alignment as usize), 0);
        out
    };
    let base = file(32, "m", &[1.0, 2.0]);
    // One aligns otherwise and says another name, the other trains.
    let (ours, theirs) = (file(64, "n", &[1.0, 2.0]), file(32, "m", &[4.0, 5.0]));
    let merged = joined(TensorFile::Gguf, &base, &ours, &theirs).unwrap();
    assert_eq!(merged, file(64, "n", &[4.0, 5.0]));
    let why = joined(TensorFile::Gguf, &base, &ours, &file(32, "q", &[1.0, 2.0])).unwrap_err();
    assert!(why.contains("the same values: `general.name`"), "{why}");
    let why = joined(
        TensorFile::Gguf,
        &base,
        &file(32, "m", &[9.0, 9.0]),
        &theirs,
    )
    .unwrap_err();
    assert!(why.contains("the same tensors: `a`, `b`"), "{why}");
}

#[test]
fn what_can_not_be_put_together_is_open() {
    let array = |n: f32| npy("'<f4'", "False", "(1,)", &n.to_le_bytes());
    let [b, o, t] = [1.0, 2.0, 3.0].map(array);
    assert!(
        joined(TensorFile::Npy, &b, &o, &t)
            .unwrap_err()
            .contains("one array")
    );
    let pack = |method, n| npz(&[("a.npy", array(n))], method);
    let why = joined(TensorFile::Npz, &pack(8, 1.0), &pack(8, 2.0), &pack(8, 3.0));
    assert!(why.unwrap_err().contains("compressed"));
    let texts = |value: &str, n: f32| {
        let header = format!(
            "{{\"__metadata__\":{{\"k\":\"{value}\"}},\"a\":{{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}}}"
        );
        with_header(&header, &n.to_le_bytes())
    };
    let format = TensorFile::Safetensors;
    let why = joined(format, &texts("1", 1.0), &texts("2", 1.0), &texts("3", 1.0)).unwrap_err();
    assert!(why.contains("changed `k` of its metadata"), "{why}");
    let merged = joined(format, &texts("1", 1.0), &texts("2", 1.0), &texts("1", 5.0)).unwrap();
    assert!(changes(format, &merged, &texts("2", 5.0)).is_empty());
}
