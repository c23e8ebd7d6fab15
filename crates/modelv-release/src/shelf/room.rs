//! How much a shelf may take: the images that were made first go first, and blobs go with the last image that
//! they are part of. Whoever asks for one of them again gets it made again.
//!
//! `holds/KEY` names the blobs of the image with the note `images/KEY`, one a line.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::Path;
use std::time::SystemTime;

use crate::base::entries;
use crate::error::{Error, Result};

/// An image and what it is made of.
struct Held {
    made: SystemTime,
    key: OsString,
    blobs: Vec<String>,
}

/// Reads which images there are, newest first; those without a list of their blobs hold none.
fn held(dir: &Path) -> Result<Vec<Held>> {
    let mut out = Vec::new();
    for note in entries(&dir.join("images"))? {
        let key = note.file_name();
        let list = std::fs::read_to_string(dir.join("holds").join(&key)).unwrap_or_default();
        let meta = note.metadata().map_err(Error::io("read", &note.path()))?;
        out.push(Held {
            made: meta.modified().unwrap_or(SystemTime::UNIX_EPOCH),
            key,
            blobs: list.lines().map(str::to_owned).collect(),
        });
    }
    out.sort_by(|a, b| (b.made, &b.key).cmp(&(a.made, &a.key)));
    Ok(out)
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path)(e)),
        _ => Ok(()),
    }
}

/// Takes away what is too much: never the newest image, however large it is.
pub(super) fn make_room(dir: &Path, bytes_max: u64) -> Result<()> {
    let blobs = dir.join("blobs/sha256");
    let size = |name: &str| blobs.join(name).metadata().map_or(0, |m| m.len());
    let mut kept: HashSet<String> = HashSet::new();
    let (mut bytes, mut is_full) = (0, false);
    for (age, image) in held(dir)?.into_iter().enumerate() {
        let new: HashSet<String> = image
            .blobs
            .into_iter()
            .filter(|b| !kept.contains(b))
            .collect();
        let more: u64 = new.iter().map(|name| size(name)).sum();
        // What is older than one that does not fit goes, too.
        is_full |= age > 0 && bytes + more > bytes_max;
        if is_full {
            // The note first: without it nobody looks for the blobs.
            remove(&dir.join("images").join(&image.key))?;
            remove(&dir.join("holds").join(&image.key))?;
        } else {
            bytes += more;
            kept.extend(new);
        }
    }
    for entry in entries(&blobs)? {
        let is_kept = entry
            .file_name()
            .to_str()
            .is_some_and(|name| kept.contains(name));
        if !is_kept {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::time::Duration;

    use super::*;

    fn put(dir: &Path, key: &str, age: u64, blobs: &[(&str, usize)]) {
        for (name, bytes) in blobs {
            fs::write(dir.join("blobs/sha256").join(name), vec![0; *bytes]).unwrap();
        }
        let names: Vec<&str> = blobs.iter().map(|b| b.0).collect();
        fs::write(dir.join("holds").join(key), names.join("\n")).unwrap();
        fs::write(dir.join("images").join(key), "note").unwrap();
        let made = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 - age);
        let note = File::options()
            .append(true)
            .open(dir.join("images").join(key));
        note.unwrap().set_modified(made).unwrap();
    }

    fn left(dir: &Path, below: &str) -> Vec<String> {
        let all = fs::read_dir(dir.join(below)).unwrap();
        let mut names: Vec<String> = all
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_was_made_first_goes_first_and_shared_blobs_with_the_last() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path();
        for name in ["blobs/sha256", "images", "holds"] {
            fs::create_dir_all(dir.join(name)).unwrap();
        }
        put(dir, "old", 30, &[("base", 100), ("a", 50)]);
        put(dir, "mid", 20, &[("base", 100), ("b", 60)]);
        put(dir, "new", 10, &[("base", 100), ("c", 70)]);
        fs::write(dir.join("blobs/sha256/stray"), "x").unwrap();
        make_room(dir, 280).unwrap();
        assert_eq!(left(dir, "images"), ["mid", "new", "old"]);
        assert_eq!(left(dir, "blobs/sha256"), ["a", "b", "base", "c"]);
        make_room(dir, 279).unwrap();
        assert_eq!(left(dir, "images"), ["mid", "new"]);
        assert_eq!(left(dir, "holds"), ["mid", "new"]);
        assert_eq!(left(dir, "blobs/sha256"), ["b", "base", "c"]);
        // The newest stays whatever it takes.
        put(dir, "large", 0, &[("d", 1000)]);
        make_room(dir, 1).unwrap();
        assert_eq!(left(dir, "images"), ["large"]);
        assert_eq!(left(dir, "blobs/sha256"), ["d"]);
    }
}
