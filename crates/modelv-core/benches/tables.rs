//! Two CSV files of ten million rows, a thousand of them changed: rows compared by key, beside the
//! time pandas takes to read both and compare, turn and turn about.
//!
//! ```sh
//! cargo bench -p modelv-core --bench tables -- [--rows 10000000] [--runs 3] [--python PYTHON] [--dir DIR]
//! ```
//!
//! PYTHON must have pandas. Needs about a gigabyte of room in DIR.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use modelv_core::driver::{Change, Driver, Source, Spill, diff_tables};

const PANDAS: &str = "
import resource, sys, time
import pandas
begin = time.perf_counter()
old, new = (pandas.read_csv(path, index_col='id') for path in sys.argv[1:])
both = old.index.intersection(new.index)
changed = (old.loc[both] != new.loc[both]).any(axis=1).sum()
added, removed = len(new.index.difference(old.index)), len(old.index.difference(new.index))
took = time.perf_counter() - begin
print(added, removed, changed, f'{took:.2f} s', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, 'MiB')
";

/// Nothing is put aside where a thousand rows differ.
struct Nothing;

impl Spill for Nothing {
    fn put(&mut self, _: usize, _: usize, _: &[u8]) -> io::Result<()> {
        Err(io::Error::other(
            "more rows differ than memory is meant for",
        ))
    }

    fn take(&mut self, _: usize, _: usize) -> io::Result<Vec<u8>> {
        Ok(Vec::new())
    }
}

struct Options {
    rows: u64,
    runs: usize,
    python: PathBuf,
    dir: PathBuf,
}

fn options() -> Options {
    let mut out = Options {
        rows: 10_000_000,
        runs: 3,
        python: "python3".into(),
        dir: std::env::temp_dir(),
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().unwrap();
        match arg.as_str() {
            "--rows" => out.rows = value().parse().unwrap(),
            "--runs" => out.runs = value().parse().unwrap(),
            "--python" => out.python = value().into(),
            "--dir" => out.dir = value().into(),
            _ => {}
        }
    }
    out
}

/// Rows of a number, a float, a word and a date. Every `step`th row of the changed file has another
/// float, of another length.
fn write(path: &Path, rows: u64, step: Option<u64>) {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path).unwrap());
    writeln!(out, "id,score,label,day").unwrap();
    for i in 0..rows {
        let mut score = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        if step.is_some_and(|step| i % step == step / 2) {
            score += 1_000_000_000;
        }
        let (label, day) = (
            ["cat", "dog", "bird"][usize::try_from(i % 3).unwrap()],
            i % 28 + 1,
        );
        writeln!(out, "{i},{score}.5,{label},2024-01-{day:02}").unwrap();
    }
    out.flush().unwrap();
}

/// Peak of memory that is our own, in MiB.
fn peak() -> u64 {
    let mut text = String::new();
    File::open("/proc/self/status")
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    let line = text.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        / 1024
}

fn ours(old: &Path, new: &Path) -> f64 {
    let begin = Instant::now();
    let (mut a, mut b) = (File::open(old).unwrap(), File::open(new).unwrap());
    let sides: [Option<&mut dyn Source>; 2] = [Some(&mut a), Some(&mut b)];
    let changes = diff_tables(Driver::Table(','), None, sides, &mut Nothing).unwrap();
    let took = begin.elapsed().as_secs_f64();
    let keyed = changes.iter().find(|c| matches!(c, Change::Keyed { .. }));
    println!("modelv: {keyed:?} {took:.2} s, {} MiB", peak());
    assert_eq!(a.stream_position().unwrap(), a.metadata().unwrap().len());
    took
}

fn main() {
    let options = options();
    let (old, new) = (
        options.dir.join("tables-old.csv"),
        options.dir.join("tables-new.csv"),
    );
    write(&old, options.rows, None);
    write(&new, options.rows, Some((options.rows / 1000).max(1)));
    for _ in 0..options.runs {
        ours(&old, &new);
        let done = Command::new(&options.python)
            .args(["-c", PANDAS])
            .args([&old, &new])
            .output()
            .unwrap();
        print!(
            "pandas (added removed changed): {}",
            String::from_utf8_lossy(&done.stdout)
        );
        if !done.status.success() {
            println!("{}", String::from_utf8_lossy(&done.stderr));
        }
    }
    std::fs::remove_file(old).unwrap();
    std::fs::remove_file(new).unwrap();
}
