//! What a full fine-tune costs over its base: every weight moved a little, stored in a fresh store.
//!
//! `cargo run --release -p modelv-store --example deltas -- DIR` prints, for bf16 and f32, the part of
//! the raw size that the moved file takes, over the size of the move (standard deviation of the change
//! as part of that of the weights; a fine-tune at usual learning rates moves them by 0.0001 to 0.01).
#![allow(clippy::print_stdout)]

use std::io::Cursor;
use std::path::{Path, PathBuf};

use modelv_store::Store;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const WEIGHTS: usize = 8 << 20;
const MOVES: [f32; 7] = [1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 1e-1];

/// Repeatable noise in the shape of a bell, of standard deviation one.
fn noise(mut state: u64, count: usize) -> Vec<f32> {
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
        sum
    };
    (0..count).map(|_| one()).collect()
}

fn safetensors(dtype: &str, weights: &[f32]) -> Vec<u8> {
    let data: Vec<u8> = match dtype {
        "BF16" => weights
            .iter()
            .flat_map(|w| ((w.to_bits() >> 16) as u16).to_le_bytes())
            .collect(),
        _ => weights.iter().flat_map(|w| w.to_le_bytes()).collect(),
    };
    let end = data.len();
    let json =
        format!(r#"{{"w":{{"dtype":"{dtype}","shape":[{WEIGHTS}],"data_offsets":[0,{end}]}}}}"#);
    let mut out = (json.len() as u64).to_le_bytes().to_vec();
    out.extend_from_slice(json.as_bytes());
    out.extend_from_slice(&data);
    out
}

/// Parts of the raw size: the base, and the moved file over it.
fn measure(dir: &Path, base: &[u8], moved: &[u8]) -> Result<(f64, f64)> {
    let home = dir.join("deltas");
    std::fs::create_dir(&home)?;
    let store = Store::init(&home)?;
    let part = |stored: u64, of: usize| stored as f64 / of as f64;
    let session = store.begin()?;
    let (id, _) = session.put_file(&mut Cursor::new(base), base.len() as u64, None)?;
    let first = part(session.finish()?.stored_bytes, base.len());
    let session = store.begin()?;
    session.put_file(&mut Cursor::new(moved), moved.len() as u64, Some(&id))?;
    let second = part(session.finish()?.stored_bytes, moved.len());
    std::fs::remove_dir_all(&home)?;
    Ok((first, second))
}

fn main() -> Result<()> {
    let dir = PathBuf::from(std::env::args().nth(1).ok_or("name a folder")?);
    let weights = noise(0x9e37_79b9_7f4a_7c15, WEIGHTS);
    let change = noise(0xd1b5_4a32_d192_ed03, WEIGHTS);
    let scaled: Vec<f32> = weights.iter().map(|w| w * 0.02).collect();
    for dtype in ["BF16", "F32"] {
        let base = safetensors(dtype, &scaled);
        for size in MOVES {
            let pairs = weights.iter().zip(&change);
            let moved: Vec<f32> = pairs.map(|(w, c)| (w + size * c) * 0.02).collect();
            let (alone, over) = measure(&dir, &base, &safetensors(dtype, &moved))?;
            println!("{dtype:>5}  move {size:<8}  alone {alone:.3}  over its base {over:.3}");
        }
    }
    Ok(())
}
