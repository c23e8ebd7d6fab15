//! Facts of the machine: recorded with a run, never part of an id. Everything here is read from files: no
//! program is started, and nothing takes longer than a few milliseconds.

use std::collections::BTreeMap;
use std::path::Path;

use super::secrets;

/// Largest library that is searched for its version, in bytes.
const LIBRARY_BYTES_MAX: u64 = 16 << 20;
/// What of a processor numerical libraries choose their code by.
const FEATURES: &[&str] = &[
    "sse4_2", "avx", "avx2", "fma", "f16c", "avx_vnni", "asimd", "sve", "sve2", "bf16",
];
const FEATURE_FAMILIES: [&str; 2] = ["avx512", "amx"];
/// Variables that change what a training computes, or with what.
const VARIABLES: &[&str] = &[
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "MKL_CBWR",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_CORETYPE",
    "OPENBLAS_NUM_THREADS",
    "PYTHONHASHSEED",
    "PYTHONPATH",
    "TF_DETERMINISTIC_OPS",
    "TZ",
    "XLA_FLAGS",
];

/// Facts that name this machine rather than describe it, or change from day to day.
pub(crate) const PASSING: [&str; 3] = ["host", "memory", "cores"];

/// Host name, operating system, kernel, C library, processor, memory, accelerators, and the variables that
/// change results; `more` names further variables.
#[must_use]
pub fn facts(more: &[String]) -> BTreeMap<String, String> {
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
    put("cpu_features", cpu_features());
    put("libc", libc().unwrap_or_default());
    put(
        "accelerator",
        field("/proc/driver/nvidia/version", "NVRM version", ':'),
    );
    put("gpus", gpus());
    put("amdgpu", line_of("/sys/module/amdgpu/version"));
    put("rocm", line_of("/opt/rocm/.info/version"));
    put("cuda", cuda().unwrap_or_default());
    put("cudnn", cudnn().unwrap_or_default());
    out.extend(variables(more));
    out
}

/// The variables that are recorded, as `env.NAME`. Of one that looks like a credential, by its name
/// or by its value, only the name is.
fn variables(more: &[String]) -> BTreeMap<String, String> {
    let chosen = VARIABLES
        .iter()
        .copied()
        .chain(more.iter().map(String::as_str));
    let values = chosen.filter_map(|name| {
        let value = std::env::var_os(name)?.to_string_lossy().into_owned();
        let hidden = secrets::is_secret(name, &value);
        let value = if hidden { "***".to_owned() } else { value };
        Some((format!("env.{name}"), value))
    });
    values.collect()
}

fn cpu_features() -> String {
    let (x86, arm) = (
        field("/proc/cpuinfo", "flags", ':'),
        field("/proc/cpuinfo", "Features", ':'),
    );
    let all = if x86.is_empty() { arm } else { x86 };
    let telling = |f: &&str| {
        FEATURES.contains(f) || FEATURE_FAMILIES.iter().any(|family| f.starts_with(family))
    };
    let mut kept: Vec<&str> = all.split_whitespace().filter(telling).collect();
    kept.sort_unstable();
    kept.join(" ")
}

/// `glibc 2.36`, from the words that the library itself holds.
fn libc() -> Option<String> {
    let arch = std::env::consts::ARCH;
    let places = [
        format!("/lib/{arch}-linux-gnu/libc.so.6"),
        "/lib64/libc.so.6".into(),
        "/usr/lib/libc.so.6".into(),
        "/lib/libc.so.6".into(),
    ];
    let glibc = places.iter().find_map(|path| {
        let meta = std::fs::metadata(path).ok()?;
        let bytes = (meta.len() <= LIBRARY_BYTES_MAX).then(|| std::fs::read(path).ok())??;
        glibc_version(&bytes)
    });
    let musl = format!("/lib/ld-musl-{arch}.so.1");
    glibc.or_else(|| Path::new(&musl).exists().then(|| "musl".into()))
}

fn glibc_version(bytes: &[u8]) -> Option<String> {
    let pattern =
        regex::bytes::Regex::new(r"stable release version ([0-9][0-9.]{0,15}[0-9])").ok()?;
    let found = pattern.captures(bytes)?;
    let version = std::str::from_utf8(found.get(1)?.as_bytes()).ok()?;
    Some(format!("glibc {version}"))
}

/// Models of NVIDIA's devices, as their driver lists them.
fn gpus() -> String {
    let entries = std::fs::read_dir("/proc/driver/nvidia/gpus");
    let mut models: Vec<String> = entries
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| {
            field(
                &e.path().join("information").display().to_string(),
                "Model",
                ':',
            )
        })
        .filter(|m| !m.is_empty())
        .collect();
    models.sort();
    models.join(", ")
}

fn cuda() -> Option<String> {
    let text = std::fs::read_to_string("/usr/local/cuda/version.json").ok()?;
    let json: serde_json::Value = serde_json::from_str(&text).ok()?;
    json["cuda"]["version"].as_str().map(str::to_owned)
}

/// cuDNN of the system; that of a wheel is among the packages of the environment.
fn cudnn() -> Option<String> {
    let text = std::fs::read_to_string("/usr/include/cudnn_version.h").ok()?;
    cudnn_version(&text)
}

fn cudnn_version(header: &str) -> Option<String> {
    let number = |name: &str| {
        let line = |l: &str| {
            l.strip_prefix("#define ")?
                .strip_prefix(name)?
                .trim()
                .parse::<u32>()
                .ok()
        };
        header.lines().find_map(line)
    };
    let parts = ["CUDNN_MAJOR ", "CUDNN_MINOR ", "CUDNN_PATCHLEVEL "].map(number);
    let [Some(major), Some(minor), Some(patch)] = parts else {
        return None;
    };
    Some(format!("{major}.{minor}.{patch}"))
}

fn line_of(path: &str) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().next().unwrap_or("").trim().to_owned()
}

fn field(path: &str, key: &str, separator: char) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_once(separator))
        .find(|(k, _)| k.trim() == key)
        .map(|(_, v)| v.trim().to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_is_installed() {
        let library =
            b"\0GNU C Library (Debian GLIBC 2.36-9) stable release version 2.36.\nCopyright\0";
        assert_eq!(glibc_version(library).as_deref(), Some("glibc 2.36"));
        assert_eq!(glibc_version(b"nothing"), None);
        let header = "#define CUDNN_MAJOR 9\n#define CUDNN_MINOR 1\n#define CUDNN_PATCHLEVEL 0\n";
        assert_eq!(cudnn_version(header).as_deref(), Some("9.1.0"));
        assert_eq!(cudnn_version("#define CUDNN_MAJOR 9\n"), None);
    }

    #[test]
    fn this_machine_is_described() {
        let facts = facts(&[]);
        for key in ["host", "kernel", "cores", "memory"] {
            assert!(facts.contains_key(key), "{key} in {facts:?}");
        }
        let libc = &facts["libc"];
        assert!(libc.starts_with("glibc ") || libc == "musl", "{libc}");
    }

    #[test]
    fn of_a_credential_only_the_name_is_kept() {
        let named = ["CARGO_PKG_NAME".to_owned(), "NO_SUCH_VARIABLE".into()];
        let kept = variables(&named);
        assert_eq!(kept["env.CARGO_PKG_NAME"], "modelv-repo");
        assert!(!kept.contains_key("env.NO_SUCH_VARIABLE"));
        for (name, value, want) in [
            ("DB_PASSWORD", "short", true),
            ("WANDB_API_KEY", "word", true),
            ("HF_TOKEN", "", false),
            ("OMP_NUM_THREADS", "4", false),
            ("TOKENIZERS_PARALLELISM", "false", false),
            ("URL", "postgres://ada:Tr0ub4dor@db/x", true),
        ] {
            assert_eq!(secrets::is_secret(name, value), want, "{name}");
        }
    }
}
