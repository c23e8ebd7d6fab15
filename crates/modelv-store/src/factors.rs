//! Adapters: files that hold low-rank updates of the tensors of other files (LoRA).
//!
//! Owns the names under which training libraries store the two factors of an update, and finds the
//! chunks that hold them. What it finds is advice: factors that don't explain a chunk are not used.

use std::collections::HashMap;
use std::io::{self, Read, Seek, SeekFrom};

use modelv_core::canon::{self, Kind};
use modelv_core::id::{BlobId, ChunkId};

use crate::codec::{
    self, COLUMNS_MAX, FACTOR_NUMBERS_MAX, Factor, Format, PIECES_MAX, Pair, Piece, RANKS_MAX,
};
use crate::error::{Error, Result};
use crate::fetch::places;
use crate::layout::{self, Tensor};
use crate::reader::target;
use crate::session::Session;
use crate::{Cuts, Tag};

/// Largest file that is looked into, in bytes.
const ADAPTER_BYTES_MAX: u64 = 8 << 30;
/// Most updates of an adapter.
const PAIRS_MAX: usize = 1 << 16;

/// A file of low-rank updates.
#[derive(Debug)]
pub struct Adapter {
    /// By the tensor they are for, see [`target_of`].
    pairs: HashMap<String, Updates>,
    /// Chunks of the file with their offsets.
    places: Vec<(u64, ChunkId, u32)>,
}

/// The factors of one update, rows × rank and rank × columns.
#[derive(Debug)]
struct Updates {
    rows: usize,
    columns: usize,
    rank: usize,
    alpha: Option<f64>,
    left: Side,
    right: Side,
}

#[derive(Debug, Clone, Copy)]
struct Side {
    start: u64,
    format: Format,
}

/// An update of one part of a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found<'a> {
    adapter: &'a Adapter,
    updates: &'a Updates,
}

/// What a tensor of an adapter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Right,
    Left,
    Alpha,
}

/// What stands between the name of a module and the rest: PEFT, diffusers, kohya.
const ROLES: [(&str, Role); 7] = [
    (".lora_A.", Role::Right),
    (".lora_B.", Role::Left),
    (".lora.down.", Role::Right),
    (".lora.up.", Role::Left),
    (".lora_down.", Role::Right),
    (".lora_up.", Role::Left),
    (".alpha", Role::Alpha),
];

/// What stands before it in an adapter and not in the model.
const PREFIXES: [&str; 9] = [
    "base_model.model.",
    "unet.",
    "transformer.",
    "text_encoder.",
    "lora_unet_",
    "lora_te_",
    "lora_te1_",
    "lora_te2_",
    "lora_transformer_",
];

/// One form for the names of a module: kohya writes `_` for `.`.
fn module(name: &str) -> String {
    let stripped = PREFIXES.iter().find_map(|p| name.strip_prefix(p));
    stripped.unwrap_or(name).replace('.', "_")
}

/// The module that the tensor of an adapter is for.
fn role_of(name: &str) -> Option<(String, Role)> {
    ROLES.iter().find_map(|(mark, role)| {
        let (before, behind) = name.rsplit_once(mark)?;
        let fits = match role {
            Role::Alpha => behind.is_empty(),
            // `weight`, or a name that was given to the adapter and then `weight`.
            _ => behind == "weight" || behind.ends_with(".weight"),
        };
        fits.then(|| (module(before), *role))
    })
}

/// The module that a tensor of a model belongs to.
fn target_of(name: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(name).ok()?;
    Some(module(name.strip_suffix(".weight")?))
}

/// Joins the tensors of an adapter to pairs.
fn pair_up(
    tensors: &[Tensor],
    alpha_of: &mut dyn FnMut(&Tensor) -> Option<f64>,
) -> HashMap<String, Updates> {
    let mut sides: HashMap<String, [Option<&Tensor>; 3]> = HashMap::new();
    for tensor in tensors {
        if let Some((module, role)) = role_of(&tensor.name) {
            let number = match role {
                Role::Left => 0,
                Role::Right => 1,
                Role::Alpha => 2,
            };
            sides.entry(module).or_default()[number] = Some(tensor);
        }
    }
    let pair = |(name, sides): (String, [Option<&Tensor>; 3])| {
        let [Some(left), Some(right), alpha] = sides else {
            return None;
        };
        let mut updates = updates_of(left, right)?;
        updates.alpha = alpha.and_then(&mut *alpha_of);
        Some((name, updates))
    };
    sides.into_iter().take(PAIRS_MAX).filter_map(pair).collect()
}

/// Checks shapes: rows × rank × 1…, rank × columns…
fn updates_of(left: &Tensor, right: &Tensor) -> Option<Updates> {
    let product = |dims: &[u64]| dims.iter().try_fold(1u64, |a, b| a.checked_mul(*b));
    let (rows, ranks) = left.shape.split_first()?;
    let (rank, columns) = right.shape.split_first()?;
    let columns = product(columns)?;
    let side = |tensor: &Tensor, numbers: u64| {
        let format = Format::from_safetensors(&tensor.dtype)?;
        let bytes = numbers.checked_mul(format.bytes() as u64)?;
        (bytes == tensor.len && bytes > 0).then_some(Side {
            start: tensor.start,
            format,
        })
    };
    let fits = product(ranks)? == *rank
        && *rank <= RANKS_MAX as u64
        && columns <= COLUMNS_MAX as u64
        && rank * columns <= FACTOR_NUMBERS_MAX as u64;
    fits.then_some(Updates {
        rows: usize::try_from(*rows).ok()?,
        columns: usize::try_from(columns).ok()?,
        rank: usize::try_from(*rank).ok()?,
        alpha: None,
        left: side(left, rows.checked_mul(*rank)?)?,
        right: side(right, rank.checked_mul(columns)?)?,
    })
}

impl Adapter {
    /// Updates that it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The update of a tensor of so many bytes.
    pub(crate) fn find(&self, name: &[u8], bytes: u64) -> Option<Found<'_>> {
        let updates = self.pairs.get(&target_of(name)?)?;
        let numbers = updates.rows as u64 * updates.columns as u64;
        let fits = [2, 4]
            .iter()
            .any(|size| numbers.checked_mul(*size) == Some(bytes));
        fits.then_some(Found {
            adapter: self,
            updates,
        })
    }

    /// The pieces of chunks that hold a range of the file.
    fn pieces(&self, start: u64, len: u64) -> Option<Vec<Piece>> {
        let end = start.checked_add(len)?;
        let first = self
            .places
            .partition_point(|(at, _, len)| at + u64::from(*len) <= start);
        let mut out = Vec::new();
        for (at, id, len) in &self.places[first..] {
            let (from, to) = (start.max(*at), end.min(at + u64::from(*len)));
            if from >= to || out.len() == PIECES_MAX {
                break;
            }
            out.push(Piece {
                id: id.0,
                offset: u32::try_from(from - at).ok()?,
                len: u32::try_from(to - from).ok()?,
            });
        }
        let found: u64 = out.iter().map(|p| u64::from(p.len)).sum();
        (found == len).then_some(out)
    }
}

impl Found<'_> {
    /// Column of the number at an offset of the tensor.
    pub(crate) fn column(&self, number: u64) -> usize {
        usize::try_from(number).unwrap_or(0) % self.updates.columns
    }

    /// Bytes of a number of the tensor, which has so many bytes.
    pub(crate) fn number_bytes(&self, tensor: u64) -> u64 {
        (tensor / (self.updates.rows as u64 * self.updates.columns as u64)).max(1)
    }

    /// The factors for a range of the tensor's numbers, if they can be read.
    pub(crate) fn pair(&self, session: &Session<'_>, first: u64, count: u64) -> Option<Pair> {
        let Updates {
            columns,
            rank,
            alpha,
            left,
            right,
            ..
        } = *self.updates;
        let (row, end) = (
            first / columns as u64,
            (first + count).div_ceil(columns as u64),
        );
        let numbers = (end - row).checked_mul(rank as u64)?;
        if count == 0 || numbers > FACTOR_NUMBERS_MAX as u64 {
            return None;
        }
        let factor = |side: Side, from: u64, numbers: u64| {
            let size = side.format.bytes() as u64;
            let pieces = self
                .adapter
                .pieces(side.start + from * size, numbers * size)?;
            Some(Factor {
                format: side.format,
                pieces,
            })
        };
        let left = factor(left, row * rank as u64, numbers)?;
        let right = factor(right, 0, rank as u64 * columns as u64)?;
        let read = |factor| codec::load_factor(factor, &|id, most| session.read_kept(id, most));
        Some(Pair {
            columns,
            rank,
            alpha,
            left_values: read(&left).ok()?,
            right_values: read(&right).ok()?,
            left,
            right,
        })
    }
}

impl Session<'_> {
    /// Looks into a file that may hold low-rank updates, stored before or in this session. `config`
    /// is what lies beside it as `adapter_config.json`. None when there are no updates in it.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn adapter(&self, blob: &BlobId, config: Option<&[u8]>) -> Result<Option<Adapter>> {
        let Some(mut input) = Content::open(self, blob)? else {
            return Ok(None);
        };
        if input.size > ADAPTER_BYTES_MAX {
            return Ok(None);
        }
        let size = input.size;
        let tensors = layout::tensors(&mut input, size).map_err(Error::Input)?;
        let mut pairs = pair_up(&tensors, &mut |tensor| alpha_in(&mut input, tensor));
        if let Some(alpha) = config.and_then(alpha_of_config) {
            for updates in pairs.values_mut() {
                updates.alpha.get_or_insert(alpha);
            }
        }
        let places = input.places;
        Ok((!pairs.is_empty()).then_some(Adapter { pairs, places }))
    }
}

/// `lora_alpha` of PEFT's configuration.
fn alpha_of_config(json: &[u8]) -> Option<f64> {
    let config: serde_json::Value = serde_json::from_slice(json).ok()?;
    config.get("lora_alpha")?.as_f64()
}

/// The one number of a tensor.
fn alpha_in(input: &mut Content<'_, '_>, tensor: &Tensor) -> Option<f64> {
    let format = Format::from_safetensors(&tensor.dtype)?;
    let mut bytes = vec![0; format.bytes()];
    if tensor.len != bytes.len() as u64 {
        return None;
    }
    input.seek(SeekFrom::Start(tensor.start)).ok()?;
    input.read_exact(&mut bytes).ok()?;
    format.values(&bytes).first().map(|v| f64::from(*v))
}

/// A file that a session may just have stored, for reading.
struct Content<'a, 'b> {
    session: &'a Session<'b>,
    places: Vec<(u64, ChunkId, u32)>,
    size: u64,
    position: u64,
    /// The chunk in memory: its offset and bytes.
    current: Option<(u64, Vec<u8>)>,
}

impl<'a, 'b> Content<'a, 'b> {
    fn open(session: &'a Session<'b>, blob: &BlobId) -> Result<Option<Self>> {
        let mut content = Self {
            session,
            places: Vec::new(),
            size: 0,
            position: 0,
            current: None,
        };
        if let Some(bytes) = session.read(&(Tag::Chunk.byte(), blob.0))? {
            content.size = bytes.len() as u64;
            content.places = vec![(0, ChunkId(blob.0), u32::try_from(bytes.len()).unwrap_or(0))];
            content.current = Some((0, bytes));
        } else if let Some(bytes) = session.read(&(Tag::Object(Kind::Cuts).byte(), blob.0))? {
            let cuts: Cuts = canon::decode(&bytes)?;
            content.size = cuts.size;
            content.places = places(&cuts);
        } else {
            return Ok(None);
        }
        Ok(Some(content))
    }
}

impl Read for Content<'_, '_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.position >= self.size || buf.is_empty() {
            return Ok(0);
        }
        let number = self.places.partition_point(|(at, ..)| *at <= self.position) - 1;
        let (start, id, _) = self.places[number];
        if self.current.as_ref().is_none_or(|(at, _)| *at != start) {
            let key = (Tag::Chunk.byte(), id.0);
            let bytes = self.session.read(&key).map_err(io::Error::other)?;
            let bytes = bytes.ok_or_else(|| io::Error::other("a chunk is missing"))?;
            self.current = Some((start, bytes));
        }
        let bytes = self.current.as_ref().map_or(&[][..], |(_, b)| b);
        let at = usize::try_from(self.position - start).unwrap_or(usize::MAX);
        let rest = bytes.get(at..).unwrap_or(&[]);
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        self.position += len as u64;
        Ok(len)
    }
}

impl Seek for Content<'_, '_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.position = target(to, self.size, self.position)?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_factors_lead_to_tensors() {
        let target = |name: &str| target_of(name.as_bytes());
        let cases = [
            (
                "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
                "model.layers.0.self_attn.q_proj.weight",
                Role::Right,
            ),
            (
                "base_model.model.layers.3.v.lora_B.default.weight",
                "layers.3.v.weight",
                Role::Left,
            ),
            (
                "unet.down.0.to_q.lora.up.weight",
                "down.0.to_q.weight",
                Role::Left,
            ),
            (
                "lora_unet_down_0_to_q.lora_down.weight",
                "down.0.to_q.weight",
                Role::Right,
            ),
            (
                "lora_te_text_model_q.alpha",
                "text_model.q.weight",
                Role::Alpha,
            ),
        ];
        for (name, tensor, role) in cases {
            let (module, found) = role_of(name).unwrap();
            assert_eq!((Some(module), found), (target(tensor), role), "{name}");
        }
        for other in [
            "model.q.weight",
            "q.lora_A.bias",
            "lora_A",
            "x.alpha.weight",
            "",
        ] {
            assert_eq!(role_of(other), None, "{other}");
        }
        assert_eq!(target("q.bias"), None);
        assert_eq!(target_of(b"\xff.weight"), None);
    }

    /// Dimensions and bytes.
    type Shape<'a> = (&'a [u64], u64);

    fn tensor(name: &str, shape: &[u64], len: u64) -> Tensor {
        Tensor {
            name: name.into(),
            dtype: "F32".into(),
            shape: shape.to_vec(),
            start: 100,
            len,
        }
    }

    #[test]
    fn only_pairs_that_fit_are_taken() {
        let pairs = |left: Shape, right: Shape| {
            let tensors = [
                tensor("q.lora_B.weight", left.0, left.1),
                tensor("q.lora_A.weight", right.0, right.1),
                tensor("q.alpha", &[], 4),
            ];
            pair_up(&tensors, &mut |_| Some(8.0)).remove("q")
        };
        let found = pairs((&[10, 4], 160), (&[4, 6], 96)).unwrap();
        assert_eq!((found.rows, found.columns, found.rank), (10, 6, 4));
        assert_eq!(found.alpha, Some(8.0));
        let found = pairs((&[10, 4, 1, 1], 160), (&[4, 2, 3, 3], 288)).unwrap();
        assert_eq!((found.rows, found.columns, found.rank), (10, 18, 4));
        let no: [(Shape, Shape); 7] = [
            ((&[10, 5], 200), (&[4, 6], 96)),
            ((&[10, 4], 160), (&[4, 6], 95)),
            ((&[10, 4], 80), (&[4, 6], 96)),
            ((&[], 4), (&[4, 6], 96)),
            ((&[0, 4], 0), (&[4, 6], 96)),
            ((&[u64::MAX, 4], 160), (&[4, u64::MAX], 96)),
            ((&[1, 1024], 4096), (&[1024, 1], 4096)),
        ];
        for (left, right) in no {
            assert!(pairs(left, right).is_none(), "{left:?} {right:?}");
        }
    }
}
