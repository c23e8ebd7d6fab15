//! Models that adapters were merged into, stored over what they were merged into.

use std::io::Cursor;

use modelv_core::id::BlobId;

use crate::codec::Codec;
use crate::{Adapter, Stats, Store, Tag};

const ROWS: usize = 700;
const COLUMNS: usize = 1100;
const RANK: usize = 8;

/// How a tool merges.
#[derive(Clone, Copy)]
struct Tool {
    /// Formats of weights and factors.
    weights: &'static str,
    factors: &'static str,
    scale: f32,
    merge: fn(f32, f32, f32) -> f32,
}

fn bf16(value: f32) -> f32 {
    let bits = value.to_bits();
    f32::from_bits((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff_0000)
}

fn noise(seed: u64, count: usize, size: f32) -> Vec<f32> {
    let bytes = crate::tests::noise(seed, count * 8);
    let words = bytes.as_chunks::<8>().0;
    let sum = |w: &[u8; 8]| w.iter().map(|b| f32::from(*b) - 127.5).sum::<f32>();
    words.iter().map(|w| sum(w) / 200.0 * size).collect()
}

fn round(dtype: &str, values: &[f32]) -> Vec<f32> {
    match dtype {
        "BF16" => values.iter().map(|v| bf16(*v)).collect(),
        _ => values.to_vec(),
    }
}

fn safetensors(dtype: &str, tensors: &[(String, [usize; 2], Vec<f32>)]) -> Vec<u8> {
    let (mut rows, mut data) = (Vec::new(), Vec::new());
    for (name, [r, c], values) in tensors {
        let start = data.len();
        for value in values {
            match dtype {
                "BF16" => data.extend_from_slice(&value.to_le_bytes()[2..]),
                _ => data.extend_from_slice(&value.to_le_bytes()),
            }
        }
        let end = data.len();
        rows.push(format!(
            r#""{name}":{{"dtype":"{dtype}","shape":[{r},{c}],"data_offsets":[{start},{end}]}}"#
        ));
    }
    let json = format!("{{{}}}", rows.join(","));
    [&(json.len() as u64).to_le_bytes(), json.as_bytes(), &data].concat()
}

/// One layer's weights, its factors, and the weights with them merged. Sums are fused, as
/// processors make them.
struct Case {
    base: Vec<f32>,
    left: Vec<f32>,
    right: Vec<f32>,
}

impl Case {
    fn new(seed: u64, tool: &Tool) -> Self {
        Self {
            base: round(tool.weights, &noise(seed, ROWS * COLUMNS, 0.02)),
            left: round(tool.factors, &noise(seed + 1, ROWS * RANK, 0.01)),
            right: round(tool.factors, &noise(seed + 2, COLUMNS * RANK, 0.03)),
        }
    }

    fn merged(&self, tool: &Tool) -> Vec<f32> {
        let one = |i: usize| {
            let (row, column) = (i / COLUMNS, i % COLUMNS);
            let sum = (0..RANK).fold(0.0f32, |sum, k| {
                self.left[row * RANK + k].mul_add(self.right[k * COLUMNS + column], sum)
            });
            (tool.merge)(self.base[i], sum, tool.scale)
        };
        round(
            tool.weights,
            &(0..ROWS * COLUMNS).map(one).collect::<Vec<_>>(),
        )
    }

    fn adapter(&self, tool: &Tool) -> Vec<u8> {
        let factor = |side: &str, shape, values: &Vec<f32>| {
            (
                format!("base_model.model.q.lora_{side}.weight"),
                shape,
                values.clone(),
            )
        };
        let tensors = [
            factor("A", [RANK, COLUMNS], &self.right),
            factor("B", [ROWS, RANK], &self.left),
        ];
        safetensors(tool.factors, &tensors)
    }
}

fn model(tool: &Tool, values: &[f32], note: &str) -> Vec<u8> {
    let tensors = [
        ("q.weight".to_owned(), [ROWS, COLUMNS], values.to_vec()),
        (format!("{note}.bias"), [1, 10], vec![1.0; 10]),
    ];
    safetensors(tool.weights, &tensors)
}

fn fresh() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::init(dir.path()).unwrap();
    (dir, store)
}

/// Stores an adapter, and a model over another one, in one session.
fn put(
    store: &Store,
    adapter: Option<&[u8]>,
    model: &[u8],
    base: Option<&BlobId>,
) -> (BlobId, Stats) {
    let session = store.begin().unwrap();
    let mut adapters: Vec<Adapter> = Vec::new();
    if let Some(bytes) = adapter {
        let (id, _) = session
            .put_file(&mut Cursor::new(bytes), bytes.len() as u64, None)
            .unwrap();
        let config = br#"{"r": 8, "lora_alpha": 16}"#;
        adapters.extend(session.adapter(&id, Some(config)).unwrap());
        assert_eq!(adapters[0].len(), 1);
    }
    let size = model.len() as u64;
    let (id, _) = session
        .put_file_over(&mut Cursor::new(model), size, base, &adapters)
        .unwrap();
    // The session reads what it wrote over chunks that it wrote itself.
    let key = (Tag::Object(modelv_core::canon::Kind::Cuts).byte(), id.0);
    assert!(session.read(&key).unwrap().is_some());
    let stats = session.finish().unwrap();
    assert!(store.read_blob(&id, u64::MAX).unwrap() == model);
    (id, stats)
}

fn codecs(store: &Store, id: &BlobId) -> Vec<u8> {
    let chunks = store.cuts(id).unwrap().unwrap().chunks;
    let codec = |id: &[u8; 32]| {
        store
            .find(&(Tag::Chunk.byte(), *id))
            .unwrap()
            .unwrap()
            .1
            .codec
    };
    chunks.iter().map(|(id, _)| codec(&id.0)).collect()
}

fn problems(store: &Store) -> Vec<String> {
    store.verify(&mut |_, _| {}).unwrap().problems
}

#[test]
fn a_merged_adapter_costs_little_more_than_itself_whoever_merged_it() {
    let peft_on_a_processor = |w: f32, sum: f32, scale: f32| w + bf16(sum * scale);
    let tools = [
        Tool {
            weights: "BF16",
            factors: "BF16",
            scale: 2.0,
            merge: peft_on_a_processor,
        },
        // Factors in f32: added without rounding.
        Tool {
            weights: "BF16",
            factors: "F32",
            scale: 2.0,
            merge: |w, sum, scale| w + sum * scale,
        },
        // On a card every step is rounded.
        Tool {
            weights: "BF16",
            factors: "BF16",
            scale: 16.0 / 8f32.sqrt(),
            merge: |w, sum, scale| w + bf16(bf16(sum) * scale),
        },
        // A strength that nobody wrote down.
        Tool {
            weights: "BF16",
            factors: "F32",
            scale: -0.7,
            merge: |w, sum, scale| w + sum * scale,
        },
        Tool {
            weights: "F32",
            factors: "F32",
            scale: 2.0,
            merge: |w, sum, scale| w + sum * scale,
        },
        Tool {
            weights: "F32",
            factors: "BF16",
            scale: 2.0,
            merge: peft_on_a_processor,
        },
    ];
    for (number, tool) in tools.iter().enumerate() {
        let (_dir, store) = fresh();
        let case = Case::new(10 * number as u64, tool);
        let (base, _) = put(&store, None, &model(tool, &case.base, "old"), None);
        let (adapter, new) = (case.adapter(tool), model(tool, &case.merged(tool), "new"));
        let (id, stats) = put(&store, Some(&adapter), &new, Some(&base));
        let part = stats.stored_bytes as f64 / adapter.len() as f64;
        assert!(part < 1.1, "tool {number}: {part} of the adapter");
        assert!(codecs(&store, &id).contains(&(Codec::Predicted as u8)));
        assert!(problems(&store).is_empty());
    }
}

const TOOL: Tool = Tool {
    weights: "BF16",
    factors: "F32",
    scale: 2.0,
    merge: |w, sum, scale| w + sum * scale,
};

#[test]
fn an_adapter_that_is_trained_again_starts_from_the_same_base() {
    let (dir, store) = fresh();
    let first = Case::new(1, &TOOL);
    let (base, _) = put(&store, None, &model(&TOOL, &first.base, "0"), None);
    let mut last = base;
    for round in 1..4 {
        let mut case = Case::new(100 * round, &TOOL);
        case.base.clone_from(&first.base);
        let adapter = case.adapter(&TOOL);
        let new = model(&TOOL, &case.merged(&TOOL), &round.to_string());
        let (id, stats) = put(&store, Some(&adapter), &new, Some(&last));
        assert!(
            stats.stored_bytes < adapter.len() as u64 * 11 / 10,
            "{round}: {stats:?}"
        );
        last = id;
    }
    // Each names the base and its own adapter, and nothing is over another merge.
    for (chunk, _) in store.cuts(&last).unwrap().unwrap().chunks {
        for below in store.bases_of(&chunk).unwrap() {
            assert!(store.bases_of(&below).unwrap().is_empty());
        }
    }
    assert!(problems(&store).is_empty());
    // Without the adapters nothing of it can be read, and that is said.
    let packs = dir.path().join("packs");
    let small = std::fs::read_dir(&packs)
        .unwrap()
        .map(|e| e.unwrap().path());
    let small = small.filter(|p| std::fs::metadata(p).unwrap().len() < 200_000);
    for path in small.collect::<Vec<_>>() {
        std::fs::remove_file(path).unwrap();
    }
    let store = Store::open(dir.path()).unwrap();
    assert!(store.read_blob(&base, u64::MAX).is_ok());
    assert!(store.read_blob(&last, u64::MAX).is_err());
}

#[test]
fn merges_on_merges_stay_readable_however_many() {
    let (_dir, store) = fresh();
    let mut values = Case::new(1, &TOOL).base;
    let (mut last, whole) = put(&store, None, &model(&TOOL, &values, "0"), None);
    let mut is_cheap = Vec::new();
    for round in 1..8 {
        let mut case = Case::new(100 * round, &TOOL);
        case.base = values;
        values = case.merged(&TOOL);
        let new = model(&TOOL, &values, &round.to_string());
        let (id, stats) = put(&store, Some(&case.adapter(&TOOL)), &new, Some(&last));
        is_cheap.push(stats.stored_bytes < whole.stored_bytes / 4);
        last = id;
    }
    // Four steps, then one that is stored whole again.
    assert_eq!(is_cheap, [true, true, true, true, false, true, true]);
    assert!(problems(&store).is_empty());
}

#[test]
fn two_adapters_in_one_model_are_both_found() {
    let (_dir, store) = fresh();
    let one = Case::new(1, &TOOL);
    let mut two = Case::new(7, &TOOL);
    let (base, _) = put(&store, None, &model(&TOOL, &one.base, "0"), None);
    two.base = one.merged(&TOOL);
    let new = model(&TOOL, &two.merged(&TOOL), "2");
    let session = store.begin().unwrap();
    let mut adapters = Vec::new();
    for bytes in [two.adapter(&TOOL), one.adapter(&TOOL)] {
        let (id, _) = session
            .put_file(&mut Cursor::new(&bytes), bytes.len() as u64, None)
            .unwrap();
        adapters.extend(session.adapter(&id, None).unwrap());
    }
    session.finish().unwrap();
    let session = store.begin().unwrap();
    let size = new.len() as u64;
    let (id, _) = session
        .put_file_over(&mut Cursor::new(&new), size, Some(&base), &adapters)
        .unwrap();
    let stats = session.finish().unwrap();
    // Rounding between the two hides which came first: a little is left.
    assert!(stats.stored_bytes < size / 8, "{stats:?} of {size}");
    assert!(store.read_blob(&id, u64::MAX).unwrap() == new);
}

#[test]
fn what_is_no_adapter_is_no_help_and_no_harm() {
    let (_dir, store) = fresh();
    let session = store.begin().unwrap();
    let text = [&b"\x10\0\0\0\0\0\0\0{\"a\":"[..], b"no header of any kind"].concat();
    for bytes in [
        &b""[..],
        b"short",
        &text,
        &model(&TOOL, &Case::new(1, &TOOL).base, "x"),
    ] {
        let (id, _) = session
            .put_file(&mut Cursor::new(bytes), bytes.len() as u64, None)
            .unwrap();
        assert!(session.adapter(&id, Some(b"{not json")).unwrap().is_none());
    }
    assert!(session.adapter(&BlobId([9; 32]), None).unwrap().is_none());
    // Factors of another model of the same shape are not used.
    let (case, other) = (Case::new(1, &TOOL), Case::new(50, &TOOL));
    session.finish().unwrap();
    let (base, whole) = put(&store, None, &model(&TOOL, &case.base, "0"), None);
    let new = model(
        &TOOL,
        &noise(5, ROWS * COLUMNS, 0.02)
            .iter()
            .map(|v| bf16(*v))
            .collect::<Vec<_>>(),
        "1",
    );
    let (_, stats) = put(&store, Some(&other.adapter(&TOOL)), &new, Some(&base));
    assert!(stats.stored_bytes > whole.stored_bytes);
    assert!(problems(&store).is_empty());
}
