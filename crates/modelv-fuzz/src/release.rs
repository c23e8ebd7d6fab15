//! What a release reads that others wrote: bases, wheels, libraries; and what a server reads.

use modelv_release::{check_reference, fuzz};
use modelv_serve::ImageConfig;

use crate::with_file;

/// The input is the index of a layout.
pub(crate) fn oci_index(data: &[u8]) {
    with_file(&[], |file| {
        let dir = file.with_file_name("layout");
        let written = std::fs::create_dir_all(&dir)
            .and_then(|()| std::fs::write(dir.join("index.json"), data));
        written.unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        assert!(fuzz::manifest(&dir).is_err(), "a layout without blobs");
    });
}

pub(crate) fn oci_base(data: &[u8]) {
    for path in fuzz::list_tar(data).iter().flatten() {
        assert!(!path.split(|b| *b == b'/').any(|part| part == b".."));
    }
}

/// Nothing is written outside of the folder.
pub(crate) fn oci_unpack(data: &[u8]) {
    let outside = crate::folder();
    let inside = outside.path().join("in");
    if let Err(e) = std::fs::create_dir(&inside) {
        panic!("{}: {e}", inside.display());
    }
    let _ = fuzz::unpack_layer(data, &inside);
    let left = std::fs::read_dir(outside.path()).map(Iterator::count);
    assert!(left.is_ok_and(|n| n == 1), "a layer led out");
}

pub(crate) fn wheel(data: &[u8]) {
    let _ = with_file(data, fuzz::wheel);
}

pub(crate) fn elf(data: &[u8]) {
    let _ = fuzz::elf(data);
    let _ = fuzz::elf(&[b"\x7fELF\x02\x01\x01", data].concat());
}

pub(crate) fn reference(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if check_reference(&text).is_ok() {
        assert!(text.is_ascii() && !text.contains([' ', '\n', '\0']));
    }
}

pub(crate) fn serve_config(data: &[u8]) {
    if let Ok(config) = with_file(data, ImageConfig::read) {
        let _ = config.into_options();
    }
}

/// A call is not taken for more than it is: what is made of it is JSON, and in proportion to it.
pub(crate) fn grpc_call(data: &[u8]) {
    // An element of two bytes is 25 of text at most; a list has two, and there are few without elements.
    const TEXT_PER_BYTE: usize = 32;
    const SPARE: usize = 64 << 10;
    for (_, text) in modelv_serve::fuzz::call(data).iter().flatten() {
        assert!(text.len() <= data.len() * TEXT_PER_BYTE + SPARE);
        let read = serde_json::from_slice::<serde_json::Value>(text);
        assert!(read.is_ok(), "{}", String::from_utf8_lossy(text));
    }
}
