//! The opcodes, as `pickletools` of Python 3.14 lists them, with their arguments.

use super::{Input, Stop, Value, trouble};

/// One instruction.
#[derive(Debug)]
pub(super) enum Op {
    Nothing,
    Stop,
    Push(Value),
    Mark,
    Pop,
    PopMark,
    Dup,
    Put(u64),
    Memoize,
    Get(u64),
    /// Of the last so many, or of all since the mark.
    Tuple(Option<usize>),
    Append,
    Appends,
    SetItem,
    SetItems,
    AddItems,
    List,
    Dict,
    FrozenSet,
    Global(Option<String>, Option<String>),
    StackGlobal,
    Instance(Option<String>, Option<String>),
    Object,
    /// With so many arguments on the stack, of which the first is the tuple.
    Call(usize),
    /// By this text, or by what is on top.
    Persistent(Option<String>),
    Build,
    Extension,
}

fn push_text(text: Option<String>) -> Op {
    Op::Push(text.map_or(Value::Opaque, Value::Text))
}

fn number(line: Option<String>) -> Result<u64, Stop> {
    let found = line.and_then(|l| l.trim().parse().ok());
    found.ok_or_else(|| Stop::Trouble("a number is none".into()))
}

/// A decimal number; large ones are opaque.
fn int(line: Option<String>) -> Value {
    let digits = line.unwrap_or_default();
    let digits = digits.trim().trim_end_matches('L');
    digits.parse().map_or(Value::Opaque, Value::Int)
}

/// Protocol 0 writes text as Python writes it in source; what is quoted stays as it is but for quotes.
fn quoted(line: Option<String>) -> Value {
    let Some(line) = line else {
        return Value::Opaque;
    };
    let inner = ['\'', '"']
        .iter()
        .find_map(|q| line.strip_prefix(*q)?.strip_suffix(*q));
    match inner {
        // An escape may spell anything: it is not a name that we know.
        Some(text) if !text.contains('\\') => Value::Text(text.to_owned()),
        _ => Value::Opaque,
    }
}

impl Op {
    pub(super) fn read(input: &mut Input<'_>) -> Result<Self, Stop> {
        let code = input.byte()?;
        if let Some(op) = Self::bare(code) {
            return Ok(op);
        }
        if let Some(value) = Self::data(code, input)? {
            return Ok(value);
        }
        Ok(match code {
            0x80 => {
                let version = input.byte()?;
                if version > 5 {
                    return trouble("it is of an unknown protocol");
                }
                Self::Nothing
            }
            0x95 => {
                input.bytes::<8>()?;
                Self::Nothing
            }
            b'p' => Self::Put(number(input.line()?)?),
            b'q' => Self::Put(input.byte()?.into()),
            b'r' => Self::Put(u32::from_le_bytes(input.bytes()?).into()),
            b'g' => Self::Get(number(input.line()?)?),
            b'h' => Self::Get(input.byte()?.into()),
            b'j' => Self::Get(u32::from_le_bytes(input.bytes()?).into()),
            b'c' => Self::Global(input.line()?, input.line()?),
            b'i' => Self::Instance(input.line()?, input.line()?),
            b'P' => Self::Persistent(Some(input.line()?.unwrap_or_default())),
            0x82..=0x84 => Self::Extension,
            _ => return trouble("it has an unknown instruction"),
        })
    }

    /// Those without an argument.
    fn bare(code: u8) -> Option<Self> {
        Some(match code {
            b'.' => Self::Stop,
            b'(' => Self::Mark,
            b'0' => Self::Pop,
            b'1' => Self::PopMark,
            b'2' => Self::Dup,
            0x94 => Self::Memoize,
            b't' => Self::Tuple(None),
            b')' => Self::Tuple(Some(0)),
            0x85 => Self::Tuple(Some(1)),
            0x86 => Self::Tuple(Some(2)),
            0x87 => Self::Tuple(Some(3)),
            b'a' => Self::Append,
            b'e' => Self::Appends,
            b's' => Self::SetItem,
            b'u' => Self::SetItems,
            0x90 => Self::AddItems,
            b'l' => Self::List,
            b'd' => Self::Dict,
            0x91 => Self::FrozenSet,
            0x93 => Self::StackGlobal,
            b'o' => Self::Object,
            b'R' | 0x81 => Self::Call(1),
            0x92 => Self::Call(2),
            b'Q' => Self::Persistent(None),
            b'b' => Self::Build,
            b']' => Self::Push(Value::List(Vec::new())),
            b'}' => Self::Push(Value::Dict(Vec::new())),
            b'N' | 0x88 | 0x89 | 0x8f | 0x97 => Self::Push(Value::Opaque),
            0x98 => Self::Nothing,
            _ => return None,
        })
    }

    /// Numbers, texts and bytes.
    fn data(code: u8, input: &mut Input<'_>) -> Result<Option<Self>, Stop> {
        let opaque = |input: &mut Input<'_>, len: u64| {
            input.skip(len)?;
            Ok(Some(Self::Push(Value::Opaque)))
        };
        let op = match code {
            b'I' | b'L' => Self::Push(int(input.line()?)),
            b'J' => Self::Push(Value::Int(i32::from_le_bytes(input.bytes()?).into())),
            b'K' => Self::Push(Value::Int(input.byte()?.into())),
            b'M' => Self::Push(Value::Int(u16::from_le_bytes(input.bytes()?).into())),
            b'F' => {
                input.line()?;
                Self::Push(Value::Opaque)
            }
            b'G' => return opaque(input, 8),
            0x8a => {
                let len = input.byte()?;
                Self::Push(long(input, len.into())?)
            }
            0x8b => {
                let len = u32::from_le_bytes(input.bytes()?);
                Self::Push(long(input, len.into())?)
            }
            b'S' => Self::Push(quoted(input.line()?)),
            b'V' => match input.line()? {
                Some(text) if text.contains('\\') => Self::Push(Value::Opaque),
                text => push_text(text),
            },
            b'U' | 0x8c => {
                let len = input.byte()?;
                push_text(input.text(len.into())?)
            }
            b'T' | b'X' => {
                let len = u32::from_le_bytes(input.bytes()?);
                push_text(input.text(len.into())?)
            }
            0x8d => {
                let len = u64::from_le_bytes(input.bytes()?);
                push_text(input.text(len)?)
            }
            b'C' => {
                let len = input.byte()?;
                return opaque(input, len.into());
            }
            b'B' => {
                let len = u32::from_le_bytes(input.bytes()?);
                return opaque(input, len.into());
            }
            0x8e | 0x96 => {
                let len = u64::from_le_bytes(input.bytes()?);
                return opaque(input, len);
            }
            _ => return Ok(None),
        };
        Ok(Some(op))
    }
}

/// A whole number of so many bytes; large ones are opaque.
fn long(input: &mut Input<'_>, len: u64) -> Result<Value, Stop> {
    if len > 8 {
        input.skip(len)?;
        return Ok(Value::Opaque);
    }
    let mut bytes = Vec::with_capacity(8);
    for _ in 0..len {
        bytes.push(input.byte()?);
    }
    let sign = if bytes.last().is_some_and(|b| b >> 7 == 1) {
        0xff
    } else {
        0
    };
    bytes.resize(8, sign);
    let word = bytes.first_chunk().copied().unwrap_or_default();
    Ok(Value::Int(i64::from_le_bytes(word)))
}
