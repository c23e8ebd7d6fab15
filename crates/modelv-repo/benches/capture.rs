//! What capture costs and what it finds: the environment of an interpreter with many packages, described anew and
//! from the cache; and how often the rules for credentials speak up in code that holds none.
//!
//! ```sh
//! cargo bench -p modelv-repo --bench capture -- --python VENV/bin/python [--tree SITE-PACKAGES] [--show]
//! ```
//!
//! Every hit in the packages of an index is counted as wrong; `--show` prints each, so that it can be judged.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use modelv_repo::capture::env::Locks;
use modelv_repo::capture::{env, secrets};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// What a commit looks through: code, configuration and notebooks.
const ENDS: [&str; 22] = [
    "py", "pyi", "pyx", "js", "ts", "ipynb", "yaml", "yml", "json", "toml", "ini", "cfg", "conf",
    "sh", "html", "css", "c", "h", "cpp", "md", "txt", "rst",
];
const REPEATS: usize = 9;

fn main() -> Outcome {
    let (mut python, mut tree, mut show) = (None, None, false);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--python" => python = args.next().map(PathBuf::from),
            "--tree" => tree = args.next().map(PathBuf::from),
            "--show" => show = true,
            // cargo says so to every benchmark.
            "--bench" => {}
            other => return Err(format!("unknown argument {other}").into()),
        }
    }
    if let Some(python) = python {
        environment(&python)?;
    }
    tree.map_or(Ok(()), |tree| credentials(&tree, show))
}

fn median(mut work: impl FnMut() -> Outcome) -> Outcome<Duration> {
    let mut times = Vec::new();
    for _ in 0..REPEATS {
        let start = Instant::now();
        work()?;
        times.push(start.elapsed());
    }
    times.sort();
    Ok(times[times.len() / 2])
}

fn environment(python: &Path) -> Outcome {
    let dir = tempfile::tempdir()?;
    let cache = dir.path().join("envcache");
    let packages = env::capture(python, &Locks::none())?.packages.len();
    let anew = median(|| Ok(env::capture(python, &Locks::none()).map(drop)?))?;
    let start = median(|| Ok(env::interpreter(python).map(drop)?))?;
    let cached = || env::capture_cached(&cache, Some(python), Locks::none());
    cached()?;
    let warm = median(|| Ok(cached().map(drop)?))?;
    println!("environment of {packages} packages, medians of {REPEATS}:");
    println!("  described anew     {anew:>10.1?}  (of it the interpreter's own start {start:.1?})");
    println!("  from the cache     {warm:>10.1?}");
    Ok(())
}

fn credentials(tree: &Path, show: bool) -> Outcome {
    let (mut files, mut bytes, mut time) = (0u64, 0u64, Duration::ZERO);
    let mut by_rule: BTreeMap<&str, u64> = BTreeMap::new();
    let mut open = vec![tree.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir)? {
            let entry = entry?;
            let (path, kind) = (entry.path(), entry.file_type()?);
            if kind.is_dir() {
                open.push(path);
                continue;
            }
            let end = path.extension().and_then(|e| e.to_str()).unwrap_or("");
            if !kind.is_file() || !ENDS.contains(&end) {
                continue;
            }
            files += 1;
            bytes += entry.metadata()?.len();
            let start = Instant::now();
            let hits = secrets::scan_file(&path)?;
            time += start.elapsed();
            for hit in &hits {
                *by_rule.entry(hit.rule).or_default() += 1;
                if show {
                    let text = std::fs::read(&path)?;
                    let at = usize::try_from(hit.start)?;
                    let end = text[at..]
                        .iter()
                        .position(|b| *b == b'\n')
                        .map_or(text.len(), |n| at + n);
                    let from = at.saturating_sub(60);
                    let line =
                        String::from_utf8_lossy(&text[from..end.min(at + 60)]).replace('\n', "|");
                    println!("{} {}:{} {line}", hit.rule, path.display(), hit.line);
                }
            }
        }
    }
    let all: u64 = by_rule.values().sum();
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let rate = |n: u64| n as f64 * 10_000.0 / files.max(1) as f64;
    println!(
        "{files} files, {} MB in {time:.1?} on one core: {all} hits, {:.2} in 10,000 files",
        bytes >> 20,
        rate(all)
    );
    for (rule, n) in by_rule {
        println!("  {rule:24} {n:>5}  {:.2}", rate(n));
    }
    Ok(())
}
