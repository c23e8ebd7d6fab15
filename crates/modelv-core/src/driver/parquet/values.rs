//! The encodings of values: plain, runs and bit-packing, deltas, split streams. Each gives exactly as
//! many values as were asked for, or `None`; what they unpack to is bounded by the caller's count and
//! by [`UNPACKED_BYTES_MAX`].

use super::footer::Physical;
use crate::thrift::Compact;

/// The values of one page take no more than this, in bytes.
pub(super) const UNPACKED_BYTES_MAX: usize = 64 << 20;

/// Values as bytes, least significant first; one after the other.
#[derive(Debug, Default)]
pub(super) struct Values {
    /// Of each, in bytes; 0: they differ.
    width: usize,
    data: Vec<u8>,
    /// Where each ends, if widths differ.
    ends: Vec<u32>,
}

impl Values {
    fn of(physical: Physical) -> Self {
        let width = match physical {
            Physical::Bool => 1,
            Physical::Int32 | Physical::Float => 4,
            Physical::Int64 | Physical::Double => 8,
            Physical::Int96 => 12,
            Physical::Fixed(width) => width,
            Physical::Bytes => 0,
        };
        Self {
            width,
            ..Self::default()
        }
    }

    pub(super) fn get(&self, at: usize) -> Option<&[u8]> {
        if self.width > 0 {
            let start = at.checked_mul(self.width)?;
            return self.data.get(start..start.checked_add(self.width)?);
        }
        let end = *self.ends.get(at)? as usize;
        let start = match at {
            0 => 0,
            _ => self.ends[at - 1] as usize,
        };
        self.data.get(start..end)
    }

    /// Bytes of memory.
    pub(super) fn held(&self) -> usize {
        self.data.len() + 4 * self.ends.len()
    }

    fn push(&mut self, parts: [&[u8]; 2]) -> Option<()> {
        for part in parts {
            self.data.extend_from_slice(part);
        }
        if self.data.len() > UNPACKED_BYTES_MAX {
            return None;
        }
        if self.width == 0 {
            self.ends.push(u32::try_from(self.data.len()).ok()?);
        }
        Some(())
    }
}

/// Values one after the other.
pub(super) fn plain(physical: Physical, data: &[u8], count: usize) -> Option<Values> {
    let mut out = Values::of(physical);
    match physical {
        Physical::Bool => {
            let bits = data.iter().flat_map(|b| (0..8).map(move |i| b >> i & 1));
            out.data = bits.take(count).collect();
        }
        Physical::Bytes => {
            let mut rest = Compact(data);
            for _ in 0..count {
                let length = rest.take(4)?;
                let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]);
                let value = rest.take(u64::from(length))?;
                out.push([value, b""])?;
            }
            return Some(out);
        }
        _ => out.data = data.get(..count.checked_mul(out.width)?)?.to_vec(),
    }
    (out.data.len() == count * out.width).then_some(out)
}

/// Runs and bit-packed groups: as many numbers of `width` bits as were asked for.
pub(super) fn hybrid(data: &[u8], width: u8, count: usize) -> Option<Vec<u32>> {
    if width > 32 {
        return None;
    }
    let mut out: Vec<u32> = Vec::new();
    let mut rest = Compact(data);
    while out.len() < count {
        // Nothing but zeros needs no bits, and some writers leave them out.
        if width == 0 && rest.0.is_empty() {
            out.resize(count, 0);
            break;
        }
        let head = rest.varint()?;
        let left = count - out.len();
        if head & 1 == 0 {
            let mut value = [0; 4];
            let bytes = rest.take(u64::from(width).div_ceil(8))?;
            value[..bytes.len()].copy_from_slice(bytes);
            let run = usize::try_from(head >> 1).ok()?.min(left);
            out.resize(out.len() + run, u32::from_le_bytes(value));
        } else {
            let groups = head >> 1;
            // The last group may be cut where the values end.
            let bytes = groups
                .checked_mul(u64::from(width))?
                .min(rest.0.len() as u64);
            let packed = rest.take(bytes)?;
            let fits = match width {
                0 => usize::MAX,
                _ => packed.len() * 8 / usize::from(width),
            };
            let n = usize::try_from(groups.checked_mul(8)?).ok()?.min(left);
            if fits < n {
                return None;
            }
            let width = usize::from(width);
            out.extend((0..n).map(|i| bits(packed, i * width, width) as u32));
        }
    }
    Some(out)
}

/// A number of up to 64 bits, the least significant first.
fn bits(data: &[u8], mut at: usize, width: usize) -> u64 {
    let (mut out, mut got) = (0u64, 0);
    while got < width {
        let n = (8 - at % 8).min(width - got);
        let part = u64::from(data[at / 8] >> (at % 8)) & ((1 << n) - 1);
        out |= part << got;
        got += n;
        at += n;
    }
    out
}

/// Differences in blocks. Gives the numbers and what stands behind them.
fn deltas(data: &[u8], count: usize) -> Option<(Vec<i64>, &[u8])> {
    let mut rest = Compact(data);
    let block = usize::try_from(rest.varint()?).ok()?;
    let parts = usize::try_from(rest.varint()?).ok()?;
    let total = usize::try_from(rest.varint()?).ok()?;
    let mut last = rest.int()?;
    let is_sane = parts > 0 && block > 0 && block <= 1 << 20 && block % parts == 0;
    if !is_sane || (block / parts) % 8 != 0 || total != count {
        return None;
    }
    let mut out = Vec::new();
    if count > 0 {
        out.push(last);
    }
    while out.len() < count {
        let least = rest.int()?;
        let widths = rest.take(parts as u64)?;
        for width in widths {
            if out.len() == count {
                break;
            }
            let (n, width) = (block / parts, usize::from(*width));
            if width > 64 {
                return None;
            }
            let packed = rest.take((n / 8 * width) as u64)?;
            for i in 0..n.min(count - out.len()) {
                let more = bits(packed, i * width, width).cast_signed();
                last = last.wrapping_add(least).wrapping_add(more);
                out.push(last);
            }
        }
    }
    Some((out, rest.0))
}

fn delta_ints(physical: Physical, data: &[u8], count: usize) -> Option<Values> {
    let mut out = Values::of(physical);
    if !matches!(physical, Physical::Int32 | Physical::Int64) {
        return None;
    }
    for number in deltas(data, count)?.0 {
        out.push([&number.to_le_bytes()[..out.width], b""])?;
    }
    Some(out)
}

/// Lengths as deltas, then all values in a row; with prefixes, the first of these are taken from
/// the value before.
fn delta_bytes(
    physical: Physical,
    data: &[u8],
    count: usize,
    has_prefixes: bool,
) -> Option<Values> {
    let mut out = Values::of(physical);
    if !matches!(physical, Physical::Bytes | Physical::Fixed(_)) {
        return None;
    }
    let (prefixes, data) = match has_prefixes {
        true => deltas(data, count)?,
        false => (vec![0; count], data),
    };
    let (lengths, data) = deltas(data, count)?;
    let mut rest = Compact(data);
    let mut last: Vec<u8> = Vec::new();
    for (prefix, length) in prefixes.into_iter().zip(lengths) {
        let prefix = usize::try_from(prefix).ok().filter(|n| *n <= last.len())?;
        let value = rest.take(u64::try_from(length).ok()?)?;
        last.truncate(prefix);
        last.extend_from_slice(value);
        if out.width > 0 && last.len() != out.width {
            return None;
        }
        out.push([&last, b""])?;
    }
    Some(out)
}

/// First bytes of all values, then second bytes of all.
fn split_streams(physical: Physical, data: &[u8], count: usize) -> Option<Values> {
    let mut out = Values::of(physical);
    let size = count.checked_mul(out.width)?;
    if out.width == 0 || physical == Physical::Bool || data.len() < size {
        return None;
    }
    out.data = (0..size)
        .map(|i| data[i % out.width * count + i / out.width])
        .collect();
    Some(out)
}

/// Values of any encoding but a dictionary's. Outer `None`: an encoding that we don't read.
#[expect(clippy::option_option, reason = "unknown and malformed are different")]
pub(super) fn decode(
    encoding: i64,
    physical: Physical,
    data: &[u8],
    count: usize,
) -> Option<Option<Values>> {
    Some(match encoding {
        0 => plain(physical, data, count),
        3 if physical == Physical::Bool => runs_of_bools(data, count),
        5 => delta_ints(physical, data, count),
        6 => delta_bytes(physical, data, count, false),
        7 => delta_bytes(physical, data, count, true),
        9 => split_streams(physical, data, count),
        _ => return None,
    })
}

fn runs_of_bools(data: &[u8], count: usize) -> Option<Values> {
    let data = data.get(4..)?;
    let mut out = Values::of(Physical::Bool);
    out.data = hybrid(data, 1, count)?
        .into_iter()
        .map(|b| b as u8)
        .collect();
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_and_groups() {
        // The example of the format's page on encodings: 0 to 7 in three bits each.
        let packed = [0b0000_0011, 0b1000_1000, 0b1100_0110, 0b1111_1010];
        assert_eq!(hybrid(&packed, 3, 8).unwrap(), (0..8).collect::<Vec<_>>());
        assert_eq!(hybrid(&[20, 7], 3, 10).unwrap(), [7; 10]);
        assert_eq!(hybrid(&[], 0, 3).unwrap(), [0; 3]);
        for (data, width, count) in [
            (&[20][..], 3, 1),
            (&[3, 1], 3, 8),
            (&[], 1, 1),
            (&[2, 1], 33, 1),
        ] {
            assert_eq!(hybrid(data, width, count), None, "{data:?}");
        }
        // A run that claims more than there is room for stops where it was asked to.
        let claims = [0xfe, 0xff, 0xff, 0xff, 0xff, 0x01, 1];
        assert_eq!(hybrid(&claims, 1, 5).unwrap().len(), 5);
    }

    #[test]
    fn deltas_of_the_page_on_encodings() {
        // 7, 5, 3, 1, 2, 3, 4, 5: first 7, least delta -2, deltas over it 0 0 0 3 3 3 3.
        let mut data = vec![0x80, 1, 4, 8, 14, 3, 2, 0, 0, 0];
        data.extend([0b1100_0000, 0b0011_1111, 0, 0, 0, 0, 0, 0]);
        let (found, rest) = deltas(&data, 8).unwrap();
        assert_eq!(found, [7, 5, 3, 1, 2, 3, 4, 5]);
        assert_eq!(rest, b"");
        assert_eq!(deltas(&data, 9), None);
        assert_eq!(deltas(&data[..8], 8), None);
        assert_eq!(deltas(&[0, 0, 1, 0], 1), None);
    }

    #[test]
    fn streams_are_joined() {
        let values = split_streams(Physical::Int32, &[1, 5, 2, 6, 3, 7, 4, 8], 2).unwrap();
        assert_eq!(values.get(1).unwrap(), [5, 6, 7, 8]);
        assert_eq!(values.get(2), None);
        assert!(split_streams(Physical::Int32, &[1, 5, 2, 6], 2).is_none());
    }

    #[test]
    fn values_that_lie_about_their_length_are_refused() {
        assert!(plain(Physical::Bytes, &[9, 0, 0, 0, 1], 1).is_none());
        assert!(plain(Physical::Bytes, &[0xff; 4], 1).is_none());
        assert!(plain(Physical::Int64, &[0; 15], 2).is_none());
        assert!(plain(Physical::Bool, &[0], 9).is_none());
        assert!(plain(Physical::Int64, &[], usize::MAX).is_none());
    }
}
