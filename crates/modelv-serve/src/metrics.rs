//! Metrics in Prometheus' text format, version 0.0.4. Memory does not grow with requests, nor with
//! commits that are served no more.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::arms::Slot;

/// Upper bounds of the latency histograms, in seconds.
const BUCKETS: [f64; 14] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0,
];
/// What becomes of newer commits, and of copies of requests. They are told from 0 on, as are statuses: what is
/// first seen at 1 has never grown for who watches.
const SWAPS: [&str; 2] = ["taken", "refused"];
const MIRRORED: [&str; 4] = ["same", "different", "failed", "dropped"];
const CODES: [u16; 11] = [200, 400, 405, 408, 413, 422, 429, 499, 500, 503, 504];
const ERRORS: [&str; 14] = [
    "bad_request",
    "broken_body",
    "client_gone",
    "draining",
    "method",
    "no_memory",
    "not_json",
    "overloaded",
    "predict_failed",
    "slow_body",
    "timeout",
    "too_large",
    "unfit",
    "worker_died",
];
/// Commits whose counts are kept; the oldest that is served no more goes first.
const COMMITS_MAX: usize = 32;

#[derive(Default, Clone, Copy)]
struct Histogram {
    buckets: [u64; BUCKETS.len()],
    seconds: f64,
    count: u64,
}

impl Histogram {
    fn add(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        for (slot, bound) in self.buckets.iter_mut().zip(BUCKETS) {
            *slot += u64::from(seconds <= bound);
        }
        self.seconds += seconds;
        self.count += 1;
    }
}

#[derive(Default)]
struct Counts {
    /// How many times it is served now: as an arm, as a mirror, or with a last request.
    served: usize,
    commit: String,
    recipe: String,
    name: String,
    by_code: BTreeMap<u16, u64>,
    errors: BTreeMap<&'static str, u64>,
    requests: Histogram,
    waits: Histogram,
    calls: Histogram,
    batched: u64,
    in_flight: u64,
    restarts: u64,
    mirrored: BTreeMap<&'static str, u64>,
}

#[derive(Default)]
struct All {
    commits: Vec<Counts>,
    swaps: BTreeMap<&'static str, u64>,
}

/// Counters of one server.
#[derive(Default)]
pub(crate) struct Metrics {
    all: Mutex<All>,
}

impl Metrics {
    fn with<T>(&self, f: impl FnOnce(&mut All) -> T) -> T {
        f(&mut self.all.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn of(&self, commit: &str, f: impl FnOnce(&mut Counts)) {
        self.with(|all| {
            if let Some(counts) = all.commits.iter_mut().rfind(|c| c.commit == commit) {
                f(counts);
            }
        });
    }

    /// Counts of a commit begin, unless there are some. They stay as long as it is served, and for a while
    /// after.
    pub(crate) fn add(self: &Arc<Self>, commit: &str, recipe: &str, name: &str) -> Served {
        self.with(|all| {
            if let Some(counts) = all.commits.iter_mut().find(|c| c.commit == commit) {
                counts.served += 1;
                return;
            }
            while all.commits.len() >= COMMITS_MAX
                && let Some(oldest) = all.commits.iter().position(|c| c.served == 0)
            {
                all.commits.remove(oldest);
            }
            all.commits.push(Counts {
                commit: commit.to_owned(),
                recipe: recipe.to_owned(),
                name: name.to_owned(),
                served: 1,
                ..Counts::default()
            });
        });
        Served {
            metrics: self.clone(),
            commit: commit.to_owned(),
        }
    }

    pub(crate) fn begin(&self, commit: &str) {
        self.of(commit, |c| c.in_flight += 1);
    }

    /// A prediction has been answered.
    pub(crate) fn end(&self, commit: &str, code: u16, error: Option<&'static str>, took: Duration) {
        self.of(commit, |c| {
            c.in_flight = c.in_flight.saturating_sub(1);
            *c.by_code.entry(code).or_default() += 1;
            if let Some(kind) = error {
                *c.errors.entry(kind).or_default() += 1;
            }
            c.requests.add(took);
        });
    }

    pub(crate) fn restarted(&self, commit: &str) {
        self.of(commit, |c| c.restarts += 1);
    }

    /// A request has waited for a worker.
    pub(crate) fn waited(&self, commit: &str, took: Duration) {
        self.of(commit, |c| c.waits.add(took));
    }

    /// A worker has answered so many requests in one call.
    pub(crate) fn batch(&self, commit: &str, requests: usize, took: Duration) {
        self.of(commit, |c| {
            c.batched += requests as u64;
            c.calls.add(took);
        });
    }

    /// What became of a copy of a request.
    pub(crate) fn mirrored(&self, commit: &str, result: &'static str) {
        self.of(commit, |c| *c.mirrored.entry(result).or_default() += 1);
    }

    /// What became of a newer commit.
    pub(crate) fn swapped(&self, result: &'static str) {
        self.with(|all| *all.swaps.entry(result).or_default() += 1);
    }

    pub(crate) fn render(&self, arms: &[Slot], log_dropped: u64) -> String {
        self.with(|all| {
            let mut out = Text(String::new());
            requests(&mut out, &all.commits);
            workers(&mut out, &all.commits);
            server(&mut out, all, arms, log_dropped);
            out.0
        })
    }
}

/// A commit that is served; until it is dropped, its counts stay.
pub(crate) struct Served {
    metrics: Arc<Metrics>,
    commit: String,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.metrics.of(&self.commit, |c| c.served -= 1);
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', r"\\")
        .replace('"', "\\\"")
        .replace('\n', r"\n")
}

struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn value(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.0, "{name}{{{labels}}} {value}");
    }

    fn each(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        commits: &[Counts],
        of: fn(&Counts) -> u64,
    ) {
        self.head(name, kind, help);
        for c in commits {
            self.value(name, &format!("commit=\"{}\"", c.commit), of(c));
        }
    }

    fn histogram(
        &mut self,
        name: &str,
        help: &str,
        commits: &[Counts],
        of: fn(&Counts) -> Histogram,
    ) {
        self.head(name, "histogram", help);
        for c in commits {
            let (histogram, commit) = (of(c), format!("commit=\"{}\"", c.commit));
            for (bound, n) in BUCKETS.iter().zip(histogram.buckets) {
                self.value(
                    &format!("{name}_bucket"),
                    &format!("{commit},le=\"{bound}\""),
                    n,
                );
            }
            let n = histogram.count;
            self.value(
                &format!("{name}_bucket"),
                &format!("{commit},le=\"+Inf\""),
                n,
            );
            self.value(&format!("{name}_sum"), &commit, histogram.seconds);
            self.value(&format!("{name}_count"), &commit, n);
        }
    }
}

/// Counts, and 0 for what may come.
fn from_zero<K: Ord + Copy>(keys: &[K], counts: &BTreeMap<K, u64>) -> BTreeMap<K, u64> {
    let zeros = keys.iter().map(|k| (*k, 0));
    zeros.chain(counts.iter().map(|(k, n)| (*k, *n))).collect()
}

fn requests(out: &mut Text, commits: &[Counts]) {
    let name = "modelv_requests_total";
    out.head(name, "counter", "Predictions answered, by status.");
    for c in commits {
        for (code, n) in &from_zero(&CODES, &c.by_code) {
            out.value(name, &format!("code=\"{code}\",commit=\"{}\"", c.commit), n);
        }
    }
    let name = "modelv_request_errors_total";
    out.head(name, "counter", "Failed predictions, by kind.");
    for c in commits {
        for (kind, n) in &from_zero(&ERRORS, &c.errors) {
            out.value(name, &format!("kind=\"{kind}\",commit=\"{}\"", c.commit), n);
        }
    }
    let name = "modelv_request_duration_seconds";
    out.histogram(name, "Time from request to answer.", commits, |c| {
        c.requests
    });
    let name = "modelv_requests_in_flight";
    out.each(name, "gauge", "Predictions under way.", commits, |c| {
        c.in_flight
    });
}

fn workers(out: &mut Text, commits: &[Counts]) {
    let name = "modelv_queue_duration_seconds";
    out.histogram(
        name,
        "Time that requests waited for a worker.",
        commits,
        |c| c.waits,
    );
    let name = "modelv_call_duration_seconds";
    out.histogram(
        name,
        "Time of calls to workers, batches as one.",
        commits,
        |c| c.calls,
    );
    let name = "modelv_batched_requests_total";
    out.each(name, "counter", "Requests in those calls.", commits, |c| {
        c.batched
    });
    let name = "modelv_worker_restarts_total";
    out.each(name, "counter", "Workers started again.", commits, |c| {
        c.restarts
    });
    let name = "modelv_mirrored_total";
    out.head(
        name,
        "counter",
        "Copies of requests, by what became of them.",
    );
    for c in commits {
        for (result, n) in &from_zero(&MIRRORED, &c.mirrored) {
            out.value(
                name,
                &format!("result=\"{result}\",commit=\"{}\"", c.commit),
                n,
            );
        }
    }
}

/// The share of each commit under each of its names. It may be an arm and a mirror, or two arms: a series is told
/// once, or Prometheus takes neither.
fn weights(arms: &[Slot]) -> BTreeMap<(&str, &str), u64> {
    let mut out = BTreeMap::new();
    for slot in arms {
        let o = &slot.model.options;
        let weight = if slot.mirror { 0 } else { slot.weight };
        *out.entry((o.commit.as_str(), o.name.as_str())).or_default() += u64::from(weight);
    }
    out
}

fn server(out: &mut Text, all: &All, arms: &[Slot], log_dropped: u64) {
    out.head(
        "modelv_swaps_total",
        "counter",
        "Newer commits, by what became of them.",
    );
    for (result, n) in &from_zero(&SWAPS, &all.swaps) {
        out.value("modelv_swaps_total", &format!("result=\"{result}\""), n);
    }
    let name = "modelv_log_lines_dropped_total";
    out.head(
        name,
        "counter",
        "Log lines that could not be written in time.",
    );
    let _ = writeln!(out.0, "{name} {log_dropped}");
    out.head(
        "modelv_arm_weight",
        "gauge",
        "Share of each commit; 0 for mirrors.",
    );
    for ((commit, name), weight) in weights(arms) {
        let labels = format!("commit=\"{commit}\",name=\"{}\"", escape(name));
        out.value("modelv_arm_weight", &labels, weight);
    }
    out.head("model_info", "gauge", "What is served.");
    for c in &all.commits {
        let is_served = arms.iter().any(|s| s.model.options.commit == c.commit);
        let name = escape(&c.name);
        let labels = format!(
            "commit=\"{}\",recipe=\"{}\",name=\"{name}\"",
            c.commit, c.recipe
        );
        out.value("model_info", &labels, u8::from(is_served));
    }
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
