//! Running a command line and taking its time and memory; tables of medians and ratios.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::Outcome;

/// How often the memory of a running command is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// One measurement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figure {
    /// Wall time in seconds.
    pub(crate) seconds: f64,
    /// Peak resident memory of the largest process, in bytes, as far as it was seen.
    pub(crate) peak_bytes: u64,
}

/// Runs `line` with `sh`, `$0` the binary and `$1`… the folders; fails if it fails.
pub(crate) fn measure(
    line: &str,
    binary: &Path,
    args: &[&Path],
    env: &[(&str, String)],
) -> Outcome<Figure> {
    let start = Instant::now();
    let mut child = Command::new("sh")
        .arg("-c")
        .arg(line)
        .arg(binary)
        .args(args)
        .envs(env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let done = std::sync::atomic::AtomicBool::new(false);
    let (output, peak_bytes) = std::thread::scope(|scope| {
        let pid = child.id();
        let done = &done;
        let watch = scope.spawn(move || {
            let mut peak = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                peak = peak.max(peak_of(pid));
                std::thread::sleep(LOOK);
            }
            peak
        });
        let mut said = String::new();
        if let Some(mut pipe) = child.stderr.take() {
            let _ = std::io::Read::read_to_string(&mut pipe, &mut said);
        }
        let status = child.wait();
        let seconds = start.elapsed().as_secs_f64();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        (
            status.map(|s| (s, said, seconds)),
            watch.join().unwrap_or(0),
        )
    });
    let (status, said, seconds) = output?;
    if !status.success() {
        return Err(format!("`{line}` failed: {said}").into());
    }
    Ok(Figure {
        seconds,
        peak_bytes,
    })
}

/// Largest peak among a process and those it started.
fn peak_of(pid: u32) -> u64 {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}"));
    let own = read("status").ok().and_then(|text| {
        let line = text.lines().find(|l| l.starts_with("VmHWM:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    });
    let children = read(&format!("task/{pid}/children")).unwrap_or_default();
    let below = children.split_whitespace().filter_map(|p| p.parse().ok());
    below
        .map(peak_of)
        .chain([own.unwrap_or(0) * 1024])
        .max()
        .unwrap_or(0)
}

/// Whether a program is there and says so.
pub(crate) fn succeeds(program: &str, args: &[&str]) -> bool {
    let run = Command::new(program)
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    run.is_ok_and(|s| s.success())
}

/// Sum of the sizes of all files below a folder.
pub(crate) fn bytes_below(dir: &Path) -> Outcome<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        sum += if meta.is_dir() {
            bytes_below(&entry.path())?
        } else {
            meta.len()
        };
    }
    Ok(sum)
}

/// Measurements by work (rows) and tool (columns).
pub(crate) struct Table {
    unit: &'static str,
    columns: Vec<&'static str>,
    rows: Vec<String>,
    cells: BTreeMap<(String, &'static str), Vec<Figure>>,
}

impl Table {
    pub(crate) fn new(unit: &'static str, columns: &[&'static str]) -> Self {
        Self {
            unit,
            columns: columns.to_vec(),
            rows: Vec::new(),
            cells: BTreeMap::new(),
        }
    }

    pub(crate) fn add(&mut self, row: &str, column: &'static str, figure: Figure) {
        if !self.rows.iter().any(|r| r == row) {
            self.rows.push(row.to_owned());
        }
        // What is known so far, should the rest fail.
        eprintln!("{row}, {column}: {:.3} s", figure.seconds);
        let cell = self.cells.entry((row.to_owned(), column)).or_default();
        cell.push(figure);
    }

    fn median(&self, row: &str, column: &'static str) -> Option<f64> {
        let cell = self.cells.get(&(row.to_owned(), column))?;
        let mut seconds: Vec<f64> = cell.iter().map(|f| f.seconds).collect();
        seconds.sort_by(f64::total_cmp);
        seconds.get(seconds.len() / 2).copied()
    }

    /// Medians; behind each other tool how much of its time the first one takes.
    pub(crate) fn print(&self) {
        print!("{:32}", self.unit);
        for column in &self.columns {
            print!("{column:>24}");
        }
        println!("{:>12}", "peak MB");
        for row in &self.rows {
            let own = self.columns.first().and_then(|c| self.median(row, c));
            print!("{row:32}");
            for (i, column) in self.columns.iter().enumerate() {
                let text = match (self.median(row, column), own) {
                    (Some(seconds), Some(own)) if i > 0 => {
                        format!("{seconds:.3} (ours {:.2} x)", own / seconds)
                    }
                    (Some(seconds), _) => format!("{seconds:.3}"),
                    (None, _) => "-".into(),
                };
                print!("{text:>24}");
            }
            let cell = self
                .columns
                .first()
                .and_then(|c| self.cells.get(&(row.clone(), c)));
            let peak = cell
                .and_then(|c| c.iter().map(|f| f.peak_bytes).max())
                .unwrap_or(0);
            println!("{:>12.0}", peak as f64 / 1e6);
        }
    }
}
