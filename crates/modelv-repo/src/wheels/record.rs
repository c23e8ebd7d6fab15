//! RECORD, the list of files in a wheel and of an installed distribution (binary distribution
//! format): reading it, and comparing files with it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::collections::HashMap;
use std::io::{Read, Seek};

use sha2::{Digest, Sha256};
use zip::ZipArchive;

use crate::capture::env;

/// Largest RECORD that is read, in bytes.
const BYTES_MAX: u64 = 64 << 20;

/// What a RECORD says.
#[derive(Debug, Clone)]
pub struct Record {
    /// Name of the folder it lies in: `NAME-VERSION.dist-info`.
    pub dist_info: String,
    text: String,
    /// Hash by path; empty where it gives none.
    rows: HashMap<String, String>,
}

impl Record {
    /// Reads the text of a RECORD.
    #[must_use]
    pub fn parse(dist_info: &str, text: String) -> Self {
        let rows = text.lines().filter_map(row).collect();
        Self {
            dist_info: dist_info.to_owned(),
            text,
            rows,
        }
    }

    /// Finds and reads the RECORD of a wheel.
    ///
    /// # Errors
    /// There is none, or it can't be read.
    pub fn of_wheel<R: Read + Seek>(zip: &mut ZipArchive<R>) -> Result<Self, String> {
        let dist_info = zip
            .file_names()
            .filter_map(|n| n.ok().map(std::borrow::Cow::into_owned))
            .find_map(|n| {
                let dir = n.strip_suffix("/RECORD")?;
                (dir.ends_with(".dist-info") && !dir.contains('/')).then(|| dir.to_owned())
            })
            .ok_or("it has no RECORD")?;
        let entry = zip
            .by_name(&format!("{dist_info}/RECORD"))
            .map_err(|e| e.to_string())?;
        let mut text = String::new();
        let read = entry.take(BYTES_MAX + 1).read_to_string(&mut text);
        let n = read.map_err(|e| format!("its RECORD can't be read: {e}"))?;
        if n as u64 > BYTES_MAX {
            return Err("its RECORD is larger than 64 MiB".into());
        }
        Ok(Self::parse(&dist_info, text))
    }

    /// Its rows: paths and hashes.
    pub fn rows(&self) -> impl Iterator<Item = (&str, &str)> {
        self.rows.iter().map(|(p, h)| (p.as_str(), h.as_str()))
    }

    /// Compares the SHA-256 of a file with what it says of it.
    ///
    /// # Errors
    /// It is another file, or none that it gives a SHA-256 for.
    pub fn check(&self, name: &str, sha256: &[u8; 32]) -> Result<(), String> {
        match self.wanted(name)? {
            Some(want) if want != base64url(sha256) => {
                Err(format!("`{name}` is not what RECORD says"))
            }
            _ => Ok(()),
        }
    }

    /// The SHA-256 that it gives for a file, as [`base64url`]; none for itself and its signatures.
    ///
    /// # Errors
    /// It is another file that it gives none for.
    pub fn wanted(&self, name: &str) -> Result<Option<&str>, String> {
        let signature = ["/RECORD", "/RECORD.jws", "/RECORD.p7s"]
            .iter()
            .any(|s| name.ends_with(s));
        match self.rows.get(name).and_then(|h| h.strip_prefix("sha256=")) {
            None if !signature => Err(format!("`{name}` is not in RECORD with a SHA-256")),
            want => Ok(want.map(|w| w.trim_end_matches('='))),
        }
    }

    /// The digest that an environment document has of the distribution once it is installed: as
    /// [`env::record_sha256`], with what installers lay elsewhere where they lay it.
    #[must_use]
    pub fn installed_sha256(&self) -> [u8; 32] {
        let stem = self.dist_info.trim_end_matches(".dist-info");
        let data = format!("{stem}.data/");
        let mut text = String::with_capacity(self.text.len());
        for line in self.text.lines() {
            let (quote, rest) = line
                .strip_prefix('"')
                .map_or(("", line), |rest| ("\"", rest));
            let kept = match rest.strip_prefix(&data).map(|r| r.split_once('/')) {
                None => rest,
                Some(Some(("purelib" | "platlib", path))) => path,
                // Outside of the folder of packages, where the digest does not look.
                Some(_) => continue,
            };
            text.extend([quote, kept, "\n"]);
        }
        env::record_sha256(&text, &self.dist_info)
    }
}

/// Path, hash and size of a line, as they are written.
pub(crate) fn parts(line: &str) -> Option<(&str, &str, &str)> {
    let (rest, size) = line.rsplit_once(',')?;
    let (path, hash) = rest.rsplit_once(',')?;
    Some((path, hash, size))
}

/// A path as it is meant: one with a comma is written in quotes.
pub(crate) fn unquoted(path: &str) -> String {
    match path.strip_prefix('"').and_then(|p| p.strip_suffix('"')) {
        Some(inner) => inner.replace("\"\"", "\""),
        None => path.to_owned(),
    }
}

/// A path as RECORD writes it.
#[must_use]
pub fn quoted(path: &str) -> String {
    match path.contains([',', '"']) {
        true => format!("\"{}\"", path.replace('"', "\"\"")),
        false => path.to_owned(),
    }
}

/// Path and hash of a line.
fn row(line: &str) -> Option<(String, String)> {
    let (path, hash, _) = parts(line)?;
    Some((unquoted(path), hash.to_owned()))
}

/// A hash as RECORD writes it: base 64 with the alphabet for URLs and no padding (RFC 4648, section 5).
#[must_use]
pub fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// SHA-256 of a stream, and its length; `limit` is the most that is read.
///
/// # Errors
/// It can't be read, or is longer.
pub fn sha256_of(mut input: impl Read, limit: u64) -> std::io::Result<([u8; 32], u64)> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut total = 0;
    loop {
        let n = input.read(&mut buffer)?;
        if n == 0 {
            return Ok((hasher.finalize().into(), total));
        }
        total += n as u64;
        if total > limit {
            return Err(std::io::Error::other("it is larger than the limit"));
        }
        hasher.update(&buffer[..n]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_written_as_record_has_them() {
        assert_eq!(base64url(b""), "");
        assert_eq!(base64url(b"f"), "Zg");
        assert_eq!(base64url(b"fo"), "Zm8");
        assert_eq!(base64url(b"foo\xff\xfe"), "Zm9v__4");
    }

    #[test]
    fn a_path_may_hold_commas_and_quotes() {
        assert_eq!(
            row("\"a,\"\"b\"\"\",sha256=x,3"),
            Some(("a,\"b\"".into(), "sha256=x".into()))
        );
        assert_eq!(row("a/b.py,,"), Some(("a/b.py".into(), String::new())));
        assert_eq!(row("nothing"), None);
        for path in ["a/b.py", "a,b", "\"", "a\",\"b"] {
            assert_eq!(unquoted(&quoted(path)), path);
        }
    }

    #[test]
    fn the_digest_of_a_wheel_is_that_of_its_installed_files() {
        let wheel = "x.py,sha256=a,1\nx-1.data/purelib/y.py,sha256=b,1\n\"x-1.data/platlib/z,z.py\",sha256=c,1\n\
                     x-1.data/scripts/run,sha256=d,1\nx-1.data/data/share/f,sha256=e,1\nx-1.dist-info/RECORD,,\n";
        let installed = "x.py,sha256=a,1\n__pycache__/x.pyc,,\ny.py,sha256=b,1\n\"z,z.py\",sha256=c,1\n\
                         ../../../bin/run,sha256=other,1\n../../../share/f,sha256=e,1\n\
                         x-1.dist-info/INSTALLER,sha256=f,1\nx-1.dist-info/RECORD,,\n";
        let digest = |text: &str| Record::parse("x-1.dist-info", text.into()).installed_sha256();
        assert_eq!(digest(wheel), digest(installed));
        assert_eq!(
            digest(installed),
            env::record_sha256(installed, "x-1.dist-info")
        );
        assert_ne!(digest(wheel), digest(&wheel.replace("=b", "=B")));
    }
}
