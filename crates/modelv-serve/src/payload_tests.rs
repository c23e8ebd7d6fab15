//! Which inputs and outputs are logged, and what of them never.

use super::*;

#[test]
fn a_share_is_taken_and_named_fields_are_left_out() {
    let mut payloads = Payloads {
        fraction: 0.25,
        redact: vec!["email".into()],
    };
    let taken = (0..10_000).filter(|n| payloads.takes(*n)).count();
    assert!((2_300..2_700).contains(&taken), "{taken}");
    payloads.fraction = 0.0;
    assert!((0..10_000).all(|n| !payloads.takes(n)));
    payloads.fraction = 1.0;
    assert!((0..10_000).all(|n| payloads.takes(n)));
    let shown = payloads.shown(br#"{"inputs": [{"Email": {"a": 1}, "age": 7}]}"#, None);
    assert_eq!(shown, json!({"inputs": [{"Email": REDACTED, "age": 7}]}));
    let long = vec![b' '; BYTES_MAX + 1];
    assert_eq!(payloads.shown(&long, None), json!({"bytes": BYTES_MAX + 1}));
}

#[test]
fn a_value_is_left_out_where_its_name_stands_apart() {
    let payloads = Payloads {
        fraction: 1.0,
        redact: vec!["email".into()],
    };
    let split = |columns: Value, data: Value| json!({"columns": columns, "data": data});
    for (value, want) in [
        (
            split(
                json!(["age", "EMAIL"]),
                json!([[7, "a@b"], [8], [9, "c", 1]]),
            ),
            split(
                json!(["age", "EMAIL"]),
                json!([[7, REDACTED], [8], [9, REDACTED, 1]]),
            ),
        ),
        (
            json!({"dataframe_split": split(json!([["x", "email"]]), json!([["a@b"]]))}),
            json!({"dataframe_split": split(json!([["x", "email"]]), json!([[REDACTED]]))}),
        ),
        (
            split(json!(["email"]), json!(["a@b"])),
            split(json!(["email"]), json!([REDACTED])),
        ),
        (
            split(json!(["email"]), json!({"0": "a@b"})),
            split(json!(["email"]), json!(REDACTED)),
        ),
        (
            split(json!(["age"]), json!([[7]])),
            split(json!(["age"]), json!([[7]])),
        ),
    ] {
        assert_eq!(payloads.shown(value.to_string().as_bytes(), None), want);
    }
    let shown = |name| payloads.shown(b"{\"inputs\":[\"a@b\"]}", Some(name));
    assert_eq!(shown("Email"), json!(REDACTED));
    assert_eq!(shown("age"), json!({"inputs": ["a@b"]}));
}

/// What is logged, without its time.
fn written(work: impl FnOnce(&Payloads, &Arc<Log>)) -> Vec<Value> {
    #[derive(Clone, Default)]
    struct Out(Arc<std::sync::Mutex<Vec<u8>>>);
    impl std::io::Write for Out {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let out = Out::default();
    let log = Arc::new(Log::new(Box::new(out.clone()), "c"));
    let payloads = Payloads {
        fraction: 1.0,
        redact: vec!["email".into()],
    };
    work(&payloads, &log);
    log.flush();
    let text = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
    let lines = text.lines().map(|l| serde_json::from_str(l).unwrap());
    lines
        .map(|l: Value| json!([l["input"], l["output"], l["status"], l["error"]]))
        .collect()
}

#[test]
fn failures_and_streams_are_logged_with_what_became_of_them() {
    let lines = written(|payloads, log| {
        let entry = |input: &[u8]| Entry::new(payloads, log, ("c", "id"), input, None);
        entry(b"{\"email\":\"a@b\"}").write(422, None, None, Some("unfit"));
        entry(b"{\"email\":").write(400, None, None, Some("not_json"));
        let mut whole = entry(b"1").stream();
        whole.next(Some(Ok(b"{\"email\":1}")));
        whole.next(Some(Ok(b"2")));
        whole.next(None);
        drop(whole);
        let mut failed = entry(b"2").stream();
        failed.next(Some(Err(())));
        failed.next(None);
        drop(failed);
        let mut gone = entry(b"3").stream();
        gone.next(Some(Ok(b"2")));
        drop(gone);
    });
    assert_eq!(
        lines,
        [
            json!([{"email": REDACTED}, null, 422, "unfit"]),
            json!([{"bytes": 9}, null, 400, "not_json"]),
            json!([1, [{"email": REDACTED}, 2], 200, null]),
            json!([2, [], 200, "predict_failed"]),
            json!([3, [2], 200, "client_gone"]),
        ]
    );
}
