//! Merged models from the working tree to a clone.

use std::path::PathBuf;

use modelv_core::tree::Mode;
use modelv_store::remote::RemoteOptions;

use super::*;
use crate::commit::CommitOptions;
use crate::ctx::Ctx;
use crate::remote::{CloneOptions, PushOptions, RemoteInfo};
use crate::repo::Repo;
use crate::worktree::{Ingredient, SnapFile};

const SIDE: usize = 900;
const RANK: usize = 8;

fn bf16(value: f32) -> f32 {
    let bits = value.to_bits();
    f32::from_bits((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff_0000)
}

/// Repeatable numbers in the shape of a bell.
fn noise(mut state: u64, count: usize, size: f32) -> Vec<f32> {
    let mut one = || {
        let mut sum = -6.0;
        for _ in 0..3 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            for part in state.to_le_bytes().as_chunks::<2>().0 {
                sum += f32::from(u16::from_le_bytes(*part)) / 65_536.0;
            }
        }
        bf16(sum * size)
    };
    (0..count).map(|_| one()).collect()
}

fn safetensors(tensors: &[(&str, usize, &[f32])]) -> Vec<u8> {
    let (mut rows, mut data) = (Vec::new(), Vec::new());
    for (name, columns, values) in tensors {
        let (start, lines) = (data.len(), values.len() / columns);
        data.extend(
            values
                .iter()
                .flat_map(|v| [v.to_le_bytes()[2], v.to_le_bytes()[3]]),
        );
        let end = data.len();
        rows.push(format!(
            r#""{name}":{{"dtype":"BF16","shape":[{lines},{columns}],"data_offsets":[{start},{end}]}}"#
        ));
    }
    let json = format!("{{{}}}", rows.join(","));
    [&(json.len() as u64).to_le_bytes(), json.as_bytes(), &data].concat()
}

/// An adapter, and `base` with it merged as PEFT does on a processor: summed and scaled in f32,
/// rounded, added, rounded.
fn train(seed: u64, base: &[f32]) -> (Vec<u8>, Vec<f32>) {
    let (left, right) = (
        noise(seed, SIDE * RANK, 0.01),
        noise(seed + 99, SIDE * RANK, 0.03),
    );
    let one = |i: usize| {
        let (row, column) = (i / SIDE, i % SIDE);
        let sum = (0..RANK).fold(0.0f32, |sum, k| {
            left[row * RANK + k].mul_add(right[k * SIDE + column], sum)
        });
        bf16(base[i] + bf16(sum * 2.0))
    };
    let merged = (0..base.len()).map(one).collect();
    let adapter = safetensors(&[
        ("base_model.model.q.lora_A.weight", SIDE, &right),
        ("base_model.model.q.lora_B.weight", RANK, &left),
    ]);
    (adapter, merged)
}

fn put(repo: &Repo, path: &str, bytes: &[u8]) {
    let path = repo.root().join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// Commits, and gives the bytes of packs that came.
fn commit(repo: &mut Repo, message: &str) -> u64 {
    let packs = |repo: &Repo| -> u64 {
        let all = std::fs::read_dir(repo.dir().join("packs")).unwrap();
        let all = all
            .map(|e| e.unwrap())
            .filter(|e| e.path().extension() == Some(OsStr::new("pack")));
        all.map(|e| e.metadata().unwrap().len()).sum()
    };
    let before = packs(repo);
    let options = CommitOptions {
        message: message.into(),
        author: Some("Ada <ada@example.org>".into()),
        ..CommitOptions::default()
    };
    repo.commit(&options, &Ctx::quiet()).unwrap();
    packs(repo) - before
}

#[test]
fn a_merged_model_costs_its_adapter_and_reaches_a_clone() {
    let dir = tempfile::tempdir().unwrap();
    let mut repo = Repo::init(&dir.path().join("a")).unwrap();
    put(&repo, "modelv.toml", b"[env]\ncapture = \"none\"\n");
    let weights = noise(0x9e37_79b9_7f4a_7c15, SIDE * SIDE, 0.02);
    put(
        &repo,
        "models/base.safetensors",
        &safetensors(&[("q.weight", SIDE, &weights)]),
    );
    commit(&mut repo, "the base");
    // Beside the base under another name, then trained again, then in place of the base.
    for (seed, path) in [
        (3, "models/merged.safetensors"),
        (5, "models/merged.safetensors"),
        (7, "models/base.safetensors"),
    ] {
        let (adapter, merged) = train(seed << 40, &weights);
        put(&repo, "models/lora/adapter_model.safetensors", &adapter);
        put(
            &repo,
            "models/lora/adapter_config.json",
            br#"{"r": 8, "lora_alpha": 16}"#,
        );
        put(&repo, path, &safetensors(&[("q.weight", SIDE, &merged)]));
        let came = commit(&mut repo, path);
        let limit = adapter.len() as u64 * 12 / 10;
        assert!(
            came <= limit,
            "{path}: {came} bytes for an adapter of {}",
            adapter.len()
        );
    }
    assert!(
        repo.store
            .verify(&mut |_, _| {})
            .unwrap()
            .problems
            .is_empty()
    );
    let info = RemoteInfo {
        name: "origin".into(),
        url: format!("file://{}", dir.path().join("remote").display()),
        options: RemoteOptions::default(),
    };
    repo.add_remote(&info).unwrap();
    repo.push(&info, &PushOptions::default(), &Ctx::quiet())
        .unwrap();
    for (name, only) in [("all", vec![]), ("part", vec![Ingredient::Model])] {
        let options = CloneOptions {
            only,
            ..CloneOptions::default()
        };
        let there = dir.path().join(name);
        let clone = Repo::clone_from(&info.url, &there, &options, "clone", &Ctx::quiet()).unwrap();
        for file in ["models/base.safetensors", "models/merged.safetensors"] {
            let read = |root: PathBuf| std::fs::read(root.join(file)).unwrap();
            assert!(
                read(there.clone()) == read(dir.path().join("a")),
                "{name} {file}"
            );
        }
        assert!(
            clone
                .repo
                .store
                .verify(&mut |_, _| {})
                .unwrap()
                .problems
                .is_empty()
        );
    }
}

#[test]
fn files_are_known_by_their_names() {
    for name in [
        "adapter_model.safetensors",
        "my-LoRA.safetensors",
        "pytorch_lora_weights.safetensors",
    ] {
        assert!(is_adapter(name.as_bytes()), "{name}");
    }
    for name in [
        "model.safetensors",
        "adapter_model.bin",
        "adapter_config.json",
        ".safetensors",
        "",
    ] {
        assert!(!is_adapter(name.as_bytes()), "{name}");
    }
}

#[test]
fn a_file_comes_from_its_path_or_from_one_as_large() {
    let path = |p: &str| RepoPath::new(p).unwrap();
    let file = |size, n| SnapFile {
        ingredient: Ingredient::Model,
        mode: Mode::File,
        size,
        blob: BlobId([n; 32]),
    };
    let head: Files = [
        (path("a/model.safetensors"), file(6400, 1)),
        (path("b/other.safetensors"), file(6401, 2)),
        (path("b/model.safetensors"), file(6450, 3)),
        (path("c/model.gguf"), file(6400, 4)),
    ]
    .into();
    let found = |p: &str, size| before(&head, &path(p), size).map(|b| b.0[0]);
    assert_eq!(found("b/other.safetensors", 9), Some(2));
    assert_eq!(found("new/model.safetensors", 6400), Some(1));
    assert_eq!(found("new/model.safetensors", 6449), Some(3));
    assert_eq!(found("new/merged.safetensors", 6402), Some(2));
    assert_eq!(found("new/model.safetensors", 9000), None);
    assert_eq!(found("new/model", 6400), None);
}
