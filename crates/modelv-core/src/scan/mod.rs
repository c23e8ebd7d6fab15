//! Scanning: whether loading a file of a model would run code. Everything is read, nothing executed.
//!
//! A file is looked at by what it is, not by what it is called. What is on the allow list is safe;
//! what is not is suspicious; what is known to run code, or can't be followed although it imports
//! something, is dangerous. Bounded: members, nesting, header sizes and inflated bytes have limits,
//! and reaching one is a finding.

mod allow;
mod formats;
#[cfg(test)]
mod tests;
mod zip;

use std::fmt;
use std::io::{self, SeekFrom};

use crate::driver::Source;
use crate::driver::tensor::{read_at, read_safetensors};
use crate::pickle;

/// The rules' version: a verdict is worth as much as the rules it was made by.
pub const RULES_VERSION: u32 = 1;

/// What to think of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Loading it runs no code that we don't know to be harmless.
    Safe,
    /// It names what is not on the allow list.
    Suspicious,
    /// It runs code, or hides what it runs.
    Dangerous,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Safe => "safe",
            Self::Suspicious => "suspicious",
            Self::Dangerous => "dangerous",
        })
    }
}

/// One reason for a verdict.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// How bad.
    pub verdict: Verdict,
    /// Where in the file: the member of an archive; empty for the file itself.
    pub member: String,
    /// What was found.
    pub reason: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.member.is_empty() {
            return f.write_str(&self.reason);
        }
        write!(f, "{}: {}", self.member, self.reason)
    }
}

/// What a file is, and what was found in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scan {
    /// `pickle`, `zip`, `numpy`, `onnx`, `gguf`, `hdf5`; `None`: nothing that is looked into.
    pub kind: Option<&'static str>,
    /// What it imports, all of it.
    pub globals: Vec<String>,
    /// Reasons, the worst first.
    pub findings: Vec<Finding>,
}

impl Scan {
    /// The worst of the findings.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.findings.first().map_or(Verdict::Safe, |f| f.verdict)
    }
}

/// Most findings that are kept of one file.
const FINDINGS_MAX: usize = 1000;
/// Archives within archives that are looked into.
const NESTED_MAX: usize = 3;
/// Most inflated bytes of one member.
const INFLATED_BYTES_MAX: u64 = 64 << 20;

/// What a scan has found so far, and where it is.
struct Looking {
    scan: Scan,
    member: String,
    nested: usize,
    /// Bytes that may still be inflated.
    budget: u64,
}

impl Looking {
    fn add(&mut self, verdict: Verdict, reason: impl Into<String>) {
        if self.scan.findings.len() < FINDINGS_MAX {
            self.scan.findings.push(Finding {
                verdict,
                member: self.member.clone(),
                reason: reason.into(),
            });
        }
    }

    fn kind(&mut self, kind: &'static str) {
        self.scan.kind.get_or_insert(kind);
    }

    /// What a member turns out to be. `name` only helps where content alone can't tell.
    fn content(
        &mut self,
        name: &str,
        source: &mut dyn Source,
        start: u64,
        end: u64,
    ) -> io::Result<()> {
        // The length at its begin can read as any mark, and what loads it executes nothing.
        if start == 0 && name.ends_with(".safetensors") && read_safetensors(source).is_ok() {
            return Ok(());
        }
        let mut head = [0u8; 8];
        let have = usize::try_from((end - start).min(8)).unwrap_or(0);
        read_at(source, start, &mut head[..have])?;
        let claims = claims_pickle(name);
        match head[..have] {
            [0x80, 0..=5, ..] => self.pickles(source, start, end),
            [b'P', b'K', 3 | 5, 4 | 6, ..] if start == 0 => {
                self.kind("zip");
                self.archive(name, source, end)
            }
            [b'P', b'K', 3, 4, ..] => {
                self.add(
                    Verdict::Suspicious,
                    "an archive within an archive is not looked through",
                );
                Ok(())
            }
            [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => self.numpy(source, start, end),
            [b'G', b'G', b'U', b'F', ..] if start == 0 => self.gguf(source, end),
            [0x89, b'H', b'D', b'F', ..] => self.hdf5(source, start, end),
            [0x1f, 0x8b, ..] | [0x78, 0x01 | 0x5e | 0x9c | 0xda, ..] => {
                self.compressed(name, source, start, end)
            }
            _ if name.ends_with(".onnx") => self.onnx(source, start, end),
            [b'B', b'Z', b'h', ..] | [0xfd, b'7', b'z', ..] | [0x04, 0x22, 0x4d, 0x18, ..]
                if claims =>
            {
                self.add(Verdict::Suspicious, "its compression is not looked through");
                Ok(())
            }
            // Protocols 0 and 1 have no mark: a name that claims a pickle, or a stream that ends well.
            [_, ..] if claims || starts_old_pickle(&head[..have]) => {
                self.old_pickle(source, start, end, claims)
            }
            _ => Ok(()),
        }
    }

    /// One pickle after another, as long as the next bytes begin one.
    fn pickles(&mut self, source: &mut dyn Source, start: u64, end: u64) -> io::Result<()> {
        self.kind("pickle");
        let mut at = start;
        loop {
            let reading = pickle::read(source, at, end)?;
            self.reading(&reading);
            if reading.trouble.is_some() || reading.end >= end {
                return Ok(());
            }
            at = reading.end;
            let mut head = [0u8; 2];
            let have = usize::try_from((end - at).min(2)).unwrap_or(0);
            read_at(source, at, &mut head[..have])?;
            if !matches!(head, [0x80, 0..=5]) {
                return Ok(());
            }
        }
    }

    fn old_pickle(
        &mut self,
        source: &mut dyn Source,
        start: u64,
        end: u64,
        claims: bool,
    ) -> io::Result<()> {
        let reading = pickle::read(source, start, end)?;
        let is_one = reading.trouble.is_none() && !reading.globals.is_empty();
        if is_one || (claims && (!reading.globals.is_empty() || reading.trouble.is_none())) {
            self.kind("pickle");
            self.reading(&reading);
        }
        Ok(())
    }

    fn reading(&mut self, reading: &pickle::Reading) {
        for global in &reading.globals {
            let verdict = allow::judge(global);
            if verdict != Verdict::Safe {
                self.add(verdict, format!("imports {global}"));
            }
        }
        self.scan.globals.extend(reading.globals.iter().cloned());
        if let Some(text) = &reading.trouble {
            self.add(
                Verdict::Dangerous,
                format!("a pickle that can't be followed: {text}"),
            );
        }
    }
}

/// Names that PyTorch, joblib and others give to pickles.
fn claims_pickle(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    [
        ".pkl", ".pickle", ".p", ".joblib", ".pt", ".pth", ".ckpt", ".dill", ".sav",
    ]
    .iter()
    .any(|end| name.ends_with(end))
}

/// The first instruction of most pickles of the old protocols.
fn starts_old_pickle(head: &[u8]) -> bool {
    matches!(head, [b'c' | b'(' | b'i', ..])
}

/// Scans a file of `size` bytes. `name` is its path.
///
/// # Errors
/// The source's own.
pub fn scan(name: &str, source: &mut dyn Source) -> io::Result<Scan> {
    let size = source.seek(SeekFrom::End(0))?;
    let mut looking = Looking {
        scan: Scan::default(),
        member: String::new(),
        nested: 0,
        budget: 4 * INFLATED_BYTES_MAX,
    };
    looking.content(name, source, 0, size)?;
    let mut scan = looking.scan;
    scan.findings
        .sort_by(|a, b| b.verdict.cmp(&a.verdict).then_with(|| a.cmp(b)));
    scan.findings.dedup();
    scan.globals.sort_unstable();
    scan.globals.dedup();
    Ok(scan)
}
