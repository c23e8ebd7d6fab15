//! The arrays of npz: a zip of npy files. Only members stored as they are are read, so that no small
//! file can become a large one; their places may not overlap.

use super::super::Refusal;
use super::zip::{member_place, zip_members};
use super::{Source, TensorError, Tensors, npy};

pub(super) fn read(source: &mut dyn Source, size: u64) -> Result<Tensors, TensorError> {
    let bad = |text: &str| TensorError::Refused(Refusal::Invalid(text.to_owned()));
    let mut out = Tensors::new();
    let mut spans = Vec::new();
    for member in zip_members(source, size)? {
        if member.method != 0 || member.bytes != member.plain {
            return Err(Refusal::Beyond("its members are compressed".into()).into());
        }
        let (begin, end) = member_place(source, size, &member)?;
        spans.push((member.at, end));
        let tensor = npy::read(source, begin, end)?;
        let name = member.name.strip_suffix(".npy").unwrap_or(&member.name);
        if out.insert(name.to_owned(), tensor).is_some() {
            return Err(bad("two members have one name"));
        }
    }
    spans.sort_unstable();
    if spans.windows(2).any(|w| w[1].0 < w[0].1) {
        return Err(bad("its members overlap"));
    }
    Ok(out)
}
