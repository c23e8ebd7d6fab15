//! What the codecs reach on one core: part of the size, and gigabytes a second each way, of this thread's
//! processor time: other work on the machine does not count.
//!
//! `cargo run --release -p modelv-store --example codecs -- FILE [WIDTH [SKIP]]` encodes the file in
//! blocks of 4 MiB; WIDTH (2, 4 or 8) says what numbers it holds from byte SKIP on.
#![allow(clippy::print_stdout)]

use std::time::Duration;

use modelv_store::codec::{Codec, Content, Width, decode, encode};

const BLOCK_BYTES: usize = 4 << 20;
const FILE_BYTES_MAX: usize = 512 << 20;

/// Time this thread has spent on a processor.
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split(' ').next().and_then(|n| n.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("name a file")?;
    let content = match args.next().as_deref() {
        None => Content::Unknown,
        Some("2") => Content::Numbers(Width::Two),
        Some("4") => Content::Numbers(Width::Four),
        Some("8") => Content::Numbers(Width::Eight),
        Some(other) => return Err(format!("no such width: {other}").into()),
    };
    let skip: usize = args.next().map_or(Ok(0), |s| s.parse())?;
    let bytes = std::fs::read(&path)?;
    let bytes = &bytes[skip.min(bytes.len())..bytes.len().min(skip + FILE_BYTES_MAX)];
    let rate =
        |since: Duration| bytes.len() as f64 / (processor_time() - since).as_secs_f64() / 1e9;
    for round in 1..=3 {
        let start = processor_time();
        let blocks: Vec<(Codec, Vec<u8>)> = bytes
            .chunks(BLOCK_BYTES)
            .map(|b| encode(b, content).unwrap_or_else(|| (Codec::Raw, b.to_vec())))
            .collect();
        let encoding = rate(start);
        let stored: usize = blocks.iter().map(|(_, b)| b.len()).sum();
        let ratio = stored as f64 / bytes.len().max(1) as f64;
        let start = processor_time();
        for (block, (codec, stored)) in bytes.chunks(BLOCK_BYTES).zip(blocks) {
            let plain = decode(codec, &stored, block.len())?;
            assert!(plain == block, "decoding gave other bytes");
        }
        let decoding = rate(start);
        let start = processor_time();
        for block in bytes.chunks(BLOCK_BYTES) {
            std::hint::black_box(blake3::hash(block));
        }
        println!(
            "{round}: ratio {ratio:.4}, encode {encoding:.2} GB/s, decode and compare {decoding:.2} GB/s, BLAKE3 {:.2} GB/s",
            rate(start)
        );
    }
    Ok(())
}
