//! Keras, HDF5, ONNX, GGUF and NumPy: what in them runs, or reaches out of the file.

use std::io;

use super::{Looking, Verdict};
use crate::driver::Source;
use crate::driver::tensor::{GgufHeader, OnnxFacts, TensorError, read_at};

/// Bytes that are read at a time while a text is looked for.
const WINDOW: usize = 1 << 20;
/// Longer than any text that is looked for.
const OVERLAP: usize = 64;

/// Layers that hold code of their own.
const LAMBDA: [&[u8]; 2] = [b"\"class_name\": \"Lambda\"", b"\"class_name\":\"Lambda\""];

/// Domains whose operators come with ONNX and its usual runtimes.
const DOMAINS: [&str; 8] = [
    "",
    "ai.onnx",
    "ai.onnx.ml",
    "ai.onnx.training",
    "ai.onnx.preview.training",
    "com.microsoft",
    "com.microsoft.nchwc",
    "org.pytorch.aten",
];

/// What a chat template has no use for, and every way out of the sandbox needs.
const TEMPLATE: [&str; 9] = [
    "__",
    "import",
    "|attr",
    "| attr",
    "getattr",
    "globals",
    "subprocess",
    "popen",
    "eval(",
];

impl Looking {
    /// Whether a range holds one of these texts.
    fn holds(source: &mut dyn Source, start: u64, end: u64, texts: &[&[u8]]) -> io::Result<bool> {
        let mut buffer = Vec::with_capacity(WINDOW + OVERLAP);
        let mut at = start;
        while at < end {
            let keep = buffer.len().min(OVERLAP);
            buffer.drain(..buffer.len() - keep);
            let n = usize::try_from(end - at).unwrap_or(WINDOW).min(WINDOW);
            buffer.resize(keep + n, 0);
            read_at(source, at, &mut buffer[keep..])?;
            let found = |text: &&[u8]| buffer.windows(text.len()).any(|w| w == *text);
            if texts.iter().any(found) {
                return Ok(true);
            }
            at += n as u64;
        }
        Ok(false)
    }

    /// The configuration of a Keras model.
    pub(super) fn keras(
        &mut self,
        source: &mut dyn Source,
        start: u64,
        end: u64,
    ) -> io::Result<()> {
        if Self::holds(source, start, end, &LAMBDA)? {
            self.add(Verdict::Dangerous, "a Lambda layer of Keras holds code");
        }
        Ok(())
    }

    pub(super) fn hdf5(&mut self, source: &mut dyn Source, start: u64, end: u64) -> io::Result<()> {
        self.kind("hdf5");
        self.keras(source, start, end)
    }

    /// An array of objects is a pickle behind the header.
    pub(super) fn numpy(
        &mut self,
        source: &mut dyn Source,
        start: u64,
        end: u64,
    ) -> io::Result<()> {
        self.kind("numpy");
        let mut head = vec![0; usize::try_from((end - start).min(1 << 16)).unwrap_or(0)];
        read_at(source, start, &mut head)?;
        let (len, begin) = match head.as_slice() {
            [_, _, _, _, _, _, 1, _, a, b, ..] => (u64::from(u16::from_le_bytes([*a, *b])), 10),
            [_, _, _, _, _, _, 2 | 3, _, a, b, c, d, ..] => {
                (u64::from(u32::from_le_bytes([*a, *b, *c, *d])), 12)
            }
            _ => {
                self.add(Verdict::Suspicious, "an array that can't be read");
                return Ok(());
            }
        };
        let header_end = usize::try_from(begin + len).unwrap_or(usize::MAX);
        let Some(header) = head.get(..header_end) else {
            self.add(Verdict::Suspicious, "an array whose header is too long");
            return Ok(());
        };
        let header = String::from_utf8_lossy(header);
        let has_objects =
            header.contains("'|O'") || header.contains("'O'") || header.contains("|O8");
        if has_objects {
            return self.pickles(source, start + begin + len, end);
        }
        Ok(())
    }

    pub(super) fn gguf(&mut self, source: &mut dyn Source, size: u64) -> io::Result<()> {
        self.kind("gguf");
        let header = match GgufHeader::read(source, size) {
            Ok(header) => header,
            Err(TensorError::Io(e)) => return Err(e),
            Err(TensorError::Refused(why)) => {
                self.add(
                    Verdict::Suspicious,
                    format!("a GGUF file that can't be read: {why}"),
                );
                return Ok(());
            }
        };
        for (key, template) in &header.templates {
            let found = TEMPLATE.iter().find(|t| template.contains(**t));
            if let Some(found) = found {
                self.add(Verdict::Suspicious, format!("{key} has `{found}`"));
            }
        }
        Ok(())
    }

    pub(super) fn onnx(&mut self, source: &mut dyn Source, start: u64, end: u64) -> io::Result<()> {
        self.kind("onnx");
        let facts = match OnnxFacts::read(source, start, end) {
            Ok(facts) => facts,
            Err(TensorError::Io(e)) => return Err(e),
            Err(TensorError::Refused(why)) => {
                self.add(
                    Verdict::Suspicious,
                    format!("an ONNX file that can't be read: {why}"),
                );
                return Ok(());
            }
        };
        for domain in &facts.domains {
            if !DOMAINS.contains(&domain.as_str()) {
                self.add(
                    Verdict::Suspicious,
                    format!("operators of the domain `{domain}`"),
                );
            }
        }
        for location in &facts.locations {
            let leaves = location.starts_with('/')
                || location.contains('\\')
                || location.contains(':')
                || location.split('/').any(|part| part == "..");
            if leaves {
                let reason = format!("data outside of its folder: `{location}`");
                self.add(Verdict::Dangerous, reason);
            }
        }
        Ok(())
    }
}
