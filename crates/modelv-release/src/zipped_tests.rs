use super::*;
use std::io::Write;

/// A wheel with one file, and what RECORD would say of it.
fn archive(bytes: &[u8], method: CompressionMethod) -> (Archive, String) {
    let mut out = zip::ZipWriter::new(tempfile::tempfile().unwrap());
    let options = zip::write::SimpleFileOptions::default().compression_method(method);
    out.start_file("a", options).unwrap();
    out.write_all(bytes).unwrap();
    let archive = Archive {
        file: out.finish().unwrap().into(),
        name: "a-1-py3-none-any.whl".into(),
    };
    (archive, base64url(&Sha256::digest(bytes)))
}

fn zipped(archive: &Archive, want: Option<&str>) -> Result<Zipped, String> {
    let mut zip = zip::ZipArchive::new(archive.file.as_ref()).unwrap();
    Zipped::of(archive, &zip.by_index(0).unwrap(), "a".into(), want)
}

fn long() -> Vec<u8> {
    (0..300_000_u32).flat_map(u32::to_le_bytes).collect()
}

#[test]
fn what_is_read_is_what_was_put_in() {
    for bytes in [long(), b"x".to_vec(), Vec::new()] {
        for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
            let (archive, want) = archive(&bytes, method);
            let file = zipped(&archive, Some(&want)).unwrap();
            assert_eq!(file.size, bytes.len() as u64);
            assert!(file.read(u64::MAX).unwrap() == bytes);
            // Two readers do not meet.
            let (mut one, mut other) = (file.open(), file.open());
            let mut half = vec![0; bytes.len() / 2];
            one.read_exact(&mut half).unwrap();
            let mut all = Vec::new();
            other.read_to_end(&mut all).unwrap();
            assert!(all == bytes);
            one.read_to_end(&mut half).unwrap();
            assert!(half == bytes);
            assert!(file.begins_with(&bytes[..bytes.len().min(3)]).unwrap());
            assert!(!file.begins_with(b"other").unwrap());
        }
    }
}

#[test]
fn nobody_reads_another_file_to_its_end() {
    let bytes = long();
    let (archive, _) = archive(&bytes, CompressionMethod::Deflated);
    let other = base64url(&Sha256::digest(b"other"));
    let file = zipped(&archive, Some(&other)).unwrap();
    let said = file.read(u64::MAX).unwrap_err();
    assert!(said.contains("`a` is not what RECORD says"), "{said}");
    assert!(said.contains("a-1-py3-none-any.whl"), "{said}");
    // Also who takes just as many bytes as there are.
    let mut taken = file.open().take(bytes.len() as u64);
    let said = std::io::copy(&mut taken, &mut std::io::sink()).unwrap_err();
    assert!(said.to_string().contains("RECORD"), "{said}");
    // RECORD has nothing of itself.
    assert!(zipped(&archive, None).unwrap().read(u64::MAX).is_ok());
    let said = zipped(&archive, None).unwrap().read(10).unwrap_err();
    assert!(said.contains("`a` is larger than 10 bytes"), "{said}");
}

#[test]
fn a_file_without_bytes_is_compared_when_it_is_found() {
    let (archive, _) = archive(b"", CompressionMethod::Stored);
    let other = base64url(&Sha256::digest(b"other"));
    let said = zipped(&archive, Some(&other)).unwrap_err();
    assert_eq!(said, "`a` is not what RECORD says");
}

#[test]
fn bytes_that_cannot_be_unpacked_are_told() {
    let (archive, want) = archive(&long(), CompressionMethod::Deflated);
    let file = zipped(&archive, Some(&want)).unwrap();
    archive
        .file
        .write_at(&[0xff; 64], file.start + 100)
        .unwrap();
    let said = file.read(u64::MAX).unwrap_err();
    assert!(said.contains("a-1-py3-none-any.whl"), "{said}");
    let cut = archive.file.set_len(file.start + 10);
    cut.unwrap();
    assert!(file.read(u64::MAX).is_err());
}
