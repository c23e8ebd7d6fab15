//! Results of every form, as tensors.

use super::*;

#[test]
fn results_become_tensors() {
    let told = |value: Value| -> Value {
        let text = value.to_string();
        let (output, _) = write("y", text.as_bytes(), None, false).unwrap();
        serde_json::from_slice(&output).unwrap()
    };
    assert_eq!(
        told(json!([[1, 2], [3, 4]])),
        json!({"name": "y", "datatype": "INT64", "shape": [2, 2], "data": [1, 2, 3, 4]})
    );
    assert_eq!(told(json!([1, 2.5]))["datatype"], "FP64");
    assert_eq!(
        told(json!(true)),
        json!({"name": "y", "datatype": "BOOL", "shape": [1], "data": [true]})
    );
    assert_eq!(
        told(json!(["a", null])),
        json!({"name": "y", "datatype": "BYTES", "shape": [2], "data": ["a", "null"]})
    );
    assert_eq!(
        told(json!([[1], [2, 3]])),
        json!({"name": "y", "datatype": "BYTES", "shape": [2], "data": ["[1]", "[2,3]"]})
    );
    assert_eq!(told(json!([]))["shape"], json!([0]));
    // An element that is a list or an object is its text; what is uneven is a list of its elements.
    assert_eq!(
        told(json!([{"a": [1, "x"]}, {}]))["data"],
        json!(["{\"a\":[1,\"x\"]}", "{}"])
    );
    for (uneven, want) in [
        (json!([1, [2]]), json!(["1", "[2]"])),
        (json!([[1], 2]), json!(["[1]", "2"])),
        (json!([[1], []]), json!(["[1]", "[]"])),
        (json!([[], [1]]), json!(["[]", "[1]"])),
        (
            json!([[["a"]], [[["b"]]]]),
            json!(["[[\"a\"]]", "[[[\"b\"]]]"]),
        ),
    ] {
        let said = told(uneven.clone());
        assert_eq!(
            (&said["data"], &said["shape"]),
            (&want, &json!([2])),
            "{uneven}"
        );
    }
    for (odd, shape) in [
        ("[[],[]]", json!([2, 0])),
        ("[]", json!([0])),
        ("7", json!([1])),
    ] {
        let (output, _) = write("y", odd.as_bytes(), None, false).unwrap();
        let said: Value = serde_json::from_slice(&output).unwrap();
        assert_eq!(said["shape"], shape, "{odd}");
    }
    for (numbers, want) in [
        ("[1,18446744073709551615]", "FP64"),
        ("[1,true]", "BYTES"),
        ("[-1]", "INT64"),
    ] {
        let tensor = Tensor::of(numbers.as_bytes(), None).unwrap();
        assert_eq!(tensor.datatype, want, "{numbers}");
    }
    assert!(write("y", b"[1,", None, false).is_err());
    let (output, bytes) = write("y", b"[\"hi\"]", None, true).unwrap();
    let output: Value = serde_json::from_slice(&output).unwrap();
    assert_eq!(
        (bytes, &output["parameters"]["binary_data_size"]),
        (b"\x02\0\0\0hi".to_vec(), &json!(6))
    );
}

#[test]
fn an_object_is_its_fields() {
    let text = br#" {"a": [1, {"b": "]}"}], "c\"d": "x,y:\\", "e" : null, "f": {} } "#;
    let want: Vec<(String, &[u8])> = vec![
        ("a".into(), br#"[1, {"b": "]}"}]"#),
        ("c\"d".into(), br#""x,y:\\""#),
        ("e".into(), b"null"),
        ("f".into(), b"{}"),
    ];
    assert_eq!(fields(text), want);
    for none in [&b"{}"[..], b"[{\"a\": 1}]", b"\"{\"", b"", b"{\"a\": 1"] {
        assert!(fields(none).is_empty(), "{none:?}");
    }
}
