//! The vectors of `spec/vectors` for the operation log.

#![allow(clippy::unwrap_used, reason = "a test that can't go on panics")]

#[path = "../../modelv-core/tests/vectors/read.rs"]
mod read;

use modelv_repo::oplog::{OpLog, Target};
use serde_json::{Value, json};

use read::{Vector, check, load};

fn target(target: &Target) -> Value {
    match target {
        Target::Commit(id) => json!(["Commit", id.to_hex()]),
        Target::Symbolic(name) => json!(["Symbolic", name]),
        Target::Blob(id) => json!(["Blob", id.to_hex()]),
        Target::Run(id) => json!(["Run", id.to_hex()]),
        Target::Text(text) => json!(["Text", text]),
    }
}

fn read_log(vector: &Vector) -> Result<Value, String> {
    assert_eq!(vector.kind(), "oplog");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("oplog");
    std::fs::write(&path, vector.bytes()).unwrap();
    let log = OpLog::read(&path).map_err(|e| e.to_string())?;
    let refs: serde_json::Map<String, Value> = log
        .refs
        .iter()
        .map(|(name, t)| (name.clone(), target(t)))
        .collect();
    let (operations, tail) = (log.operations.len(), log.unfinished_bytes);
    Ok(json!({"operations": operations, "refs": refs, "tail": tail}))
}

#[test]
fn oplogs() {
    check(&load("oplog"), read_log);
}
