//! `modelv cat`.

use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;
use std::sync::Arc;

use super::{Done, Session};
use crate::error::CommandError;

/// Print a file of a commit, or a part of it.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// `REV:PATH`, the path from the root of the working tree; `REV:./PATH` from this folder.
    what: std::ffi::OsString,
    /// Only the bytes from START up to END, which is not printed: `0-16`, `4096-`, or `-100` for the
    /// last hundred. Only the chunks that hold them are decoded.
    #[arg(long, value_name = "START-END", allow_hyphen_values = true)]
    range: Option<Range>,
}

/// Bytes of a file, as typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Range {
    From(u64, Option<u64>),
    Last(u64),
}

impl std::str::FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is no range; for example `0-16`, `4096-` or `-100`");
        let number = |digits: &str| digits.parse::<u64>().map_err(|_| bad());
        let (start, end) = text.split_once('-').ok_or_else(bad)?;
        match (start, end) {
            ("", last) => Ok(Self::Last(number(last)?)),
            (start, "") => Ok(Self::From(number(start)?, None)),
            (start, end) => {
                let (start, end) = (number(start)?, number(end)?);
                if end < start {
                    return Err(format!("`{text}` ends before it begins"));
                }
                Ok(Self::From(start, Some(end)))
            }
        }
    }
}

impl Range {
    /// Start and end in a file of `size` bytes; what lies behind its end is nothing.
    fn within(self, size: u64) -> (u64, u64) {
        match self {
            Self::From(start, end) => (start.min(size), end.unwrap_or(size).min(size)),
            Self::Last(count) => (size.saturating_sub(count), size),
        }
    }
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    let bytes = args.what.as_bytes();
    let at = bytes.iter().position(|b| *b == b':').ok_or_else(|| {
        CommandError::usage(
            "expected `REV:PATH`",
            "for example `modelv cat HEAD:train.py`",
        )
    })?;
    let repo = s.repo()?;
    let revision = String::from_utf8_lossy(&bytes[..at]);
    let path = s.path_of_rev(&repo, &bytes[at + 1..])?;
    let mut reader = Arc::new(repo).open_file(&revision, &path)?;
    let range = args.range.unwrap_or(Range::From(0, None));
    let (mut position, end) = range.within(reader.size());
    let mut buffer = vec![0; 1 << 18];
    // A whole file is read from the front: its id is checked at the end then.
    while position < end {
        let wanted = usize::try_from(end - position).unwrap_or(usize::MAX);
        let wanted = wanted.min(buffer.len());
        let n = reader.read_at(position, &mut buffer[..wanted])?;
        if n == 0 {
            break;
        }
        s.ui.bytes(&buffer[..n]);
        position += n as u64;
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_half_open_and_end_with_the_file() {
        for (text, want) in [
            ("0-16", (0, 16)),
            ("4-", (4, 100)),
            ("-10", (90, 100)),
            ("-1000", (0, 100)),
            ("90-1000", (90, 100)),
            ("200-300", (100, 100)),
            ("7-7", (7, 7)),
        ] {
            let range: Range = text.parse().unwrap();
            assert_eq!(range.within(100), want, "{text}");
        }
        for bad in ["", "-", "x-1", "1", "5-2", "1-2-3", "99999999999999999999-"] {
            assert!(bad.parse::<Range>().is_err(), "{bad}");
        }
    }
}
