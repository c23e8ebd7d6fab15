//! What is known of a run in short: enough to filter, to sort and to list it, as bytes of the file
//! `runindex` (`spec/statcache.md`). Must never be believed but from a block whose hash is right.

use modelv_core::id::{RecipeId, RunId, StageId, TreeId};
use modelv_core::run::{Run, Status};
use modelv_core::value::Value;

use super::Field;
use crate::error::Result;
use crate::repo::Repo;

/// Longer texts are looked up in the run itself, in bytes.
const TEXT_BYTES_MAX: usize = 4 << 10;
/// So much of a command is shown, in bytes.
const COMMAND_BYTES_MAX: usize = 400;
/// So many metrics stand in a line.
const METRICS_SHOWN: usize = 4;

const DOUBTFUL: u8 = 1;
const REPEATS: u8 = 2;

/// A run in short.
#[derive(Debug, Clone)]
pub(crate) struct Entry<'a> {
    pub(crate) id: RunId,
    /// Number of the operation that recorded it.
    pub(crate) seq: u64,
    pub(crate) nonce: [u8; 16],
    pub(crate) parent: Option<[u8; 16]>,
    pub(crate) recipe: RecipeId,
    pub(crate) outputs: Option<TreeId>,
    pub(crate) started: i64,
    pub(crate) duration_ms: u64,
    pub(crate) status: Status,
    pub(crate) is_doubtful: bool,
    pub(crate) repeats: bool,
    /// Name and key of the stage.
    pub(crate) stage: Option<(&'a str, StageId)>,
    command: &'a str,
    params: &'a [u8],
    metrics: &'a [u8],
}

/// A value as it stands in the file.
enum Cell<'a> {
    Known(Value),
    /// What is no scalar, as it is shown.
    Shown(&'a str),
    /// Too long to be here.
    Long,
}

/// A metric as it is shown.
pub struct Shown<'a>(Cell<'a>);

impl Shown<'_> {
    /// The number, if it is one between whole ones.
    #[must_use]
    pub fn fraction(&self) -> Option<f64> {
        match self.0 {
            Cell::Known(Value::Float(n)) if n.is_finite() && n.fract() != 0.0 => Some(n),
            _ => None,
        }
    }
}

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::fmt::Display for Cell<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Known(value) => value.fmt(f),
            Self::Shown(text) => f.write_str(text),
            Self::Long => f.write_str("..."),
        }
    }
}

/// A run in a list.
#[derive(Debug, Clone)]
pub struct RunLine<'a>(Entry<'a>);

impl<'a> RunLine<'a> {
    pub(super) fn new(entry: Entry<'a>) -> Self {
        Self(entry)
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> RunId {
        self.0.id
    }

    /// Tells it to its parts.
    #[must_use]
    pub fn nonce(&self) -> [u8; 16] {
        self.0.nonce
    }

    /// Nonce of the run that it is a part of.
    #[must_use]
    pub fn parent(&self) -> Option<[u8; 16]> {
        self.0.parent
    }

    /// When it started, in seconds since 1970.
    #[must_use]
    pub fn started(&self) -> i64 {
        self.0.started
    }

    /// How long it took, in milliseconds.
    #[must_use]
    pub fn duration_ms(&self) -> u64 {
        self.0.duration_ms
    }

    /// How it ended.
    #[must_use]
    pub fn status(&self) -> Status {
        self.0.status
    }

    /// Whether its result stands for no other run.
    #[must_use]
    pub fn is_doubtful(&self) -> bool {
        self.0.is_doubtful
    }

    /// The stage that was executed, if it was one.
    #[must_use]
    pub fn stage(&self) -> Option<&'a str> {
        self.0.stage.map(|(name, _)| name)
    }

    /// The beginning of what was executed.
    #[must_use]
    pub fn command(&self) -> &'a str {
        self.0.command
    }

    /// Some of its metrics, as they are shown.
    pub fn metrics(&self) -> impl Iterator<Item = (&'a str, Shown<'a>)> + use<'a> {
        let cells = Cells(self.0.metrics).take(METRICS_SHOWN);
        cells.map(|(name, cell)| (name, Shown(cell)))
    }
}

impl<'a> Entry<'a> {
    /// A parameter or metric. Lists and maps are the texts they are shown as.
    pub(crate) fn value(&self, repo: &Repo, field: Field, key: &str) -> Result<Option<Value>> {
        let found = Cells(self.cells(field)).find(|(name, _)| *name == key);
        Ok(match found.map(|(_, cell)| cell) {
            None => None,
            Some(Cell::Known(value)) => Some(value),
            Some(Cell::Shown(_) | Cell::Long) => {
                field.of(&repo.run_object(self.id)?).get(key).cloned()
            }
        })
    }

    /// Keys of its parameters or metrics.
    pub(super) fn keys(&self, field: Field) -> impl Iterator<Item = &'a str> + use<'a> {
        Cells(self.cells(field)).map(|(name, _)| name)
    }

    fn cells(&self, field: Field) -> &'a [u8] {
        match field {
            Field::Param => self.params,
            Field::Metric => self.metrics,
        }
    }

    /// Reads one from the bytes of a row.
    pub(super) fn read(row: &'a [u8]) -> Option<Self> {
        let mut at = Reader(row);
        let id = RunId(at.array()?);
        let seq = at.number()?;
        let nonce = at.array()?;
        let parent = at.optional()?;
        let recipe = RecipeId(at.array()?);
        let outputs = at.optional()?.map(TreeId);
        let started = i64::from_le_bytes(at.array()?);
        let duration_ms = at.number()?;
        let status = match at.byte()? {
            0 => Status::Finished,
            1 => Status::Failed,
            2 => Status::Interrupted,
            _ => return None,
        };
        let flags = at.byte()?;
        let key: Option<[u8; 32]> = at.optional()?;
        let stage = match key {
            Some(key) => Some((at.text()?, StageId(key))),
            None => None,
        };
        Some(Self {
            id,
            seq,
            nonce,
            parent,
            recipe,
            outputs,
            started,
            duration_ms,
            status,
            is_doubtful: flags & DOUBTFUL != 0,
            repeats: flags & REPEATS != 0,
            stage,
            command: at.text()?,
            params: at.list()?,
            metrics: at.list()?,
        })
    }
}

/// When the run of a row began, and the number of the operation that recorded it.
pub(super) fn age(row: &[u8]) -> Option<(i64, u64)> {
    let mut at = Reader(row);
    at.take(32)?;
    let seq = at.number()?;
    at.take(16)?;
    at.optional::<16>()?;
    at.take(32)?;
    at.optional::<32>()?;
    Some((i64::from_le_bytes(at.array()?), seq))
}

/// Appends the row of a run, its length before it.
pub(super) fn write(out: &mut Vec<u8>, id: RunId, run: &Run, seq: u64) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&id.0);
    out.extend_from_slice(&seq.to_le_bytes());
    out.extend_from_slice(&run.nonce);
    optional(out, run.origin.parent.as_ref().map(|p| &p[..]));
    out.extend_from_slice(&run.recipe.0);
    optional(out, run.outputs.as_ref().map(|o| &o.0[..]));
    out.extend_from_slice(&run.started.seconds.to_le_bytes());
    out.extend_from_slice(&run.duration_ms.to_le_bytes());
    out.push(match run.status {
        Status::Finished => 0,
        Status::Failed => 1,
        Status::Interrupted => 2,
    });
    let flag = |is: bool, bit: u8| if is { bit } else { 0 };
    let origin = &run.origin;
    out.push(flag(!origin.doubts.is_empty(), DOUBTFUL) | flag(origin.repeats.is_some(), REPEATS));
    let stage = origin.stage.as_ref();
    optional(out, stage.map(|s| &s.key.0[..]));
    if let Some(stage) = stage {
        text(out, &stage.name);
    }
    let line = match run.command.as_slice() {
        [sh, c, line] if sh == "sh" && c == "-c" => line.clone(),
        words => words.join(" "),
    };
    text(out, &line[..line.floor_char_boundary(COMMAND_BYTES_MAX)]);
    for values in [&run.params, &run.metrics] {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        for (name, value) in values {
            text(out, name);
            cell(out, value);
        }
        close(out, start);
    }
    close(out, start);
}

/// Puts the length of what follows where it belongs.
fn close(out: &mut [u8], start: usize) {
    let len = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
}

fn optional(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    out.push(u8::from(bytes.is_some()));
    out.extend_from_slice(bytes.unwrap_or_default());
}

/// Names are at most 65,535 bytes; a longer one is cut, and then is found in the run itself alone.
fn text(out: &mut Vec<u8>, text: &str) {
    let text = &text[..text.floor_char_boundary(usize::from(u16::MAX))];
    let len = u16::try_from(text.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn cell(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.push(0),
        Value::Bool(b) => out.extend([1, u8::from(*b)]),
        Value::Int(n) => {
            out.push(2);
            out.extend_from_slice(&n.to_le_bytes());
        }
        Value::UInt(n) => {
            out.push(3);
            out.extend_from_slice(&n.to_le_bytes());
        }
        Value::Float(n) => {
            out.push(4);
            out.extend_from_slice(&n.to_bits().to_le_bytes());
        }
        Value::Str(s) if s.len() <= TEXT_BYTES_MAX => {
            out.push(5);
            text(out, s);
        }
        other => match other.to_string() {
            shown if shown.len() <= TEXT_BYTES_MAX => {
                out.push(6);
                text(out, &shown);
            }
            _ => out.push(7),
        },
    }
}

/// Takes bytes off the front; `None` when there are too few.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn byte(&mut self) -> Option<u8> {
        self.array().map(|[b]| b)
    }

    fn number(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn optional<const N: usize>(&mut self) -> Option<Option<[u8; N]>> {
        match self.byte()? {
            0 => Some(None),
            1 => self.array().map(Some),
            _ => None,
        }
    }

    fn text(&mut self) -> Option<&'a str> {
        let len = usize::from(u16::from_le_bytes(self.array()?));
        std::str::from_utf8(self.take(len)?).ok()
    }

    fn list(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(u32::from_le_bytes(self.array()?)).ok()?;
        self.take(len)
    }

    fn cell(&mut self) -> Option<Cell<'a>> {
        Some(match self.byte()? {
            0 => Cell::Known(Value::Null),
            1 => Cell::Known(Value::Bool(self.byte()? != 0)),
            2 => Cell::Known(Value::Int(i64::from_le_bytes(self.array()?))),
            3 => Cell::Known(Value::UInt(self.number()?)),
            4 => Cell::Known(Value::Float(f64::from_bits(self.number()?))),
            5 => Cell::Known(Value::Str(self.text()?.to_owned())),
            6 => Cell::Shown(self.text()?),
            7 => Cell::Long,
            _ => return None,
        })
    }
}

/// Names and values of a list.
struct Cells<'a>(&'a [u8]);

impl<'a> Iterator for Cells<'a> {
    type Item = (&'a str, Cell<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let mut at = Reader(self.0);
        let found = (at.text()?, at.cell()?);
        self.0 = at.0;
        Some(found)
    }
}
