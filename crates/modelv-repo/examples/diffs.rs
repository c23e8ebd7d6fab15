//! Measures differences beside what has to be done anyway, in one run.
//!
//! `cargo run --release -p modelv-repo --example diffs -- MODELV [OLD.safetensors NEW.safetensors]`, where MODELV is
//! the binary of the command line, built with the same profile. Text: `modelv diff` against `git diff
//! --no-index` of the same two versions, once as one large file of which every hundredth line is
//! changed, once as many small files. Tensors: their difference against reading both files. Figures
//! are medians of five, taken in turns.

#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use modelv_repo::core::driver::{Source, TensorFile};

type Failure = Box<dyn std::error::Error>;

const ROUNDS: usize = 5;
const LINES: usize = 400_000;
const FILES: usize = 5000;

/// Code as people write it: lines repeat, and so do blocks.
fn code(lines: usize, seed: usize, changed: bool) -> String {
    let mut out = String::new();
    for n in 0..lines {
        let k = (n * 7 + seed) % 9973;
        let edited = if changed && n % 100 == 50 { "_new" } else { "" };
        let _ = match n % 12 {
            0 => writeln!(out, "def step_{k}{edited}(batch, model, optimizer):"),
            1 => writeln!(
                out,
                "    \"\"\"One step of the training loop, number {k}{edited}.\"\"\""
            ),
            2 => writeln!(out, "    if batch is None{edited}:"),
            3 => writeln!(out, "        return None"),
            4 => writeln!(out, "    x, y = batch[{}], batch[{}]{edited}", k % 4, k % 3),
            5 => writeln!(out, "    loss = model(x{edited}).sub(y).pow(2).mean()"),
            6 => writeln!(out, "    optimizer.zero_grad()"),
            7 => writeln!(out, "    loss.backward(){edited}"),
            8 => writeln!(out, "    for p in model.parameters({edited:?}):"),
            9 => writeln!(out, "        p.grad.clamp_(-{k}e-3, {k}e-3)"),
            10 => writeln!(out, "    optimizer.step(){edited}"),
            _ => writeln!(out),
        };
    }
    out
}

fn run(program: &str, root: &Path, args: &[&str]) -> Result<f64, Failure> {
    let out = tempfile::tempfile()?;
    let clock = Instant::now();
    let status = Command::new(program)
        .args(args)
        .current_dir(root)
        .stdin(Stdio::null())
        .stdout(out)
        .status()?;
    let taken = clock.elapsed().as_secs_f64() * 1e3;
    // One says by 1 that they differ.
    match status.code() {
        Some(0 | 1) => Ok(taken),
        _ => Err(format!("{program} {args:?}: {status}").into()),
    }
}

/// Medians of two ways of doing something, in turns; the first round warms caches.
fn medians(mut each: impl FnMut() -> Result<[f64; 2], Failure>) -> Result<[f64; 2], Failure> {
    let mut figures: [Vec<f64>; 2] = Default::default();
    for round in 0..=ROUNDS {
        let found = each()?;
        if round > 0 {
            figures[0].push(found[0]);
            figures[1].push(found[1]);
        }
    }
    Ok(figures.map(|mut list| {
        list.sort_by(f64::total_cmp);
        list[ROUNDS / 2]
    }))
}

/// The same two versions as two folders for Git, and as a commit and a working tree for us.
fn text(name: &str, modelv: &str, files: usize, lines: usize) -> Result<(), Failure> {
    let dir = tempfile::tempdir()?;
    let write = |at: &str, changed: bool| -> Result<usize, Failure> {
        let folder = dir.path().join(at);
        std::fs::create_dir_all(&folder)?;
        let mut bytes = 0;
        for n in 0..files {
            let text = code(lines, n, changed);
            bytes += text.len();
            std::fs::write(folder.join(format!("f{n}.py")), text)?;
        }
        Ok(bytes)
    };
    write("old", false)?;
    let bytes = write("new", true)?;
    let repo = dir.path().join("repo");
    std::fs::create_dir(&repo)?;
    write("repo", false)?;
    for args in [
        &["init"][..],
        &["config", "user.name", "Ada"],
        &["config", "user.email", "ada@example.org"],
        &["commit", "-m", "old"],
    ] {
        run(modelv, &repo, args)?;
    }
    write("repo", true)?;
    // The stat cache trusts no file that was written a moment ago.
    std::thread::sleep(std::time::Duration::from_millis(50));
    let git = ["diff", "--no-index", "--no-color", "old", "new"];
    let [ours, theirs] = medians(|| {
        Ok([
            run(modelv, &repo, &["diff", "--no-pager"])?,
            run("git", dir.path(), &git)?,
        ])
    })?;
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let speed = bytes as f64 / 1e3 / ours;
    println!(
        "{name:22} modelv {ours:8.1} ms ({speed:.0} MB/s)  git {theirs:8.1} ms  ratio {:.2}",
        ours / theirs
    );
    Ok(())
}

fn read_whole(path: &str) -> Result<(), Failure> {
    let (mut file, mut buffer) = (File::open(path)?, vec![0; 1 << 20]);
    while file.read(&mut buffer)? > 0 {}
    Ok(())
}

fn tensors(old: &str, new: &str) -> Result<(), Failure> {
    let mut differ = 0;
    let [ours, reading] = medians(|| {
        let clock = Instant::now();
        let (mut a, mut b) = (File::open(old)?, File::open(new)?);
        let changes = TensorFile::Safetensors.diff(
            Some(&mut a as &mut dyn Source),
            Some(&mut b as &mut dyn Source),
        )?;
        differ = changes.len();
        let ours = clock.elapsed().as_secs_f64() * 1e3;
        let clock = Instant::now();
        read_whole(old)?;
        read_whole(new)?;
        Ok([ours, clock.elapsed().as_secs_f64() * 1e3])
    })?;
    println!(
        "{differ} tensors differ    diff {ours:8.1} ms  reading both {reading:8.1} ms  ratio {:.2}",
        ours / reading
    );
    Ok(())
}

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some((modelv, files)) = args.split_first() else {
        return Err("usage: diffs MODELV [OLD.safetensors NEW.safetensors]".into());
    };
    let modelv = std::path::absolute(modelv)?.display().to_string();
    text("one large text", &modelv, 1, LINES)?;
    text("many small texts", &modelv, FILES, LINES / FILES)?;
    if let [old, new] = files {
        tensors(old, new)?;
    }
    Ok(())
}
