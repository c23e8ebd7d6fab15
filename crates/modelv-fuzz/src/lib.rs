//! One function per decoder and cutter that takes any bytes: it must neither panic, nor need more
//! memory than the decoder's limits say, and what it accepts must be what it would write itself.
//!
//! The same functions are run by `cargo test` over the corpus in `tests/fuzz/corpus` and changes of
//! it, and by libFuzzer (`tests/fuzz.sh`). Owns no rule about any format.

mod drivers;
mod layouts;
mod models;
mod objects;
mod release;
mod repo;
mod store;
mod tables;

/// A decoder or cutter under test.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, that of its folder in the corpus too.
    pub name: &'static str,
    /// Panics where something is wrong.
    pub run: fn(&[u8]),
}

const fn target(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run }
}

/// All targets.
pub const TARGETS: &[Target] = &[
    target("codec", store::codec),
    target("codec-round", store::codec_round),
    target("codec-over-base", store::over_base),
    target("pack", store::pack),
    target("pack-index", store::pack_index),
    target("remote-root", store::remote_root),
    target("pack-list", store::pack_list),
    target("layout-safetensors", layouts::safetensors),
    target("layout-gguf", layouts::gguf),
    target("layout-npy", layouts::npy),
    target("layout-zip", layouts::zip),
    target("layout-onnx", layouts::onnx),
    target("layout-parquet", layouts::parquet),
    target("layout-tar", layouts::tar),
    target("tree", objects::tree),
    target("commit", objects::commit),
    target("run", objects::run),
    target("env", objects::env),
    target("recipe", objects::recipe),
    target("cuts", objects::cuts),
    target("operation", objects::operation),
    target("text", drivers::text),
    target("toml", drivers::toml),
    target("json", drivers::json),
    target("yaml", drivers::yaml),
    target("ini", drivers::ini),
    target("dotenv", drivers::dotenv),
    target("notebook", drivers::notebook),
    target("csv", drivers::csv),
    target("jsonl", drivers::jsonl),
    target("requirements", drivers::requirements),
    target("tensors-safetensors", drivers::safetensors),
    target("tensors-npy", drivers::npy),
    target("tensors-npz", drivers::npz),
    target("tensors-gguf", drivers::gguf),
    target("tensors-onnx", drivers::onnx),
    target("tensors-torch", drivers::torch),
    target("parquet", tables::parquet),
    target("large-table", tables::large),
    target("image", drivers::image),
    target("lock", drivers::lock),
    target("conda", drivers::conda),
    target("requirement", drivers::requirement),
    target("scan", drivers::scanned),
    target("oplog", repo::oplog),
    target("oplog-frames", repo::oplog_frames),
    target("statcache", repo::statcache),
    target("ref-name", repo::ref_name),
    target("repo-path", repo::repo_path),
    target("modelv-toml", repo::rules),
    target("ignore", repo::ignore),
    target("metrics", repo::metrics),
    target("merge-state", repo::merge_state),
    target("oci-index", release::oci_index),
    target("oci-base", release::oci_base),
    target("oci-unpack", release::oci_unpack),
    target("wheel", release::wheel),
    target("elf", release::elf),
    target("image-reference", release::reference),
    target("onnx-model", models::onnx),
    target("serve-config", release::serve_config),
    target("grpc-call", release::grpc_call),
];

/// The target of a name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|t| t.name == name)
}

/// Takes a number off the front; 0 when there are too few bytes.
fn take_u16(data: &mut &[u8]) -> usize {
    let Some((word, rest)) = data.split_first_chunk::<2>() else {
        *data = &[];
        return 0;
    };
    *data = rest;
    usize::from(u16::from_le_bytes(*word))
}

/// A folder in memory, if there is one, that is removed afterwards.
fn folder() -> tempfile::TempDir {
    let made = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    made.unwrap_or_else(|e| panic!("a folder for files that are tried: {e}"))
}

/// Hands `work` a file of these bytes.
fn with_file<T>(bytes: &[u8], work: impl FnOnce(&std::path::Path) -> T) -> T {
    thread_local! {
        static FOLDER: tempfile::TempDir = folder();
    }
    FOLDER.with(|folder| {
        let path = folder.path().join("file");
        std::fs::write(&path, bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        work(&path)
    })
}
