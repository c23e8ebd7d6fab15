//! Archives: PyTorch's checkpoints, npz, Keras. Members are found in the central directory, as the
//! programs that load them find them; flags and checksums that lie change nothing.

use std::io::{self, Cursor, Read};

use flate2::read::{DeflateDecoder, GzDecoder, ZlibDecoder};

use super::{INFLATED_BYTES_MAX, Looking, NESTED_MAX, Verdict};
use crate::driver::Source;
use crate::driver::tensor::{Member, TensorError, member_place, read_at, zip_members};

const STORED: u64 = 0;
const DEFLATED: u64 = 8;

impl Looking {
    pub(super) fn archive(
        &mut self,
        name: &str,
        source: &mut dyn Source,
        size: u64,
    ) -> io::Result<()> {
        let members = match zip_members(source, size) {
            Ok(members) => members,
            Err(TensorError::Io(e)) => return Err(e),
            Err(TensorError::Refused(why)) => {
                self.add(
                    Verdict::Suspicious,
                    format!("an archive that can't be read: {why}"),
                );
                return Ok(());
            }
        };
        let outer = self.member.clone();
        let mut pickles = 0;
        for member in &members {
            self.member = match outer.as_str() {
                "" => member.name.clone(),
                outer => format!("{outer}/{}", member.name),
            };
            pickles += usize::from(member.name.ends_with("data.pkl"));
            self.one(source, size, member)?;
        }
        self.member = outer;
        if pickles > 1 {
            self.add(
                Verdict::Suspicious,
                format!("it holds {pickles} pickles named data.pkl"),
            );
        }
        if name.ends_with(".keras") && !members.iter().any(|m| m.name == "config.json") {
            self.add(
                Verdict::Suspicious,
                "a Keras archive without its configuration",
            );
        }
        Ok(())
    }

    fn one(&mut self, source: &mut dyn Source, size: u64, member: &Member) -> io::Result<()> {
        let (start, end) = match member_place(source, size, member) {
            Ok(place) => place,
            Err(TensorError::Io(e)) => return Err(e),
            Err(TensorError::Refused(why)) => {
                self.add(Verdict::Suspicious, why.to_string());
                return Ok(());
            }
        };
        match member.method {
            STORED if member.name.ends_with("config.json") => self.keras(source, start, end),
            STORED => self.content(&member.name, source, start, end),
            DEFLATED => {
                let mut packed = vec![0; usize::try_from(end - start).unwrap_or(usize::MAX)];
                read_at(source, start, &mut packed)?;
                self.inflated(&member.name, DeflateDecoder::new(packed.as_slice()))
            }
            other => {
                self.add(
                    Verdict::Suspicious,
                    format!("a member of method {other} is not looked through"),
                );
                Ok(())
            }
        }
    }

    /// A file that is compressed as a whole, as joblib does.
    pub(super) fn compressed(
        &mut self,
        name: &str,
        source: &mut dyn Source,
        start: u64,
        end: u64,
    ) -> io::Result<()> {
        if end - start > INFLATED_BYTES_MAX {
            self.add(
                Verdict::Suspicious,
                "too much is compressed to be looked through",
            );
            return Ok(());
        }
        let mut packed = vec![0; usize::try_from(end - start).unwrap_or(0)];
        read_at(source, start, &mut packed)?;
        let inner = name.trim_end_matches(".gz").trim_end_matches(".z");
        if packed.starts_with(&[0x1f, 0x8b]) {
            return self.inflated(inner, GzDecoder::new(packed.as_slice()));
        }
        self.inflated(inner, ZlibDecoder::new(packed.as_slice()))
    }

    /// Looks at what is inflated, if it is not too much.
    fn inflated(&mut self, name: &str, packed: impl Read) -> io::Result<()> {
        let limit = INFLATED_BYTES_MAX.min(self.budget);
        let mut plain = Vec::new();
        let whole = packed.take(limit + 1).read_to_end(&mut plain);
        self.budget = self.budget.saturating_sub(plain.len() as u64);
        if plain.len() as u64 > limit {
            self.add(
                Verdict::Suspicious,
                "it inflates to more than is looked through",
            );
            plain.truncate(usize::try_from(limit).unwrap_or(0));
        } else if whole.is_err() && plain.is_empty() {
            // Bytes that only begin like a compressed file.
            return Ok(());
        }
        if self.nested >= NESTED_MAX {
            self.add(
                Verdict::Suspicious,
                "it is nested too deeply to be looked through",
            );
            return Ok(());
        }
        self.nested += 1;
        let size = plain.len() as u64;
        let mut plain = Cursor::new(plain);
        if name.ends_with("config.json") {
            self.keras(&mut plain, 0, size)?;
        } else {
            self.content(name, &mut plain, 0, size)?;
        }
        self.nested -= 1;
        Ok(())
    }
}
