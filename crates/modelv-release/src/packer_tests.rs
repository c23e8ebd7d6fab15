use super::*;
use crate::layer::Content;
use proptest::collection::vec;
use proptest::prelude::*;

fn one_file() -> Files {
    let mut files = Files::default();
    files.add_file("a", false, Content::Bytes(vec![7; 1000]));
    files
}

fn with_cache(dir: &Path) -> Packer<'static> {
    let blobs = dir.join("blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    let cache = Some(Cache::open(dir.join("cache")).unwrap());
    Packer {
        cache,
        ..Packer::at(&blobs)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_blob_does_not_depend_on_how_its_bytes_arrive(cuts in vec(1usize..70_000, 1..40)) {
        let dir = tempfile::tempdir().unwrap();
        let text: Vec<u8> = (0..200_000u32).flat_map(|i| (i % 811 * i % 97).to_string().into_bytes()).collect();
        let whole = Packer::at(dir.path()).pack(|out| {
            out.write_all(&text).unwrap();
            Ok(())
        });
        let cut = Packer::at(dir.path()).pack(|out| {
            let mut rest = text.as_slice();
            for n in cuts.iter().cycle() {
                let (head, tail) = rest.split_at((*n).min(rest.len()));
                out.write_all(head).unwrap();
                out.flush().unwrap();
                rest = tail;
                if rest.is_empty() {
                    break;
                }
            }
            Ok(())
        });
        prop_assert_eq!(whole.unwrap(), cut.unwrap());
    }
}

#[test]
fn a_damaged_cache_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let packer = with_cache(dir.path());
    let files = one_file();
    let build = |key: &str| packer.by_key(key, || packer.pack_files(&files)).unwrap();
    let (layer, cached) = build("key");
    assert!(!cached);
    assert_eq!(build("key"), (layer.clone(), true));
    assert!(!build("other key").1);
    let blob = dir.path().join("cache").join(digits(&layer.digest));
    std::fs::write(&blob, b"spoilt").unwrap();
    assert_eq!(build("key"), (layer.clone(), false));
    // A record with another digest of the tar would name an image that no engine takes.
    let record = packer.cache.as_ref().unwrap().record("gzip-6 key");
    let text = std::fs::read_to_string(&record).unwrap();
    let other = format!("sha256:{}", "0".repeat(64));
    std::fs::write(&record, text.replace(&layer.diff_id, &other)).unwrap();
    assert_eq!(build("key"), (layer.clone(), false));
    assert_eq!(build("key"), (layer.clone(), true));
    let copied = packer.copy_checked(&packer.blobs.join(digits(&layer.digest)), &layer.digest);
    assert_eq!(copied.unwrap(), layer.size);
}

#[test]
fn a_blob_is_on_the_disk_once_and_everybody_may_read_it() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let packer = with_cache(dir.path());
    let files = one_file();
    let build = || packer.by_key("key", || packer.pack_files(&files)).unwrap();
    let (layer, _) = build();
    let made = packer.blobs.join(digits(&layer.digest));
    let kept = dir.path().join("cache").join(digits(&layer.digest));
    let inode = |path: &Path| std::fs::metadata(path).unwrap().ino();
    assert_eq!(inode(&made), inode(&kept));
    std::fs::remove_file(&made).unwrap();
    // As caches of older versions are.
    let bits = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
    std::fs::set_permissions(&kept, bits(0o600)).unwrap();
    assert!(build().1);
    let meta = std::fs::metadata(&made).unwrap();
    assert_eq!((meta.ino(), meta.mode() & 0o777), (inode(&kept), 0o644));
    // Made again over what is there, from another key too: nothing is left beside.
    assert!(
        !packer
            .by_key("other", || packer.pack_files(&files))
            .unwrap()
            .1
    );
    let entries = std::fs::read_dir(dir.path().join("cache")).unwrap();
    let blobs = entries.filter(|e| e.as_ref().unwrap().path().extension().is_none());
    assert_eq!(blobs.count(), 1);
}

#[test]
fn equal_bytes_are_compressed_once() {
    let dir = tempfile::tempdir().unwrap();
    let packer = with_cache(dir.path());
    let build = |byte: u8| {
        let fill = |out: &mut dyn Write| {
            out.write_all(&[byte; 70_000]).unwrap();
            Ok(())
        };
        packer.by_content(fill).unwrap()
    };
    let (layer, cached) = build(1);
    assert!(!cached);
    assert_eq!(build(1), (layer.clone(), true));
    assert_ne!(build(2), (layer.clone(), false));
    let calls = std::cell::Cell::new(0u8);
    let changing = |out: &mut dyn Write| {
        calls.set(calls.get() + 1);
        out.write_all(&[calls.get(), 9, 9]).unwrap();
        Ok(())
    };
    let said = packer.by_content(changing).unwrap_err();
    let why = std::error::Error::source(&said).unwrap().to_string();
    assert!(why.contains("changed while it was read"), "{why}");
}

#[test]
fn every_packing_gives_the_same_tar_and_can_be_opened() {
    let dir = tempfile::tempdir().unwrap();
    let packer = with_cache(dir.path());
    let fill = |out: &mut dyn Write| write_tar_seen(out, &one_file(), None, None);
    let mut tars = Vec::new();
    for packing in [Packing::None, Packing::Gzip, Packing::Zstd] {
        let make = || packer.by_key_as(packing, "key", || packer.pack_as(packing, fill));
        let (layer, cached) = make().unwrap();
        assert!(!cached, "one packing is not taken for another");
        assert_eq!(make().unwrap(), (layer.clone(), true));
        let blob = packer.blobs.join(digits(&layer.digest));
        assert_eq!(Packing::of(&blob).unwrap(), Ok(packing));
        let mut tar = Vec::new();
        packing.open(&blob).unwrap().read_to_end(&mut tar).unwrap();
        let digest = to_hex(&Sha256::digest(&tar));
        assert_eq!(layer.diff_id, format!("sha256:{digest}"));
        tars.push(tar);
    }
    assert!(tars.iter().all(|t| *t == tars[0]));
}

#[test]
fn a_dry_packer_makes_nothing_and_notes_what_is_in_the_way() {
    let dir = tempfile::tempdir().unwrap();
    let packer = with_cache(dir.path());
    let (known, _) = packer
        .by_key("known", || packer.pack_files(&one_file()))
        .unwrap();
    let blobs = dir.path().join("dry");
    let dry = Packer {
        hurdles: Some(Mutex::default()),
        cache: Some(Cache::at(dir.path().join("cache"))),
        ..Packer::at(&blobs)
    };
    let never = || panic!("it makes a layer");
    assert_eq!(dry.by_key("known", never).unwrap(), (known, true));
    let (layer, cached) = dry.by_key("unknown", never).unwrap();
    assert!(!layer.is_known() && !cached && !blobs.exists());
    let taken = Error::Taken { path: "x".into() };
    dry.refuse(taken).unwrap();
    let said = dry.hurdles.unwrap().into_inner().unwrap();
    assert_eq!(said, ["`x` exists and is not replaced"]);
    assert!(packer.refuse(Error::Taken { path: "x".into() }).is_err());
}

#[test]
fn packing_stops_when_it_is_asked_to_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let cancel = Cancel::new();
    let packer = Packer {
        cancel: &cancel,
        ..Packer::at(dir.path())
    };
    let said = packer.pack(|out| {
        cancel.cancel();
        let written = out.write_all(&[0; 2 * BLOCK_BYTES]);
        written.map_err(Error::io("write", Path::new("layer")))
    });
    assert!(said.is_err());
    std::fs::write(dir.path().join("blob"), "x").unwrap();
    let copied = packer.copy_checked(&dir.path().join("blob"), "sha256:0");
    assert!(matches!(copied, Err(Error::Io { .. })), "{copied:?}");
    let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(names.len(), 1, "{names:?}");
}
