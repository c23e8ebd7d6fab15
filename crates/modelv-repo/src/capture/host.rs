//! Facts of the machine: recorded with a run, never part of an id.

use std::collections::BTreeMap;

/// Host name, operating system, kernel, processor, cores and memory.
#[must_use]
pub fn facts() -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    let uname = rustix::system::uname();
    let mut put = |key: &str, value: String| {
        if !value.is_empty() {
            out.insert(key.to_owned(), value);
        }
    };
    put("host", uname.nodename().to_string_lossy().into_owned());
    put(
        "kernel",
        format!(
            "{} {}",
            uname.sysname().to_string_lossy(),
            uname.release().to_string_lossy()
        ),
    );
    put(
        "os",
        field("/etc/os-release", "PRETTY_NAME", '=')
            .trim_matches('"')
            .to_owned(),
    );
    put("cpu", field("/proc/cpuinfo", "model name", ':'));
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    put("cores", cores.to_string());
    put("memory", field("/proc/meminfo", "MemTotal", ':'));
    put(
        "accelerator",
        field("/proc/driver/nvidia/version", "NVRM version", ':'),
    );
    out
}

fn field(path: &str, key: &str, separator: char) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_once(separator))
        .find(|(k, _)| k.trim() == key)
        .map(|(_, v)| v.trim().to_owned())
        .unwrap_or_default()
}
