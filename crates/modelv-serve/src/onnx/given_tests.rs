//! Bodies as tensors, and what is none.

use super::*;

fn slot(name: &str, kind: Kind, dims: &[Option<usize>]) -> Slot {
    Slot {
        name: name.into(),
        kind,
        dims: dims.to_vec(),
        classes: Vec::new(),
    }
}

#[test]
fn lists_become_tensors_of_the_kind_that_is_taken() {
    let x = [slot("x", Kind::Float, &[None, Some(2)])];
    let want = Tensor::new(vec![2, 2], Data::Float(vec![1.0, 2.5, -3.0, 4e9])).unwrap();
    for body in [
        "[[1, 2.5], [-3, 4000000000]]",
        "{\"inputs\": [[1, 2.5], [-3, 4e9]]}",
        "{\"x\": [[1.0, 2.5], [-3, 4e9]], \"else\": {\"a\": []}}",
        "{\"else\": 1, \"inputs\": {\"x\": [[1, 2.5], [-3, 4e9]]}}",
    ] {
        assert_eq!(read(body.as_bytes(), &x), Ok(vec![want.clone()]), "{body}");
    }
    let empty = Tensor::new(vec![0, 2], Data::Float(vec![])).unwrap();
    assert_eq!(read(b"[]", &x), Ok(vec![empty]));
    let several = [
        slot("n", Kind::Uint8, &[]),
        slot("t", Kind::Text, &[None]),
        slot("b", Kind::Bool, &[None]),
    ];
    let body = b"{\"b\": [true, false], \"n\": 255, \"t\": [\"a\\n\", \"\"]}";
    let want = [
        (vec![], Data::Uint8(vec![255])),
        (vec![2], Data::Text(vec!["a\n".into(), String::new()])),
        (vec![2], Data::Bool(vec![true, false])),
    ];
    let want = want.map(|(dims, data)| Tensor::new(dims, data).unwrap());
    assert_eq!(read(body, &several), Ok(want.to_vec()));
}

#[test]
fn what_is_none_is_said() {
    let x = [slot("x", Kind::Int8, &[None, None])];
    for (body, want) in [
        ("[[1, 2], [3]]", "different lengths"),
        ("[[1], 2]", "not nested evenly"),
        ("[1, [2]]", "not nested evenly"),
        ("[[], [1]]", "different lengths"),
        ("[[1, \"a\"]]", "several types"),
        ("[[1, null]]", "null"),
        ("[[{}]]", "map"),
        ("[[200]]", "200 is no INT8"),
        ("[[0.5]]", "0.5 is no INT8"),
        ("[[true]]", "true is no INT8"),
        ("null", "null"),
        ("{}", "`x` of the inputs is missing"),
        ("{\"inputs\": {\"y\": 1}}", "no input `y`"),
        ("{\"x\": [[1], [2, 3]]}", "`x`: the lists"),
    ] {
        let said = read(body.as_bytes(), &x).unwrap_err();
        assert!(
            said.contains(want) && !said.contains("line"),
            "{body}: {said}"
        );
    }
    let float = [slot("x", Kind::Float, &[])];
    assert!(read(b"1e39", &float).unwrap_err().contains("is no FP32"));
    let deep = "[".repeat(100) + &"]".repeat(100);
    assert!(
        read(deep.as_bytes(), &x)
            .unwrap_err()
            .contains("not nested evenly")
    );
}
