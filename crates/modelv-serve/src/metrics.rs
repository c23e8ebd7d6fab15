//! Metrics in Prometheus' text format, version 0.0.4. Memory does not grow with requests.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Mutex;
use std::time::Duration;

/// Upper bounds of the latency histogram, in seconds.
const BUCKETS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];

#[derive(Default)]
struct Counts {
    by_code: BTreeMap<u16, u64>,
    errors: BTreeMap<&'static str, u64>,
    buckets: [u64; BUCKETS.len()],
    seconds: f64,
    count: u64,
    in_flight: u64,
    restarts: u64,
}

/// Counters of one server.
#[derive(Default)]
pub(crate) struct Metrics {
    counts: Mutex<Counts>,
}

impl Metrics {
    fn with<T>(&self, f: impl FnOnce(&mut Counts) -> T) -> T {
        f(&mut self
            .counts
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    pub(crate) fn begin(&self) {
        self.with(|c| c.in_flight += 1);
    }

    /// A prediction has been answered.
    pub(crate) fn end(&self, code: u16, error: Option<&'static str>, took: Duration) {
        let seconds = took.as_secs_f64();
        self.with(|c| {
            c.in_flight = c.in_flight.saturating_sub(1);
            *c.by_code.entry(code).or_default() += 1;
            if let Some(kind) = error {
                *c.errors.entry(kind).or_default() += 1;
            }
            for (slot, bound) in c.buckets.iter_mut().zip(BUCKETS) {
                *slot += u64::from(seconds <= bound);
            }
            c.seconds += seconds;
            c.count += 1;
        });
    }

    pub(crate) fn restarted(&self) {
        self.with(|c| c.restarts += 1);
    }

    #[expect(clippy::too_many_lines, reason = "one block a metric")]
    pub(crate) fn render(&self, commit: &str, recipe: &str, name: &str) -> String {
        let escape = |s: &str| {
            s.replace('\\', r"\\")
                .replace('"', "\\\"")
                .replace('\n', r"\n")
        };
        let (commit, recipe, name) = (escape(commit), escape(recipe), escape(name));
        self.with(|c| {
            let mut out = String::new();
            let head = |out: &mut String, name: &str, kind: &str, help: &str| {
                let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
            };
            head(
                &mut out,
                "modelv_requests_total",
                "counter",
                "Predictions answered, by status.",
            );
            for (code, n) in &c.by_code {
                let _ = writeln!(
                    out,
                    "modelv_requests_total{{code=\"{code}\",commit=\"{commit}\"}} {n}"
                );
            }
            head(
                &mut out,
                "modelv_request_errors_total",
                "counter",
                "Failed predictions, by kind.",
            );
            for (kind, n) in &c.errors {
                let _ = writeln!(
                    out,
                    "modelv_request_errors_total{{kind=\"{kind}\",commit=\"{commit}\"}} {n}"
                );
            }
            let histogram = "modelv_request_duration_seconds";
            head(
                &mut out,
                histogram,
                "histogram",
                "Time from request to answer.",
            );
            for (bound, n) in BUCKETS.iter().zip(c.buckets) {
                let _ = writeln!(
                    out,
                    "{histogram}_bucket{{commit=\"{commit}\",le=\"{bound}\"}} {n}"
                );
            }
            let n = c.count;
            let _ = writeln!(
                out,
                "{histogram}_bucket{{commit=\"{commit}\",le=\"+Inf\"}} {n}"
            );
            let _ = writeln!(out, "{histogram}_sum{{commit=\"{commit}\"}} {}", c.seconds);
            let _ = writeln!(out, "{histogram}_count{{commit=\"{commit}\"}} {n}");
            head(
                &mut out,
                "modelv_requests_in_flight",
                "gauge",
                "Predictions under way.",
            );
            let _ = writeln!(
                out,
                "modelv_requests_in_flight{{commit=\"{commit}\"}} {}",
                c.in_flight
            );
            head(
                &mut out,
                "modelv_worker_restarts_total",
                "counter",
                "Workers started again.",
            );
            let _ = writeln!(
                out,
                "modelv_worker_restarts_total{{commit=\"{commit}\"}} {}",
                c.restarts
            );
            head(&mut out, "model_info", "gauge", "What is served.");
            let _ = writeln!(
                out,
                "model_info{{commit=\"{commit}\",recipe=\"{recipe}\",name=\"{name}\"}} 1"
            );
            out
        })
    }
}
