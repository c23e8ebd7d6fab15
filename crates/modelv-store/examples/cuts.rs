//! What a changed file costs beside the one it came from, and how fast files are cut.
//!
//! `cargo run --release -p modelv-store --example cuts -- DIR [OLD NEW]…` stores each pair of files one
//! after the other in a new store in `DIR`, and prints by how much it grew. Without pairs it makes a
//! file of 1 GiB of noise in `DIR`, and copies of it with 1 MiB put in at nine places, each stored over it. The speed of
//! cutting is that of reading from memory, printed beside that of copying memory.
#![allow(clippy::print_stdout)]

use std::fs::File;
use std::hint::black_box;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use modelv_core::id::BlobId;
use modelv_store::Store;
use modelv_store::cut::{Cutter, sizes_for};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const FILE_BYTES: u64 = 1 << 30;
const INSERTED_BYTES: usize = 1 << 20;
const PLACES: u64 = 9;

fn main() -> Result<()> {
    let args: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let Some((dir, pairs)) = args.split_first() else {
        return Err("name a folder".into());
    };
    if pairs.is_empty() {
        insertions(dir)?;
        return speed();
    }
    let (pairs, []) = pairs.as_chunks::<2>() else {
        return Err("name pairs of files".into());
    };
    println!("{:>12}{:>12}{:>12}  new file", "bytes", "first", "grew");
    for [old, new] in pairs {
        let store = tempfile::tempdir_in(dir)?;
        let cost = Cost::new(store.path())?;
        let first = cost.add(old, None)?;
        let (grew, id) = (cost.add(new, Some(first.1))?, new.display());
        let bytes = std::fs::metadata(new)?.len();
        println!("{bytes:>12}{:>12}{:>12}  {id}", first.0, grew.0);
    }
    Ok(())
}

/// A store that tells by how much it grows.
struct Cost {
    store: Store,
    packs: PathBuf,
}

impl Cost {
    fn new(dir: &Path) -> Result<Self> {
        Ok(Self {
            store: Store::init(dir)?,
            packs: dir.join("packs"),
        })
    }

    fn size(&self) -> Result<u64> {
        let mut sum = 0;
        for entry in std::fs::read_dir(&self.packs)? {
            sum += entry?.metadata()?.len();
        }
        Ok(sum)
    }

    /// Bytes that the packs and their indexes grew by, and the file's id.
    fn add(&self, path: &Path, base: Option<BlobId>) -> Result<(u64, BlobId)> {
        let before = self.size()?;
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        let session = self.store.begin()?;
        let (id, _) = session.put_file(&mut file, size, base.as_ref())?;
        session.finish()?;
        Ok((self.size()? - before, id))
    }
}

/// Bytes that don't compress.
fn noise(seed: u64, out: &mut [u8]) {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(out);
}

/// Puts 1 MiB into a file of 1 GiB, at one place after the other.
fn insertions(dir: &Path) -> Result<()> {
    let old = dir.join("noise.bin");
    let mut block = vec![0; 1 << 20];
    if !old.exists() {
        let mut out = File::create(&old)?;
        for seed in 0..FILE_BYTES >> 20 {
            noise(seed, &mut block);
            out.write_all(&block)?;
        }
    }
    let mut inserted = vec![0; INSERTED_BYTES];
    noise(u64::MAX, &mut inserted);
    let place = tempfile::tempdir_in(dir)?;
    let cost = Cost::new(place.path())?;
    let (first, base) = cost.add(&old, None)?;
    println!("first: {first} bytes");
    let mut grown = Vec::new();
    for n in 0..PLACES {
        // The middle first, and no place at a round number.
        let at = (FILE_BYTES / 2 + n * (FILE_BYTES / PLACES) + n * 12_345) % FILE_BYTES;
        let new = dir.join("noise-inserted.bin");
        let (mut input, mut out) = (File::open(&old)?, File::create(&new)?);
        std::io::copy(&mut (&input).take(at), &mut out)?;
        out.write_all(&inserted)?;
        input.seek(SeekFrom::Start(at))?;
        std::io::copy(&mut input, &mut out)?;
        let grew = cost.add(&new, Some(base))?.0;
        println!("1 MiB at {at}: {:.3} MiB", mib(grew));
        grown.push(grew);
    }
    grown.sort_unstable();
    println!("median {:.3} MiB", mib(grown[grown.len() / 2]));
    Ok(())
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Cutting from memory against copying memory, best of five.
fn speed() -> Result<()> {
    let mut bytes = vec![0; 256 << 20];
    noise(1, &mut bytes);
    let mut copy = vec![0; bytes.len()];
    let rate = |seconds: f64| bytes.len() as f64 / seconds / 1e9;
    let best = |work: &mut dyn FnMut() -> Result<()>| -> Result<f64> {
        let mut best = f64::INFINITY;
        for _ in 0..5 {
            let start = Instant::now();
            work()?;
            best = best.min(start.elapsed().as_secs_f64());
        }
        Ok(best)
    };
    let copying = best(&mut || {
        copy.copy_from_slice(black_box(&bytes));
        black_box(&copy);
        Ok(())
    })?;
    for (name, size) in [("small", 1), ("large", u64::MAX)] {
        let cutting = best(&mut || {
            let mut cutter = Cutter::new(&bytes[..], sizes_for(size));
            let mut buffer = Vec::new();
            while let Some(chunk) = cutter.next_chunk(buffer)? {
                buffer = chunk.bytes;
            }
            Ok(())
        })?;
        println!("cutting, {name} chunks: {:.2} GB/s", rate(cutting));
    }
    println!("copying memory: {:.2} GB/s", rate(copying));
    Ok(())
}
