use std::io::Cursor;

use super::*;

fn reading(bytes: &[u8]) -> Reading {
    read(&mut Cursor::new(bytes), 0, bytes.len() as u64).unwrap()
}

fn globals(bytes: &[u8]) -> (Vec<String>, Option<String>) {
    let found = reading(bytes);
    (found.globals.into_iter().collect(), found.trouble)
}

fn short(text: &str) -> Vec<u8> {
    let len = u8::try_from(text.len()).unwrap();
    [&[0x8c, len], text.as_bytes()].concat()
}

#[test]
fn every_way_to_import_is_seen() {
    let system = vec!["os.system".to_owned()];
    let stack = [
        b"\x80\x04".as_slice(),
        &short("os"),
        &short("system"),
        b"\x93",
        &short("id"),
        b"\x85R.",
    ];
    // From the memo, with other text between the two names.
    let memo = [
        b"\x80\x04".as_slice(),
        &short("os"),
        b"\x94",
        &short("system"),
        b"\x94",
        &short("innocent"),
        b"0h\x00h\x01\x93",
        &short("id"),
        b"\x85R.",
    ];
    for bytes in [
        b"cos\nsystem\n(S'id'\ntR.".to_vec(),
        b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00id\x85R.".to_vec(),
        b"(S'id'\nios\nsystem\n.".to_vec(),
        b"(cos\nsystem\nS'id'\no.".to_vec(),
        b"\x80\x02cos\nsystem\n)\x81.".to_vec(),
        b"\x80\x04cos\nsystem\n)}\x92.".to_vec(),
        b"cos\nsystem\np0\n0g0\n(S'id'\ntR.".to_vec(),
        stack.concat(),
        memo.concat(),
    ] {
        assert_eq!(globals(&bytes), (system.clone(), None), "{bytes:?}");
    }
}

#[test]
fn what_cannot_be_followed_is_trouble_and_keeps_what_was_seen() {
    let cases: [(&[u8], &str); 12] = [
        (b"cos\nsystem\n(S'id'\ntR", "ends in the middle"),
        (b"", "ends in the middle"),
        (b"\x80\x09.", "unknown protocol"),
        (b"\x80\x02\xff.", "unknown instruction"),
        (b"0.", "empty stack"),
        (b"t.", "no mark"),
        (b"h\x07.", "never kept"),
        (b"\x80\x02\x82\x01.", "registered elsewhere"),
        (b"S'a'\nN\x93.", "makes while it runs"),
        (b"cbuiltins\ngetattr\n)R)R.", "makes while it runs"),
        (b"X\xff\xff\xff\xffab.", "ends in the middle"),
        (
            b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff.",
            "ends in the middle",
        ),
    ];
    for (bytes, part) in cases {
        let (_, trouble) = globals(bytes);
        let trouble = trouble.unwrap_or_else(|| panic!("{bytes:?} is fine"));
        assert!(trouble.contains(part), "{bytes:?}: {trouble}");
    }
    assert_eq!(globals(b"cos\nsystem\n(S'id'\ntR").0, ["os.system"]);
    // A name spelled with escapes is not taken for what it looks like.
    assert!(globals(b"S'o\\x73'\nS'system'\n\x93.").1.is_some());
}

#[test]
fn depth_and_circles_cost_no_more_than_their_bytes() {
    let deep = [b"\x80\x02)".as_slice(), &vec![0x85; 1 << 20], b"."].concat();
    assert_eq!(globals(&deep), (vec![], None));
    // A list that holds itself.
    let circle = reading(b"\x80\x02]q\x00h\x00a.");
    assert!(circle.trouble.is_none());
    assert!(tensors_of(&circle).is_empty());
    // Every value twice the one before: 2^60 when followed blindly.
    let step = b"q\x00h\x00\x86".repeat(60);
    let wide = [b"\x80\x02)".as_slice(), &step, b"."].concat();
    assert!(tensors_of(&reading(&wide)).is_empty());
    let marks = [vec![b'('; 3 << 20], b".".to_vec()].concat();
    assert!(globals(&marks).1.unwrap().contains("too many values"));
}

#[test]
fn a_checkpoint_tells_its_tensors() {
    // {"model": OrderedDict(w=tensor), "step": 3}, as torch.save writes it.
    let bytes = [
        b"\x80\x02}q\x00(X\x05\x00\x00\x00modelq\x01ccollections\nOrderedDict\nq\x02)Rq\x03".as_slice(),
        b"X\x01\x00\x00\x00wq\x04ctorch._utils\n_rebuild_tensor_v2\nq\x05((X\x07\x00\x00\x00storageq\x06",
        b"ctorch\nFloatStorage\nq\x07X\x01\x00\x00\x000q\x08X\x03\x00\x00\x00cpuq\tK\x06tq\nQK\x02K\x02K\x02\x86",
        b"q\x0bK\x02K\x01\x86q\x0c\x89h\x02)Rq\rtq\x0eRq\x0fsX\x04\x00\x00\x00stepK\x03u.",
    ]
    .concat();
    let found = reading(&bytes);
    assert_eq!(found.trouble, None);
    let tensors = tensors_of(&found);
    assert_eq!(tensors.len(), 1, "{tensors:?}");
    let want = TorchTensor {
        name: "model.w".into(),
        class: "Float".into(),
        storage: "0".into(),
        offset: 2,
        shape: vec![2, 2],
        stride: vec![2, 1],
    };
    assert_eq!(tensors[0], want);
    assert_eq!(found.end, bytes.len() as u64);
}

#[test]
fn arrays_of_joblib_are_stepped_over() {
    let text = |t: &str| {
        [
            b"X".as_slice(),
            &u32::try_from(t.len()).unwrap().to_le_bytes()[..],
            t.as_bytes(),
        ]
        .concat()
    };
    let array = |dtype: &str, data: &[u8]| {
        [
            b"\x80\x04".to_vec(),
            text("joblib.numpy_pickle"),
            text("NumpyArrayWrapper"),
            b"\x93)\x81}(".to_vec(),
            text("shape"),
            b"K\x02\x85".to_vec(),
            text("dtype"),
            b"cnumpy\ndtype\n".to_vec(),
            text(dtype),
            b"\x89\x88\x87R".to_vec(),
            text("numpy_array_alignment_bytes"),
            b"K\x10ub".to_vec(),
            data.to_vec(),
            b".".to_vec(),
        ]
        .concat()
    };
    // Two bytes of padding, two numbers of which one looks like the end.
    let numbers = array("f8", b"\x02xx........cos\nsyst");
    let (found, trouble) = globals(&numbers);
    assert_eq!(trouble, None, "{found:?}");
    assert_eq!(
        found,
        ["joblib.numpy_pickle.NumpyArrayWrapper", "numpy.dtype"]
    );
    // Objects are a pickle of their own.
    let objects = array("O8", b"cos\nsystem\n(S'id'\ntR.");
    assert!(globals(&objects).0.contains(&"os.system".to_owned()));
}
