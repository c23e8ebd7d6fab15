//! What the front and a worker say to each other over their socket.
//!
//! A frame is a little-endian `u32` length and so many bytes. A question is a list of bodies, an answer a
//! list of parts in the same order. Must never allocate what a length claims before the bytes are there.

use axum::body::Bytes;

/// Largest answer that is made in this process, in bytes, and what all answers of a commit may have.
pub(crate) const ANSWER_BYTES_MAX: usize = 256 << 20;
/// Length of a length.
const LEN: usize = 4;

/// What a worker says to one body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// The result, as JSON text.
    Result(Bytes),
    /// The function raised: an object with `message` and `trace`.
    Raised(Bytes),
    /// The body is not what the function takes.
    Unfit(Bytes),
    /// Results follow one by one, each when it is asked for.
    Stream,
    /// There are no more of them.
    End,
    /// The whole answer was thrown away: it has more bytes than answers may have, or than the others leave.
    NoRoom { ever: bool },
}

fn number(bytes: &[u8]) -> Option<usize> {
    let head = bytes.first_chunk::<LEN>()?;
    Some(u32::from_le_bytes(*head) as usize)
}

/// A question.
///
/// # Errors
/// It is longer than its length can say: the rest would be read as another question.
pub(crate) fn question(bodies: &[&[u8]]) -> Result<Vec<u8>, &'static str> {
    const LONG: &str = "a question above 4 GiB";
    let mut lengths = bodies.iter().map(|b| b.len() + LEN);
    let len = lengths
        .try_fold(0usize, usize::checked_add)
        .and_then(|n| u32::try_from(n).ok())
        .ok_or(LONG)?;
    let mut out = Vec::with_capacity(LEN + len as usize);
    out.extend_from_slice(&len.to_le_bytes());
    for body in bodies {
        let len = u32::try_from(body.len()).map_err(|_| LONG)?;
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(body);
    }
    Ok(out)
}

/// How many bytes the frame takes that begins here; `None`: too few are here to tell.
pub(crate) fn frame_bytes(bytes: &[u8]) -> Option<usize> {
    number(bytes).map(|len| len.saturating_add(LEN))
}

/// The parts of a whole frame.
///
/// # Errors
/// The bytes are no answer.
pub(crate) fn parts(frame: &Bytes) -> Result<Vec<Part>, &'static str> {
    const CUT: &str = "a part of an answer is cut off";
    let mut rest = frame.get(LEN..).ok_or(CUT)?;
    let own = |text: &[u8]| frame.slice_ref(text);
    let mut out = Vec::new();
    while let Some((kind, after)) = rest.split_first() {
        let len = number(after).ok_or(CUT)?;
        let (text, after) = after[LEN..].split_at_checked(len).ok_or(CUT)?;
        out.push(match kind {
            b'k' => Part::Result(own(text)),
            b'e' => Part::Raised(own(text)),
            b'u' => Part::Unfit(own(text)),
            b's' => Part::Stream,
            b'z' => Part::End,
            _ => return Err("a part of no known kind"),
        });
        rest = after;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_and_answers_are_lists() {
        let asked = question(&[&b"[1]"[..], b"{}"]).unwrap();
        assert_eq!(asked, b"\x0d\0\0\0\x03\0\0\0[1]\x02\0\0\0{}");
        let frame = Bytes::from_static(b"\x0d\0\0\0k\x02\0\0\0[]e\x01\0\0\0!");
        assert_eq!(frame_bytes(&frame), Some(17));
        let text = Bytes::from_static;
        let want = [Part::Result(text(b"[]")), Part::Raised(text(b"!"))];
        assert_eq!(parts(&frame).unwrap(), want);
        for end in 5..frame.len() {
            let cut = parts(&frame.slice(..end));
            assert!(cut.is_err() || end == 11, "{end}: {cut:?}");
        }
        assert_eq!(frame_bytes(b"\0\0"), None);
        assert!(parts(&text(b"\x05\0\0\0?\0\0\0\0")).is_err());
    }
}
