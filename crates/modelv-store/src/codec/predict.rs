//! What is left of a chunk over a prediction: a base chunk, and low-rank updates (the factors of a
//! LoRA) that lie in other chunks. See `spec/predict.md`.
//!
//! Owns the header that names them, and the decoder. Every number of the header is checked against
//! the limits before anything is allocated, and every chunk that it names is read through the
//! caller, who bounds how far that leads.

use super::floats::Format;
use super::planes::Width;
use super::product::{self, Rule, Sum};
use super::scratch::Scratch;
use super::{Bases, Content, WORTH, planes, residual, sample};
use crate::error::{Error, Result};

/// Most updates of a chunk.
pub(crate) const UPDATES_MAX: usize = 4;
/// Largest rank, all updates of a chunk together.
pub(crate) const RANKS_MAX: usize = 512;
/// Most pieces of a factor.
pub(crate) const PIECES_MAX: usize = 32;
/// Most numbers of a factor that one chunk needs.
pub(crate) const FACTOR_NUMBERS_MAX: usize = 4 << 20;
/// Most columns of a matrix.
pub(crate) const COLUMNS_MAX: usize = 1 << 24;

const ID_BYTES: usize = 32;
const PIECE_BYTES: usize = ID_BYTES + 8;
/// Longest header: what must be read of an entry to know all that it names.
pub(crate) const HEADER_BYTES_MAX: usize =
    ID_BYTES + 1 + 9 + UPDATES_MAX * (10 + 2 * (2 + PIECES_MAX * PIECE_BYTES));

/// A range of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) id: [u8; 32],
    pub(crate) offset: u32,
    pub(crate) len: u32,
}

/// Rows of numbers, in pieces one behind the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Factor {
    pub(crate) format: Format,
    pub(crate) pieces: Vec<Piece>,
}

/// An update: the rows of the left factor that the chunk touches, and the whole of the right one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Update {
    pub(super) rank: usize,
    pub(super) rule: Rule,
    pub(super) left: Factor,
    pub(super) right: Factor,
}

/// Where the numbers of a chunk are in their matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) format: Format,
    pub(crate) columns: usize,
    /// Column of the first number.
    pub(crate) first: usize,
}

impl Place {
    /// Rows that so many numbers touch.
    pub(super) fn rows(&self, count: usize) -> usize {
        (self.first + count).div_ceil(self.columns)
    }
}

/// What a chunk is predicted from. Without a place there are no updates: the base is the prediction.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Header {
    pub(super) base: [u8; 32],
    pub(super) place: Option<Place>,
    pub(super) updates: Vec<Update>,
}

fn bad(detail: &str) -> Error {
    Error::corrupt("predicted entry", detail)
}

/// Takes fields from the front.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, rest) = self
            .0
            .split_first_chunk()
            .ok_or_else(|| bad("it is cut off"))?;
        self.0 = rest;
        Ok(*head)
    }

    fn u8(&mut self) -> Result<u8> {
        self.take().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Result<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn format(&mut self) -> Result<Format> {
        Format::from_byte(self.u8()?).ok_or_else(|| bad("unknown format of numbers"))
    }

    fn place(&mut self) -> Result<Place> {
        let format = self.format()?;
        let (columns, first) = (self.u32()? as usize, self.u32()? as usize);
        if columns > COLUMNS_MAX || first >= columns {
            return Err(bad("its place in the matrix is impossible"));
        }
        Ok(Place {
            format,
            columns,
            first,
        })
    }

    fn factor(&mut self) -> Result<Factor> {
        let format = self.format()?;
        let count = usize::from(self.u8()?);
        if count == 0 || count > PIECES_MAX {
            return Err(bad("a factor has no pieces or too many"));
        }
        let mut pieces = Vec::with_capacity(count);
        for _ in 0..count {
            pieces.push(Piece {
                id: self.take()?,
                offset: self.u32()?,
                len: self.u32()?,
            });
        }
        Ok(Factor { format, pieces })
    }

    fn update(&mut self) -> Result<Update> {
        let rank = usize::from(u16::from_le_bytes(self.take()?));
        let [sum, order, first, second] = self.take()?;
        let scale = f32::from_le_bytes(self.take()?);
        let way = || bad("an update is made in an unknown way");
        if rank == 0 || order > 1 || !scale.is_finite() {
            return Err(way());
        }
        let rule = Rule {
            sum: Sum::from_byte(sum).ok_or_else(way)?,
            scale_first: order == 1,
            first: Format::from_byte(first).ok_or_else(way)?,
            second: Format::from_byte(second).ok_or_else(way)?,
            scale,
        };
        Ok(Update {
            rank,
            rule,
            left: self.factor()?,
            right: self.factor()?,
        })
    }
}

impl Header {
    /// Reads the header of stored bytes, or of enough of them; with what is behind it.
    pub(super) fn read(stored: &[u8]) -> Result<(Self, &[u8])> {
        let mut fields = Fields(stored);
        let base = fields.take()?;
        let count = usize::from(fields.u8()?);
        if count > UPDATES_MAX {
            return Err(bad("it has too many updates"));
        }
        let place = (count > 0).then(|| fields.place()).transpose()?;
        let updates = (0..count)
            .map(|_| fields.update())
            .collect::<Result<Vec<_>>>()?;
        if updates.iter().map(|u| u.rank).sum::<usize>() > RANKS_MAX {
            return Err(bad("its ranks are above the limit"));
        }
        let header = Self {
            base,
            place,
            updates,
        };
        Ok((header, fields.0))
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = self.base.to_vec();
        out.push(self.updates.len() as u8);
        if let Some(place) = self.place {
            out.push(place.format as u8);
            out.extend_from_slice(&(place.columns as u32).to_le_bytes());
            out.extend_from_slice(&(place.first as u32).to_le_bytes());
        }
        for update in &self.updates {
            let rule = update.rule;
            out.extend_from_slice(&(update.rank as u16).to_le_bytes());
            out.extend_from_slice(&[rule.sum as u8, u8::from(rule.scale_first)]);
            out.extend_from_slice(&[rule.first as u8, rule.second as u8]);
            out.extend_from_slice(&rule.scale.to_le_bytes());
            for factor in [&update.left, &update.right] {
                out.extend_from_slice(&[factor.format as u8, factor.pieces.len() as u8]);
                for piece in &factor.pieces {
                    out.extend_from_slice(&piece.id);
                    out.extend_from_slice(&piece.offset.to_le_bytes());
                    out.extend_from_slice(&piece.len.to_le_bytes());
                }
            }
        }
        out
    }

    /// Checks that factors of an update have as many numbers as the place asks for.
    fn check(&self, numbers: usize) -> Result<()> {
        let Some(place) = self.place else {
            return Ok(());
        };
        for update in &self.updates {
            let sides = [
                (&update.left, place.rows(numbers)),
                (&update.right, place.columns),
            ];
            for (factor, lines) in sides {
                let want = lines * update.rank;
                let have: u64 = factor.pieces.iter().map(|p| u64::from(p.len)).sum();
                if want > FACTOR_NUMBERS_MAX || have != (want * factor.format.bytes()) as u64 {
                    return Err(bad("a factor has another shape than its place"));
                }
            }
        }
        Ok(())
    }
}

/// Ids of all chunks that stored bytes name, the base first, and whether there are updates;
/// [`HEADER_BYTES_MAX`] bytes are enough.
pub(crate) fn names(stored: &[u8]) -> Result<(Vec<[u8; 32]>, bool)> {
    let (header, _) = Header::read(stored)?;
    let mut ids = vec![header.base];
    for update in &header.updates {
        let pieces = update.left.pieces.iter().chain(&update.right.pieces);
        for piece in pieces {
            if !ids.contains(&piece.id) {
                ids.push(piece.id);
            }
        }
    }
    Ok((ids, !header.updates.is_empty()))
}

/// Reads the numbers of a factor.
pub(crate) fn load(factor: &Factor, bases: Bases<'_>) -> Result<Vec<f32>> {
    let mut values = Vec::new();
    let mut rest = Vec::new();
    for piece in &factor.pieces {
        let chunk = bases(&piece.id, 0)?;
        let start = piece.offset as usize;
        let bytes = start
            .checked_add(piece.len as usize)
            .and_then(|end| chunk.get(start..end));
        let bytes = bytes.ok_or_else(|| bad("a factor lies outside of its chunk"))?;
        if rest.is_empty() && bytes.len().is_multiple_of(factor.format.bytes()) {
            values.extend(factor.format.values(bytes));
            continue;
        }
        // A number that lies in two pieces.
        rest.extend_from_slice(bytes);
        let whole = rest.len() / factor.format.bytes() * factor.format.bytes();
        values.extend(factor.format.values(&rest[..whole]));
        rest.drain(..whole);
    }
    Ok(values)
}

/// Adds an update to stored numbers that are at `place`.
pub(super) fn apply(words: &mut [u8], place: Place, rule: &Rule, left: &[f32], right: &[f32]) {
    let size = place.format.bytes();
    let rank = right.len() / place.columns;
    let mut sums = vec![0.0; place.columns.min(words.len() / size)];
    for (row, columns, range) in product::rows(place.columns, place.first, words.len() / size) {
        let sums = &mut sums[..range.len()];
        let line = rule.scaled_row(&left[row * rank..(row + 1) * rank]);
        product::sums(rule.sum, &line, right, place.columns, columns.start, sums);
        rule.finish(sums);
        let words = &mut words[range.start * size..range.end * size];
        product::add(place.format, words, sums);
    }
}

/// The header of an entry whose prediction is its base.
pub(super) fn header_over(base: &[u8; 32]) -> Vec<u8> {
    let header = Header {
        base: *base,
        place: None,
        updates: Vec::new(),
    };
    header.to_bytes()
}

/// Encodes what is left over a prediction into `scratch.out`, unless `alone`, the part of its size
/// that the chunk needs without one, is nearly as good; the length.
pub(super) fn encode(
    plain: &[u8],
    width: Width,
    header: &[u8],
    guess: &[u8],
    alone: f64,
    scratch: &mut Scratch,
) -> Option<usize> {
    let mut left = std::mem::take(&mut scratch.left);
    left.resize(plain.len(), 0);
    residual::take(width, plain, guess, &mut left);
    let (estimate, ..) = sample::planes_of(&left, Content::Numbers(width));
    let len = if estimate < WORTH * alone {
        planes::encode(&left, width, 0, header, scratch)
    } else {
        None
    };
    scratch.left = left;
    len
}

/// Decodes into `plain`, which has the entry's length. The base may itself be over another one, as
/// far as the caller allows; factors may not.
pub(super) fn decode(
    stored: &[u8],
    plain: &mut [u8],
    bases: Bases<'_>,
    scratch: &mut Scratch,
) -> Result<()> {
    let (header, rest) = Header::read(stored)?;
    let (width, skip) = planes::shape(rest)?;
    let right_width = header.place.is_none_or(|p| p.format.width() == width);
    if !right_width || skip != 0 || plain.is_empty() || !plain.len().is_multiple_of(width.bytes()) {
        return Err(bad("its numbers have another width"));
    }
    header.check(plain.len() / width.bytes())?;
    planes::decode(rest, plain, scratch)?;
    let mut guess = bases(&header.base, u8::MAX)?;
    if guess.len() != plain.len() {
        return Err(bad("the base has another length"));
    }
    if let Some(place) = header.place {
        for update in &header.updates {
            let (left, right) = (load(&update.left, bases)?, load(&update.right, bases)?);
            apply(&mut guess, place, &update.rule, &left, &right);
        }
    }
    residual::put(width, plain, &guess);
    Ok(())
}
