//! What is committed: made-up files that cost what real ones cost, the same ones every time.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::Outcome;

/// Numbers that look random and repeat from run to run (Vigna's SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in (0, 1].
    fn uniform(&mut self) -> f32 {
        ((self.next() >> 40) + 1) as f32 / (1u64 << 24) as f32
    }

    /// Two normal numbers (Box and Muller).
    fn normal(&mut self) -> [f32; 2] {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        let (sin, cos) = (std::f32::consts::TAU * self.uniform()).sin_cos();
        [radius * cos, radius * sin]
    }
}

/// Writes `count` files of log-normal sizes around 4 KB, 500 a folder; returns their bytes.
pub(crate) fn small_files(root: &Path, count: usize) -> Outcome<u64> {
    let mut random = Random(1);
    let mut sum = 0;
    for i in 0..count {
        let dir = root.join(format!("{:04}", i / 500));
        if i % 500 == 0 {
            std::fs::create_dir_all(&dir)?;
        }
        let size = (8.3 + 0.8 * random.normal()[0])
            .exp()
            .clamp(200.0, 40_000.0) as usize;
        let bytes: Vec<u8> = (0..size.div_ceil(8))
            .flat_map(|_| random.next().to_le_bytes())
            .collect();
        std::fs::write(dir.join(format!("{i:07}.bin")), &bytes[..size])?;
        sum += size as u64;
    }
    Ok(sum)
}

/// Changes ten files spread over the folders.
pub(crate) fn touch_ten(root: &Path, count: usize, round: usize) -> Outcome {
    if root.as_os_str().is_empty() {
        return Ok(());
    }
    for i in 0..10 {
        let number = i * (count / 10) + round;
        let path = root.join(format!("{:04}/{number:07}.bin", number / 500));
        std::fs::OpenOptions::new()
            .append(true)
            .open(path)?
            .write_all(b"changed")?;
    }
    Ok(())
}

const HIDDEN: u64 = 2048;
const INNER: u64 = 5632;

/// Names and numbers of elements of the tensors of a decoder of about so many gigabytes in bf16.
fn tensors(gigabytes: f64) -> Vec<(String, u64)> {
    let mut out = vec![("embed".to_owned(), 32_000 * HIDDEN)];
    let mut layer = 0;
    while out.iter().map(|t| t.1 * 2).sum::<u64>() < (gigabytes * 1e9) as u64 {
        for (name, elements) in [
            ("q", HIDDEN * HIDDEN),
            ("k", 256 * HIDDEN),
            ("v", 256 * HIDDEN),
            ("o", HIDDEN * HIDDEN),
            ("gate", INNER * HIDDEN),
            ("up", INNER * HIDDEN),
            ("down", HIDDEN * INNER),
            ("norm1", HIDDEN),
            ("norm2", HIDDEN),
        ] {
            out.push((format!("layers.{layer}.{name}"), elements));
        }
        layer += 1;
    }
    out
}

/// Writes a safetensors file of normal weights in bf16.
pub(crate) fn model(path: &Path, gigabytes: f64) -> Outcome {
    let tensors = tensors(gigabytes);
    let (mut header, mut at) = (serde_json::Map::new(), 0);
    for (name, elements) in &tensors {
        let end = at + elements * 2;
        let value =
            serde_json::json!({"dtype": "BF16", "shape": [elements], "data_offsets": [at, end]});
        header.insert(name.clone(), value);
        at = end;
    }
    let mut json = serde_json::to_vec(&header)?;
    json.resize(json.len().next_multiple_of(8), b' ');
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    out.write_all(&(json.len() as u64).to_le_bytes())?;
    out.write_all(&json)?;
    let mut random = Random(2);
    for _ in 0..at / 4 {
        write_pair(&mut out, &mut random, [0.0; 2], 0.02)?;
    }
    Ok(out.flush()?)
}

/// Writes two bf16 numbers: `base` plus normal noise.
fn write_pair(out: &mut impl Write, random: &mut Random, base: [f32; 2], scale: f32) -> Outcome {
    let noise = random.normal();
    for (base, noise) in base.into_iter().zip(noise) {
        let bits = (base + noise * scale).to_bits() >> 16;
        out.write_all(&(bits as u16).to_le_bytes())?;
    }
    Ok(())
}

/// Copies a model and moves every weight of its last two layers a little.
pub(crate) fn changed_copy(from: &Path, to: &Path) -> Outcome {
    std::fs::copy(from, to)?;
    let mut file = File::options().read(true).write(true).open(to)?;
    let mut len = [0; 8];
    file.read_exact(&mut len)?;
    let len = u64::from_le_bytes(len);
    let mut json = vec![0; usize::try_from(len)?];
    file.read_exact(&mut json)?;
    let header: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&json)?;
    let layer_of = |name: &str| {
        name.strip_prefix("layers.")?
            .split('.')
            .next()?
            .parse::<u64>()
            .ok()
    };
    let last = header.keys().filter_map(|n| layer_of(n)).max().unwrap_or(0);
    let mut random = Random(3);
    for (name, tensor) in &header {
        if layer_of(name).is_none_or(|l| l + 2 <= last) {
            continue;
        }
        let place = |i: usize| tensor["data_offsets"][i].as_u64().ok_or("no offset");
        let (start, end) = (place(0)?, place(1)?);
        let mut bytes = vec![0; usize::try_from(end - start)?];
        file.seek(SeekFrom::Start(8 + len + start))?;
        file.read_exact(&mut bytes)?;
        let mut changed = Vec::with_capacity(bytes.len());
        for pair in bytes.chunks_exact(4) {
            let number = |i: usize| {
                f32::from_bits(u32::from(u16::from_le_bytes([pair[i], pair[i + 1]])) << 16)
            };
            write_pair(&mut changed, &mut random, [number(0), number(2)], 1e-3)?;
        }
        file.seek(SeekFrom::Start(8 + len + start))?;
        file.write_all(&changed)?;
    }
    Ok(file.sync_all()?)
}

/// Writes `count` tiny files into so many directories; the first file has a fixed name.
pub(crate) fn many(dir: &Path, count: usize, directories: usize) -> Outcome {
    for n in 0..count {
        let below = match directories {
            1 => dir.join("all"),
            _ => dir.join(format!("d{:04}", n % directories)),
        };
        if n < directories {
            std::fs::create_dir_all(&below)?;
        }
        std::fs::write(below.join(format!("f{n:07}.txt")), format!("file {n}\n"))?;
    }
    std::fs::write(dir.join("changing.txt"), "0\n")?;
    Ok(())
}

/// Changes one file of what [`many`] wrote.
pub(crate) fn touch_one(dir: &Path, round: usize) -> Outcome {
    Ok(std::fs::write(
        dir.join("changing.txt"),
        format!("changed in round {round}\n"),
    )?)
}
