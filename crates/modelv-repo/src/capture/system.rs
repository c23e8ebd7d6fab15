//! What the machine does while a run goes on: processor, memory, disks and accelerators, looked at every few
//! seconds by a thread of its own and noted as metric series. A run that is shorter than that has none, and
//! waits for nothing. Must never fail a run: what can't be read is left out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use modelv_core::value::Value;

use crate::error::{Error, Result};
use crate::repo::Repo;
use crate::run::Journal;

/// Names of these metrics begin so.
pub const PREFIX: &str = "system.";
/// Where people say how often.
pub(crate) const KEY: &str = "run.system-metrics";
const EVERY: Duration = Duration::from_secs(5);
/// Shortest and longest time between two looks, in seconds.
const SECONDS: std::ops::RangeInclusive<f64> = 0.1..=86_400.0;
/// A program that takes longer to tell of accelerators is not asked again.
const TOOL_TIME_MAX: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(20);
const SECTOR_BYTES: f64 = 512.0;

/// Set and told when it is to end.
type Stop = Arc<(Mutex<bool>, Condvar)>;

/// Looks at the machine until it is dropped.
#[derive(Debug)]
pub(crate) struct Sampler {
    stop: Stop,
    thread: Option<JoinHandle<()>>,
    /// A forked child does not have the thread.
    process: u32,
}

impl Drop for Sampler {
    fn drop(&mut self) {
        let thread = self.thread.take();
        if self.process != std::process::id() {
            return;
        }
        *self.stop.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.1.notify_all();
        // A panic there costs points of the machine, nothing else.
        let _ = thread.map(JoinHandle::join);
    }
}

impl Repo {
    /// How often the machine is looked at, as configured; `None`: never.
    ///
    /// # Errors
    /// What is configured is no such time.
    pub(crate) fn sampling(&self) -> Result<Option<Duration>> {
        match self.config(KEY) {
            Some(text) => parse_every(&text),
            None => Ok(Some(EVERY)),
        }
    }

    /// Begins to look at the machine for the run with this folder.
    ///
    /// # Errors
    /// As [`Repo::sampling`].
    pub(crate) fn sampler(&self, folder: &Path) -> Result<Option<Sampler>> {
        let Some(every) = self.sampling()? else {
            return Ok(None);
        };
        let stop = Stop::default();
        let (theirs, folder) = (Arc::clone(&stop), folder.to_owned());
        let thread = std::thread::Builder::new()
            .name("modelv-system".into())
            .spawn(move || sample(&folder, every, &theirs));
        Ok(thread.ok().map(|thread| Sampler {
            stop,
            thread: Some(thread),
            process: std::process::id(),
        }))
    }
}

/// Reads what is configured: seconds, or `off`.
pub(crate) fn parse_every(text: &str) -> Result<Option<Duration>> {
    if text == "off" {
        return Ok(None);
    }
    let seconds = text.parse().ok().filter(|s| SECONDS.contains(s));
    let seconds = seconds.map(|s| Some(Duration::from_secs_f64(s)));
    seconds.ok_or_else(|| {
        let reason = format!("`{KEY}` is a number of seconds from 0.1 on, or `off`");
        Error::invalid("configuration value", text, reason)
    })
}

fn sample(folder: &Path, every: Duration, stop: &Stop) {
    let mut before = Counters::now();
    let mut tool = Tool::find();
    let mut journal: Option<Journal> = None;
    let mut is_done = stop.0.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let waited = stop.1.wait_timeout_while(is_done, every, |done| !*done);
        is_done = waited.unwrap_or_else(PoisonError::into_inner).0;
        if *is_done {
            return;
        }
        drop(is_done);
        let now = Counters::now();
        let mut points = now.since(&before);
        before = now;
        if let Some(found) = &tool {
            match found.ask(stop) {
                Some(told) => points.extend(told),
                None => tool = None,
            }
        }
        if journal.is_none() {
            journal = Journal::open(folder).ok();
        }
        for (name, value) in points {
            let name = format!("{PREFIX}{name}");
            let noted = journal
                .as_ref()
                .map(|j| j.metric(&name, &Value::Float(value), None));
            if !matches!(noted, Some(Ok(()))) {
                return;
            }
        }
        is_done = stop.0.lock().unwrap_or_else(PoisonError::into_inner);
    }
}

/// What the system counts, and when.
struct Counters {
    at: Instant,
    /// Ticks of all processors: busy, and all.
    cpu: Option<(f64, f64)>,
    /// Bytes in use.
    memory: Option<f64>,
    /// Bytes that were read and written.
    disks: Option<(f64, f64)>,
}

impl Counters {
    fn now() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).ok();
        let is_disk = |name: &str| {
            let is_made_of_others = ["loop", "ram", "zram", "dm-", "md"]
                .iter()
                .any(|p| name.starts_with(p));
            !is_made_of_others && Path::new("/sys/block").join(name).exists()
        };
        Self {
            at: Instant::now(),
            cpu: read("/proc/stat").and_then(|t| cpu(&t)),
            memory: read("/proc/meminfo").and_then(|t| memory(&t)),
            disks: read("/proc/diskstats").map(|t| disks(&t, &is_disk)),
        }
    }

    fn since(&self, before: &Self) -> BTreeMap<String, f64> {
        let mut out = BTreeMap::new();
        if let (Some((busy, all)), Some((busy_before, all_before))) = (self.cpu, before.cpu)
            && all > all_before
        {
            let share = 100.0 * (busy - busy_before) / (all - all_before);
            out.insert("cpu".to_owned(), tenths(share));
        }
        out.extend(self.memory.map(|used| ("memory".to_owned(), used)));
        let seconds = self.at.duration_since(before.at).as_secs_f64();
        if let (Some((read, written)), Some((read_before, written_before))) =
            (self.disks, before.disks)
            && seconds > 0.0
        {
            out.insert(
                "io.read".into(),
                ((read - read_before) / seconds).round().max(0.0),
            );
            out.insert(
                "io.write".into(),
                ((written - written_before) / seconds).round().max(0.0),
            );
        }
        out
    }
}

fn tenths(percent: f64) -> f64 {
    (percent.clamp(0.0, 100.0) * 10.0).round() / 10.0
}

/// Ticks of all processors: busy, and all.
fn cpu(stat: &str) -> Option<(f64, f64)> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    // The last two are parts of the first.
    let ticks: Vec<f64> = line
        .split_whitespace()
        .take(8)
        .map_while(|t| t.parse().ok())
        .collect();
    let all: f64 = ticks.iter().sum();
    let idle: f64 = ticks.iter().skip(3).take(2).sum();
    (ticks.len() >= 4).then_some((all - idle, all))
}

/// Bytes in use.
fn memory(meminfo: &str) -> Option<f64> {
    let field = |name: &str| -> Option<f64> {
        let line = meminfo
            .lines()
            .find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix("kB")?.trim().parse().ok()
    };
    Some((field("MemTotal")? - field("MemAvailable")?) * 1024.0)
}

/// Bytes that were read from disks and written to them.
fn disks(diskstats: &str, is_disk: &dyn Fn(&str) -> bool) -> (f64, f64) {
    let sectors = |line: &str| -> Option<(f64, f64)> {
        let fields: Vec<&str> = line.split_whitespace().collect();
        is_disk(fields.get(2)?).then_some(())?;
        Some((fields.get(5)?.parse().ok()?, fields.get(9)?.parse().ok()?))
    };
    let sum = diskstats.lines().filter_map(sectors);
    sum.fold((0.0, 0.0), |all, one| {
        (all.0 + one.0 * SECTOR_BYTES, all.1 + one.1 * SECTOR_BYTES)
    })
}

/// A program that tells of accelerators.
struct Tool {
    program: PathBuf,
    arguments: &'static [&'static str],
    read: fn(&str) -> BTreeMap<String, f64>,
}

impl Tool {
    fn find() -> Option<Self> {
        let path = std::env::var_os("PATH")?;
        let find = |name: &str| {
            std::env::split_paths(&path)
                .map(|d| d.join(name))
                .find(|p| p.is_file())
        };
        let nvidia = find("nvidia-smi").map(|program| Self {
            program,
            arguments: &[
                "--query-gpu=index,utilization.gpu,memory.used",
                "--format=csv,noheader,nounits",
            ],
            read: nvidia,
        });
        let rocm = || {
            find("rocm-smi").map(|program| Self {
                program,
                arguments: &["--showuse", "--showmeminfo", "vram", "--csv"],
                read: rocm,
            })
        };
        nvidia.or_else(rocm)
    }

    /// What it says now; `None` when it can't be asked.
    fn ask(&self, stop: &Stop) -> Option<BTreeMap<String, f64>> {
        let mut command = Command::new(&self.program);
        command
            .args(self.arguments)
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).spawn().ok()?;
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().ok()? {
                break status;
            }
            let is_done = *stop.0.lock().unwrap_or_else(PoisonError::into_inner);
            if is_done || begun.elapsed() > TOOL_TIME_MAX {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
            std::thread::sleep(LOOK);
        };
        // What it says of a few devices fits into the pipe: it has ended.
        let mut text = String::new();
        std::io::Read::read_to_string(&mut child.stdout.take()?, &mut text).ok()?;
        status.success().then(|| (self.read)(&text))
    }
}

/// `0, 93, 10240`: number, percent, MiB.
fn nvidia(text: &str) -> BTreeMap<String, f64> {
    let mut out = BTreeMap::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let [index, busy, used] = fields.as_slice() else {
            continue;
        };
        out.extend(busy.parse().ok().map(|n| (format!("gpu.{index}.busy"), n)));
        let bytes = used.parse().ok().map(|n: f64| n * f64::from(1 << 20));
        out.extend(bytes.map(|n| (format!("gpu.{index}.memory"), n)));
    }
    out
}

/// Comma-separated, the first line says what each column is; devices are called `card0`.
fn rocm(text: &str) -> BTreeMap<String, f64> {
    let mut lines = text.lines().filter(|l| !l.trim().is_empty());
    let head: Vec<&str> = lines
        .next()
        .unwrap_or_default()
        .split(',')
        .map(str::trim)
        .collect();
    let mut out = BTreeMap::new();
    for line in lines {
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let Some(index) = fields.first().and_then(|f| f.strip_prefix("card")) else {
            continue;
        };
        for (title, field) in head.iter().zip(&fields) {
            let name = match *title {
                "GPU use (%)" => "busy",
                "VRAM Total Used Memory (B)" => "memory",
                _ => continue,
            };
            out.extend(
                field
                    .parse()
                    .ok()
                    .map(|n| (format!("gpu.{index}.{name}"), n)),
            );
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_is_read() {
        let before = cpu("cpu  100 0 100 700 100 0 0 0 50 0\ncpu0 1 2\n").unwrap();
        assert_eq!(before, (200.0, 1000.0));
        assert!(cpu("cpu0 1 2 3 4").is_none() && cpu("").is_none());
        let meminfo = "MemTotal:       1000 kB\nMemFree: 1 kB\nMemAvailable:    400 kB\n";
        assert_eq!(memory(meminfo), Some(600.0 * 1024.0));
        assert_eq!(memory("MemTotal: 1000 kB\n"), None);
        let stats =
            " 8 0 sda 1 2 10 4 5 6 20 8 0 0 0\n 8 1 sda1 1 2 9 4 5 6 9 8 0 0 0\n 253 0 dm-0 1\n";
        assert_eq!(disks(stats, &|name| name == "sda"), (5120.0, 10240.0));
        let at = Instant::now();
        let counters = |at, busy, all, disks| Counters {
            at,
            cpu: Some((busy, all)),
            memory: Some(7.0),
            disks: Some(disks),
        };
        let old = counters(at, 0.0, 0.0, (0.0, 100.0));
        let new = counters(at + Duration::from_secs(2), 1.0, 3.0, (10.0, 100.0));
        let points: Vec<(String, f64)> = new.since(&old).into_iter().collect();
        let want = [
            ("cpu", 33.3),
            ("io.read", 5.0),
            ("io.write", 0.0),
            ("memory", 7.0),
        ];
        assert_eq!(points, want.map(|(k, v)| (k.to_owned(), v)));
    }

    #[test]
    fn what_tools_say_of_accelerators_is_read() {
        let told = nvidia("0, 93, 10240\n1, [N/A], 5\nno devices\n");
        assert_eq!(told["gpu.0.busy"], 93.0);
        assert_eq!(told["gpu.0.memory"], 10240.0 * 1048576.0);
        assert_eq!(told.len(), 3);
        let told = rocm(
            "device,GPU use (%),VRAM Total Memory (B),VRAM Total Used Memory (B)\ncard0,12,100,40\n\n",
        );
        let told: Vec<(String, f64)> = told.into_iter().collect();
        assert_eq!(
            told,
            [
                ("gpu.0.busy".to_owned(), 12.0),
                ("gpu.0.memory".to_owned(), 40.0)
            ]
        );
    }
}
