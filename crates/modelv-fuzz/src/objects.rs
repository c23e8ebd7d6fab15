//! Canonical objects: what is read is written as the same bytes.

use modelv_core::canon::{self, Kind, Object};
use modelv_core::commit::{Commit, Recipe};
use modelv_core::env::Env;
use modelv_core::run::Run;
use modelv_core::tree::Node;
use modelv_repo::oplog::Operation;
use modelv_store::Cuts;

/// The body of an object: its header is put before it.
fn body<T: Object>(kind: Kind, data: &[u8]) {
    let whole = [b"MODELV", &[kind as u8, 1][..], data].concat();
    check::<T>(&whole);
    check::<T>(data);
}

fn check<T: Object>(bytes: &[u8]) {
    if let Ok(value) = canon::decode::<T>(bytes) {
        let again = canon::encode(&value);
        assert!(
            again.is_ok_and(|again| again == bytes),
            "written otherwise than it was read"
        );
    }
}

pub(crate) fn tree(data: &[u8]) {
    body::<Node>(Kind::Tree, data);
}

pub(crate) fn commit(data: &[u8]) {
    body::<Commit>(Kind::Commit, data);
}

pub(crate) fn run(data: &[u8]) {
    body::<Run>(Kind::Run, data);
}

pub(crate) fn env(data: &[u8]) {
    body::<Env>(Kind::Env, data);
}

pub(crate) fn recipe(data: &[u8]) {
    body::<Recipe>(Kind::Recipe, data);
}

pub(crate) fn cuts(data: &[u8]) {
    body::<Cuts>(Kind::Cuts, data);
}

pub(crate) fn operation(data: &[u8]) {
    body::<Operation>(Kind::Operation, data);
}
