//! What a changed model costs over the one it came from, stored in a fresh store.
//!
//! `cargo run --release -p modelv-store --example deltas -- DIR [FILE...]` prints the part of the raw size
//! that a file takes, alone and over its base:
//! - moved: every weight changed; the size of the move is the standard deviation of the change as part
//!   of that of the tensor (a fine-tune at usual learning rates moves weights by 0.0001 to 0.01),
//! - sparse: one weight in a thousand is another one,
//! - LoRA: factors of rank 16 added to every matrix, as PEFT adds them; and the part of the adapter's
//!   size that adapter and merged file take together.
//!
//! FILE is a safetensors file of f32 weights; without it the weights are random. With three files, a
//! base, an adapter and what a tool merged them to, it is these that are measured.
#![allow(clippy::print_stdout)]

use std::io::Cursor;
use std::path::{Path, PathBuf};

use modelv_store::Store;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const MOVES: [f32; 7] = [1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 1e-1];
const RANK: usize = 16;
const ALPHA: f32 = 32.0;

/// A matrix, or a vector of one row.
struct Tensor {
    name: String,
    rows: usize,
    columns: usize,
    values: Vec<f32>,
}

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

fn scaled(seed: u64, count: usize, by: f32) -> Vec<f32> {
    noise(seed, count).into_iter().map(|v| v * by).collect()
}

/// Two matrices of 2048 × 2048.
fn random() -> Vec<Tensor> {
    let tensor = |n: u64| Tensor {
        name: format!("layers.{n}.q.weight"),
        rows: 2048,
        columns: 2048,
        values: scaled(0x9e37_79b9_7f4a_7c15 + n, 2048 * 2048, 0.02),
    };
    (0..2).map(tensor).collect()
}

/// The f32 tensors of a safetensors file.
fn real(path: &Path) -> Result<Vec<Tensor>> {
    let bytes = std::fs::read(path)?;
    let (len, rest) = bytes.split_first_chunk::<8>().ok_or("no header")?;
    let len = usize::try_from(u64::from_le_bytes(*len))?;
    let header: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(rest.get(..len).ok_or("no header")?)?;
    let mut out = Vec::new();
    for (name, row) in header.iter().filter(|(_, row)| row["dtype"] == "F32") {
        let at = |i: usize| row["data_offsets"][i].as_u64().unwrap_or(0) as usize;
        let data = rest[len..].get(at(0)..at(1)).ok_or("an offset outside")?;
        let values: Vec<f32> = data
            .as_chunks()
            .0
            .iter()
            .map(|w| f32::from_le_bytes(*w))
            .collect();
        let columns = row["shape"]
            .as_array()
            .and_then(|s| s.last()?.as_u64())
            .unwrap_or(1) as usize;
        out.push(Tensor {
            name: name.clone(),
            rows: values.len() / columns.max(1),
            columns,
            values,
        });
    }
    Ok(out)
}

fn f16(value: f32) -> u16 {
    // Weights are small and their last bits noise: cut off, not rounded.
    let bits = value.to_bits();
    let (sign, size) = ((bits >> 16 & 0x8000) as u16, bits & 0x7fff_ffff);
    if size < 0x3880_0000 {
        return sign | (f32::from_bits(size) * 16_777_216.0) as u16;
    }
    sign | ((size - (112 << 23)) >> 13) as u16
}

fn bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

fn encode(dtype: &str, values: &[f32]) -> Vec<u8> {
    match dtype {
        "BF16" => values.iter().flat_map(|w| bf16(*w).to_le_bytes()).collect(),
        "F16" => values.iter().flat_map(|w| f16(*w).to_le_bytes()).collect(),
        _ => values.iter().flat_map(|w| w.to_le_bytes()).collect(),
    }
}

fn safetensors(dtype: &str, tensors: &[Tensor]) -> Vec<u8> {
    let (mut rows, mut data) = (Vec::new(), Vec::new());
    for Tensor {
        name,
        rows: r,
        columns: c,
        values,
    } in tensors
    {
        let start = data.len();
        data.extend(encode(dtype, values));
        let end = data.len();
        rows.push(format!(
            r#""{name}":{{"dtype":"{dtype}","shape":[{r},{c}],"data_offsets":[{start},{end}]}}"#
        ));
    }
    let json = format!("{{{}}}", rows.join(","));
    let mut out = (json.len() as u64).to_le_bytes().to_vec();
    out.extend_from_slice(json.as_bytes());
    out.extend_from_slice(&data);
    out
}

/// Every tensor with `change` applied: its number, a weight and noise, both in the tensor's own
/// standard deviation.
fn changed(tensors: &[Tensor], change: impl Fn(f32, f32, usize) -> f32) -> Vec<Tensor> {
    let one = |(number, tensor): (usize, &Tensor)| {
        let count = tensor.values.len();
        let square: f64 = tensor.values.iter().map(|v| f64::from(v * v)).sum();
        let size = (square / count.max(1) as f64).sqrt() as f32;
        let noise = noise(0xd1b5_4a32_d192_ed03 + number as u64, count);
        let pairs = tensor.values.iter().zip(noise).enumerate();
        Tensor {
            name: tensor.name.clone(),
            values: pairs.map(|(i, (w, n))| change(*w, n * size, i)).collect(),
            ..*tensor
        }
    };
    tensors.iter().enumerate().map(one).collect()
}

/// Sizes in a fresh store: a base, an adapter, and a file over both.
fn measure(dir: &Path, base: &[u8], adapter: Option<&[u8]>, file: &[u8]) -> Result<[u64; 3]> {
    let home = dir.join("deltas");
    std::fs::create_dir(&home)?;
    let store = Store::init(&home)?;
    let session = store.begin()?;
    let (id, _) = session.put_file(&mut Cursor::new(base), base.len() as u64, None)?;
    let first = session.finish()?.stored_bytes;
    let session = store.begin()?;
    let mut adapters = Vec::new();
    if let Some(bytes) = adapter {
        let (id, _) = session.put_file(&mut Cursor::new(bytes), bytes.len() as u64, None)?;
        adapters.extend(session.adapter(&id, None)?);
    }
    let second = session.finish()?.stored_bytes;
    let session = store.begin()?;
    let size = file.len() as u64;
    let (new, _) = session.put_file_over(&mut Cursor::new(file), size, Some(&id), &adapters)?;
    let third = session.finish()?.stored_bytes;
    if store.read_blob(&new, size)? != file {
        return Err("another file came back".into());
    }
    std::fs::remove_dir_all(&home)?;
    Ok([first, second, third])
}

/// Factors for every matrix, and the matrices with them added: sums in fused f32, scaled, rounded to
/// the factors' format, added and rounded again.
fn lora(dtype: &str, tensors: &[Tensor]) -> (Vec<Tensor>, Vec<Tensor>) {
    let round = |v: f32| match dtype {
        "BF16" => f32::from_bits(u32::from(bf16(v)) << 16),
        _ => v,
    };
    let (mut factors, mut merged) = (Vec::new(), Vec::new());
    for (seed, tensor) in tensors.iter().enumerate() {
        let Tensor { rows, columns, .. } = *tensor;
        let mut values: Vec<f32> = tensor.values.iter().map(|v| round(*v)).collect();
        let module = tensor
            .name
            .strip_suffix(".weight")
            .filter(|_| rows.min(columns) > 2 * RANK);
        if let Some(module) = module {
            let side = |seed: usize, count, by| {
                let all = scaled(77 + seed as u64, count, by);
                all.into_iter().map(round).collect::<Vec<f32>>()
            };
            let (left, right) = (
                side(2 * seed, rows * RANK, 2e-4),
                side(2 * seed + 1, RANK * columns, 0.05),
            );
            for (row, values) in values.chunks_mut(columns).enumerate() {
                for (column, value) in values.iter_mut().enumerate() {
                    let sum = (0..RANK).fold(0.0f32, |sum, k| {
                        left[row * RANK + k].mul_add(right[k * columns + column], sum)
                    });
                    *value = round(*value + round(sum * (ALPHA / RANK as f32)));
                }
            }
            let factor = |side: &str, rows, columns, values| Tensor {
                name: format!("base_model.model.{module}.lora_{side}.weight"),
                rows,
                columns,
                values,
            };
            factors.push(factor("A", RANK, columns, right));
            factors.push(factor("B", rows, RANK, left));
        }
        merged.push(Tensor {
            name: tensor.name.clone(),
            values,
            ..*tensor
        });
    }
    (factors, merged)
}

/// Measures a merge that some tool made.
fn merged_by_a_tool(dir: &Path, base: &Path, adapter: &Path, merged: &Path) -> Result<()> {
    let (base, adapter) = (std::fs::read(base)?, std::fs::read(adapter)?);
    let merged = std::fs::read(merged)?;
    let [_, second, over] = measure(dir, &base, Some(&adapter), &merged)?;
    println!(
        "merged {:.5} of its size, with the adapter {:.3} of that",
        over as f64 / merged.len() as f64,
        (second + over) as f64 / adapter.len() as f64
    );
    Ok(())
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().ok_or("name a folder")?);
    let files: Vec<PathBuf> = arguments.map(PathBuf::from).collect();
    let tensors = match files.as_slice() {
        [] => random(),
        [path] => real(path)?,
        [base, adapter, merged] => return merged_by_a_tool(&dir, base, adapter, merged),
        _ => return Err("name no file, one or three".into()),
    };
    for dtype in ["BF16", "F16", "F32"] {
        let base = safetensors(dtype, &tensors);
        let part = |stored: u64| stored as f64 / base.len() as f64;
        let [alone, ..] = measure(&dir, &base, None, &base)?;
        println!("{dtype:>5}  the base alone {:.3}", part(alone));
        for size in MOVES {
            let moved = changed(&tensors, |w, n, _| w + size * n);
            let [.., over] = measure(&dir, &base, None, &safetensors(dtype, &moved))?;
            println!("{dtype:>5}  moved by {size:<8} {:.3}", part(over));
        }
        let sparse = changed(&tensors, |w, n, i| {
            if i.wrapping_mul(0x9e37_79b1) >> 5 & 1023 == 0 {
                n
            } else {
                w
            }
        });
        let [.., over] = measure(&dir, &base, None, &safetensors(dtype, &sparse))?;
        println!("{dtype:>5}  sparse {:.5}", part(over));
        if dtype == "F16" {
            continue;
        }
        let (factors, merged) = lora(dtype, &tensors);
        let adapter = safetensors(dtype, &factors);
        let merged = safetensors(dtype, &merged);
        let [_, second, over] = measure(&dir, &base, Some(&adapter), &merged)?;
        println!(
            "{dtype:>5}  LoRA merged {:.5}, with its adapter {:.3} of that",
            part(over),
            (second + over) as f64 / adapter.len() as f64
        );
    }
    Ok(())
}
