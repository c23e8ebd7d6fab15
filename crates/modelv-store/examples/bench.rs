//! Storing and fetching a large file of weights against `dd conv=fsync` and `cp` of the same file in
//! the same run.
//!
//! `cargo run --release -p modelv-store --example bench -- DIR [ROUNDS]` works in `DIR`, which must be
//! on the disk that is asked about: it makes `model.safetensors` (2 GB of bf16) and
//! `model_ft.safetensors` (two of its layers changed) unless they are there. Medians of the rounds.
#![allow(clippy::print_stdout)]

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use modelv_core::id::BlobId;
use modelv_store::Store;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const MODEL_BYTES: u64 = 2_000_000_000;
const HIDDEN: u64 = 2048;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let dir = PathBuf::from(args.next().ok_or("name a folder")?);
    let rounds: usize = args.next().map_or(Ok(3), |n| n.parse())?;
    let model = dir.join("model.safetensors");
    let changed = dir.join("model_ft.safetensors");
    if !model.exists() || !changed.exists() {
        println!("making {} and a changed copy", model.display());
        make(&model, &changed)?;
    }
    let bytes = std::fs::metadata(&model)?.len();
    let mut rows: Vec<Row> = Vec::new();
    for _ in 0..rounds {
        round(&dir, &model, &changed, &mut rows)?;
    }
    println!(
        "{:<32}{:>9}{:>11}{:>14}  stored MB",
        "work", "seconds", "processor", "of its floor"
    );
    for row in &mut rows {
        println!("{}", row.line(bytes));
    }
    println!("peak memory {} MB", peak_memory_mb());
    Ok(())
}

/// A line of the table.
struct Row {
    name: &'static str,
    floor: Option<&'static str>,
    seconds: Vec<f64>,
    /// Seconds that processors worked for it, this program's and its children's.
    processor: Vec<f64>,
    /// Seconds of the floor in the same round.
    floors: Vec<f64>,
    stored: Option<u64>,
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

impl Row {
    fn line(&mut self, bytes: u64) -> String {
        let mut ratios: Vec<f64> = self
            .seconds
            .iter()
            .zip(&self.floors)
            .map(|(a, b)| a / b)
            .collect();
        let ratio = match self.floor {
            Some(_) => format!("{:.2}", median(&mut ratios)),
            None => String::new(),
        };
        let stored = self.stored.map_or(String::new(), |n| {
            format!("{:>10.1} ({:.4})", n as f64 / 1e6, n as f64 / bytes as f64)
        });
        let seconds = median(&mut self.seconds);
        let processor = median(&mut self.processor);
        format!(
            "{:<32}{seconds:>9.2}{processor:>11.2}{ratio:>14}{stored}",
            self.name
        )
    }
}

/// Wall clock and processor seconds.
type Took = (f64, f64);

fn note(
    rows: &mut Vec<Row>,
    name: &'static str,
    floor: Option<&'static str>,
    took: Took,
    stored: Option<u64>,
) {
    let last = |name: &str| {
        rows.iter()
            .find(|r| r.name == name)?
            .seconds
            .last()
            .copied()
    };
    let below = floor.and_then(last).unwrap_or(f64::NAN);
    let at = rows.iter().position(|r| r.name == name).unwrap_or_else(|| {
        rows.push(Row {
            name,
            floor,
            seconds: Vec::new(),
            processor: Vec::new(),
            floors: Vec::new(),
            stored,
        });
        rows.len() - 1
    });
    rows[at].seconds.push(took.0);
    rows[at].processor.push(took.1);
    rows[at].floors.push(below);
}

fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(Took, T)> {
    let (start, processor) = (Instant::now(), processor_seconds());
    let value = work()?;
    let took = (
        start.elapsed().as_secs_f64(),
        processor_seconds() - processor,
    );
    Ok((took, value))
}

/// Of this process and its children; the kernel counts hundredths.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let behind_name = stat.rsplit(')').next().unwrap_or_default();
    let fields = behind_name.split_whitespace().skip(11).take(4);
    let ticks: u64 = fields.filter_map(|n| n.parse::<u64>().ok()).sum();
    ticks as f64 / 100.0
}

fn run(program: &str, args: &[&str]) -> Result<()> {
    let status = Command::new(program).args(args).status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{program} failed").into())
    }
}

/// Reads a file once so that every contestant finds it in memory, and waits for the disk to rest.
fn settle(path: &Path) -> Result<()> {
    io::copy(&mut File::open(path)?, &mut io::sink())?;
    run("sync", &[])
}

const DD: &str = "dd conv=fsync";
const CP: &str = "cp";

fn round(dir: &Path, model: &Path, changed: &Path, rows: &mut Vec<Row>) -> Result<()> {
    let copy = dir.join("copy");
    let text = |p: &Path| p.to_string_lossy().into_owned();
    settle(model)?;
    let (from, to) = (format!("if={}", text(model)), format!("of={}", text(&copy)));
    let dd = ["bs=1M", "conv=fsync", "status=none", &from, &to];
    note(rows, DD, None, timed(|| run("dd", &dd))?.0, None);
    std::fs::remove_file(&copy)?;
    settle(model)?;
    let cp = timed(|| run("cp", &[&text(model), &text(&copy)]))?.0;
    note(rows, CP, None, cp, None);
    std::fs::remove_file(&copy)?;

    let home = dir.join("store");
    std::fs::create_dir(&home)?;
    let store = Store::init(&home)?;
    settle(model)?;
    let (seconds, (first, stored)) = timed(|| put(&store, model, None))?;
    note(rows, "store, durable", Some(DD), seconds, Some(stored));
    settle(changed)?;
    let (seconds, (_, stored)) = timed(|| put(&store, changed, Some(&first)))?;
    note(
        rows,
        "store the changed copy, durable",
        Some(DD),
        seconds,
        Some(stored),
    );
    let (seconds, _) = timed(|| put(&store, changed, Some(&first)))?;
    note(rows, "store it again", Some(DD), seconds, None);
    run("sync", &[])?;
    let store = Store::open(&home)?;
    let (seconds, ()) = timed(|| fetch(&store, &first, &copy))?;
    note(rows, "fetch", Some(CP), seconds, None);
    run("cmp", &[&text(model), &text(&copy)])?;
    std::fs::remove_file(&copy)?;
    std::fs::remove_dir_all(&home)?;
    Ok(())
}

fn put(store: &Store, path: &Path, base: Option<&BlobId>) -> Result<(BlobId, u64)> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let session = store.begin()?;
    let (id, _) = session.put_file(&mut file, size, base)?;
    Ok((id, session.finish()?.stored_bytes))
}

fn fetch(store: &Store, id: &BlobId, to: &Path) -> Result<()> {
    let out = File::create(to)?;
    store.fetch_blob(id, &|at, bytes| out.write_all_at(bytes, at))?;
    Ok(())
}

fn peak_memory_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    let kib = line.and_then(|l| l.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}

/// Names and shapes of a small language model.
fn tensors() -> Vec<(String, u64)> {
    let mut out = vec![("embed".to_owned(), 32_000 * HIDDEN)];
    let mut bytes = 2 * out[0].1;
    for layer in 0.. {
        if bytes >= MODEL_BYTES {
            break;
        }
        let shapes = [
            ("q", HIDDEN),
            ("k", 256),
            ("v", 256),
            ("o", HIDDEN),
            ("gate", 5632),
            ("up", 5632),
            ("down", 5632),
            ("norm", 1),
        ];
        for (name, rows) in shapes {
            out.push((format!("layers.{layer}.{name}"), rows * HIDDEN));
            bytes += 2 * rows * HIDDEN;
        }
    }
    out
}

/// Repeatable noise in the shape of a bell.
struct Weights(u64);

impl Weights {
    fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let parts = self.0.to_le_bytes().as_chunks::<2>().0.to_vec();
        let sum: f32 = parts
            .iter()
            .map(|p| f32::from(u16::from_le_bytes(*p)) / 65_536.0 - 0.5)
            .sum();
        sum * 0.035
    }
}

fn top_half(value: f32) -> [u8; 2] {
    ((value.to_bits() >> 16) as u16).to_le_bytes()
}

fn make(model: &Path, changed: &Path) -> Result<()> {
    let tensors = tensors();
    let mut at = 0;
    let mut rows = Vec::new();
    for (name, count) in &tensors {
        let end = at + 2 * count;
        rows.push(format!(
            r#""{name}":{{"dtype":"BF16","shape":[{count}],"data_offsets":[{at},{end}]}}"#
        ));
        at = end;
    }
    let header = format!("{{{}}}", rows.join(","));
    let mut out = BufWriter::with_capacity(1 << 20, File::create(model)?);
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    let mut weights = Weights(0x9e37_79b9_7f4a_7c15);
    for _ in 0..at / 2 {
        out.write_all(&top_half(weights.next()))?;
    }
    out.flush()?;
    std::fs::copy(model, changed)?;
    // The last two layers, moved by a twentieth.
    let tail: u64 = tensors
        .iter()
        .rev()
        .take(16)
        .map(|(_, count)| 2 * count)
        .sum();
    let mut file = File::options().read(true).write(true).open(changed)?;
    let mut bytes = vec![0; usize::try_from(tail)?];
    file.seek(SeekFrom::End(-i64::try_from(tail)?))?;
    io::Read::read_exact(&mut file, &mut bytes)?;
    for word in bytes.as_chunks_mut::<2>().0 {
        let old = f32::from_bits(u32::from(u16::from_le_bytes(*word)) << 16);
        *word = top_half(old + weights.next() / 20.0);
    }
    file.seek(SeekFrom::End(-i64::try_from(tail)?))?;
    file.write_all(&bytes)?;
    Ok(())
}
