//! Files of a repository, and names and rules that people write.

use modelv_core::canon::{self, Kind};
use modelv_core::path::RepoPath;
use modelv_repo::oplog::OpLog;
use modelv_repo::worktree::{Rules, StatCache};
use modelv_repo::{capture, fuzz, names};

use crate::{take_u16, with_file};

pub(crate) fn oplog(data: &[u8]) {
    let _ = with_file(data, OpLog::read);
    let _ = with_file(&[b"MVOPLOG\x01", data].concat(), OpLog::read);
}

/// Operations with their lengths, as a chain whose hashes are right.
pub(crate) fn oplog_frames(mut data: &[u8]) {
    let (mut log, mut chain) = (b"MVOPLOG\x01".to_vec(), [0; 32]);
    let mut count = 0;
    while !data.is_empty() {
        let len = take_u16(&mut data).min(data.len());
        let (operation, rest) = data.split_at(len);
        data = rest;
        let kind = Kind::Operation;
        let body = [b"MODELV", &[kind as u8, 1][..], operation].concat();
        chain = canon::hash(kind, &[&chain[..], &body].concat());
        let len = u32::try_from(body.len()).unwrap_or(0);
        log.extend([len, !len].iter().flat_map(|n| n.to_le_bytes()));
        log.extend(body);
        log.extend(chain);
        count += 1;
    }
    if let Ok(read) = with_file(&log, OpLog::read) {
        assert!(read.unfinished_bytes == 0 && read.operations.len() == count);
    }
}

/// A cache whose hash is put right.
pub(crate) fn statcache(data: &[u8]) {
    let whole = [data, blake3::hash(data).as_bytes()].concat();
    let _ = with_file(&whole, StatCache::load);
    let _ = with_file(data, StatCache::load);
}

pub(crate) fn ref_name(data: &[u8]) {
    let name = String::from_utf8_lossy(data);
    if names::check("branch", &name).is_err() {
        return;
    }
    assert!(!name.starts_with(['-', '/', '.']) && !name.ends_with(['/', '.']));
    assert!(!name.contains("..") && !name.chars().any(char::is_control));
    assert!(name != names::HEAD && name != names::MERGE);
    let full = format!("{}{name}", names::HEADS);
    assert_eq!(names::short(&full), name);
    // It can stand in a tree of folders without leading out of it.
    assert!(
        name.split('/')
            .all(|part| !part.is_empty() && part != ".." && part != ".")
    );
}

pub(crate) fn repo_path(data: &[u8]) {
    let Ok(path) = RepoPath::new(data) else {
        return;
    };
    assert!(path.as_bytes() == data && data.len() <= 4096);
    for name in path.names() {
        assert!(!name.is_empty() && name.len() <= 255 && !name.contains(&0));
        assert!(name != b"." && name != b"..");
        assert!(
            !name.eq_ignore_ascii_case(b".mv"),
            "the repository's own folder"
        );
    }
    let joined = path.names().collect::<Vec<_>>().join(&b'/');
    assert_eq!(joined, data);
}

const PATHS: [&[u8]; 4] = [
    b"a",
    b"data/x.csv",
    b"a/b/c/d.py",
    b"models/\xff.safetensors",
];

pub(crate) fn rules(data: &[u8]) {
    let Ok(rules) = Rules::parse(&String::from_utf8_lossy(data)) else {
        return;
    };
    for path in PATHS.into_iter().filter_map(|p| RepoPath::new(p).ok()) {
        let _ = rules.classify(&path);
        let _ = rules.secrets().allows_path(&path);
    }
}

pub(crate) fn ignore(data: &[u8]) {
    with_file(&[], |file| {
        let folder = file.with_file_name("ignore");
        let written = std::fs::create_dir_all(&folder)
            .and_then(|()| std::fs::write(folder.join(".mvignore"), data));
        written.unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        for path in PATHS.into_iter().filter_map(|p| RepoPath::new(p).ok()) {
            let _ = fuzz::is_ignored(&folder, &path);
        }
    });
}

pub(crate) fn metrics(data: &[u8]) {
    let _ = with_file(data, capture::metrics::read);
    let text = String::from_utf8_lossy(data);
    let _ = capture::env::strip_credentials(&text);
    let _ = capture::env::record_sha256(&text, "a-1.dist-info");
    let _ = capture::secrets::mask_text(&text);
}

/// The state of a merge: what is read is written as it was.
pub(crate) fn merge_state(data: &[u8]) {
    let _ = fuzz::merge_state(data);
}
