//! The stack machine: what each group of opcodes does to stack and memo.

use std::collections::BTreeMap;
use std::io;

use super::ops::Op;
use super::{Id, Input, NESTED_MAX, Reading, Stop, VALUES_MAX, Value, trouble};

const OPAQUE: Id = 0;
const MARK: Id = 1;

/// Values, stack and memo.
pub(super) struct Machine {
    pub(super) reading: Reading,
    stack: Vec<Id>,
    memo: BTreeMap<u64, Id>,
    nested: usize,
}

/// Runs a stream to its end, or into trouble.
pub(super) fn run(input: &mut Input<'_>, nested: usize) -> io::Result<Reading> {
    let mut machine = Machine {
        reading: Reading {
            values: vec![Value::Opaque, Value::Mark],
            ..Reading::default()
        },
        stack: Vec::new(),
        memo: BTreeMap::new(),
        nested,
    };
    let ended = machine.follow(input);
    let mut reading = machine.reading;
    reading.end = input.at;
    match ended {
        Ok(root) => reading.root = Some(root),
        Err(Stop::Trouble(text)) => reading.trouble = Some(text),
        Err(Stop::Io(e)) => return Err(e),
    }
    Ok(reading)
}

impl Machine {
    fn follow(&mut self, input: &mut Input<'_>) -> Result<Id, Stop> {
        loop {
            let op = Op::read(input)?;
            if let Op::Stop = op {
                return self.pop();
            }
            self.step(op, input)?;
            if self.stack.len() > VALUES_MAX || self.memo.len() > VALUES_MAX {
                return trouble("it holds too many values");
            }
        }
    }

    fn new_value(&mut self, value: Value) -> Result<Id, Stop> {
        if value == Value::Opaque {
            return Ok(OPAQUE);
        }
        if self.reading.values.len() >= VALUES_MAX {
            return trouble("it holds too many values");
        }
        self.reading.values.push(value);
        Ok(Id::try_from(self.reading.values.len() - 1).unwrap_or(OPAQUE))
    }

    fn push(&mut self, value: Value) -> Result<(), Stop> {
        let id = self.new_value(value)?;
        self.stack.push(id);
        Ok(())
    }

    fn pop(&mut self) -> Result<Id, Stop> {
        match self.stack.pop() {
            Some(MARK) | None => trouble("it takes from an empty stack"),
            Some(id) => Ok(id),
        }
    }

    fn top(&self) -> Result<Id, Stop> {
        match self.stack.last() {
            Some(id) if *id != MARK => Ok(*id),
            _ => trouble("it looks at an empty stack"),
        }
    }

    fn since_mark(&mut self) -> Result<Vec<Id>, Stop> {
        match self.stack.iter().rposition(|id| *id == MARK) {
            Some(at) => {
                let out = self.stack.split_off(at + 1);
                self.stack.pop();
                Ok(out)
            }
            None => trouble("it has no mark where it needs one"),
        }
    }

    fn import(&mut self, module: Option<String>, name: Option<String>) -> Result<(), Stop> {
        let (Some(module), Some(name)) = (module, name) else {
            return trouble("it imports a name that is too long");
        };
        let global = format!("{module}.{name}");
        self.reading.globals.insert(global.clone());
        self.push(Value::Global(global))
    }

    fn step(&mut self, op: Op, input: &mut Input<'_>) -> Result<(), Stop> {
        match op {
            Op::Nothing | Op::Stop => Ok(()),
            Op::Push(value) => self.push(value),
            Op::Mark => {
                self.stack.push(MARK);
                Ok(())
            }
            Op::Pop => match self.stack.pop() {
                Some(_) => Ok(()),
                None => trouble("it takes from an empty stack"),
            },
            Op::PopMark => self.since_mark().map(|_| ()),
            Op::Dup => {
                let id = self.top()?;
                self.stack.push(id);
                Ok(())
            }
            Op::Put(at) => {
                let id = self.top()?;
                self.memo.insert(at, id);
                Ok(())
            }
            Op::Memoize => {
                let id = self.top()?;
                self.memo.insert(self.memo.len() as u64, id);
                Ok(())
            }
            Op::Get(at) => match self.memo.get(&at) {
                Some(id) => {
                    self.stack.push(*id);
                    Ok(())
                }
                None => trouble("it asks for what it never kept"),
            },
            Op::Tuple(count) => self.tuple(count),
            Op::Append | Op::Appends | Op::SetItem | Op::SetItems | Op::AddItems => self.fill(&op),
            Op::List | Op::Dict | Op::FrozenSet => self.collect(&op),
            other => self.reach(other, input),
        }
    }

    /// What imports, calls or asks for something.
    fn reach(&mut self, op: Op, input: &mut Input<'_>) -> Result<(), Stop> {
        match op {
            Op::Global(module, name) => self.import(module, name),
            Op::StackGlobal => self.stack_global(),
            Op::Instance(module, name) => {
                let args = self.since_mark()?;
                self.import(module, name)?;
                self.call(args)
            }
            Op::Object => {
                let mut args = self.since_mark()?.into_iter();
                let Some(callee) = args.next() else {
                    return trouble("it calls nothing");
                };
                self.stack.push(callee);
                self.call(args.collect())
            }
            Op::Call(arguments) => {
                let mut args = Vec::new();
                for _ in 0..arguments {
                    args.push(self.pop()?);
                }
                let args = args.last().map_or(Vec::new(), |id| self.items(*id));
                self.call(args)
            }
            Op::Persistent(Some(text)) => {
                let id = self.new_value(Value::Text(text))?;
                self.push(Value::Persistent(id))
            }
            Op::Persistent(None) => {
                let id = self.pop()?;
                self.push(Value::Persistent(id))
            }
            Op::Build => {
                let state = self.pop()?;
                let object = self.top()?;
                self.joblib_array(object, state, input)
            }
            Op::Extension => trouble("it calls something registered elsewhere"),
            _ => Ok(()),
        }
    }

    fn items(&self, id: Id) -> Vec<Id> {
        match self.reading.value(id) {
            Value::Tuple(items) => items.clone(),
            _ => Vec::new(),
        }
    }

    fn tuple(&mut self, count: Option<usize>) -> Result<(), Stop> {
        let items = match count {
            None => self.since_mark()?,
            Some(count) => {
                let mut items = Vec::with_capacity(count);
                for _ in 0..count {
                    items.push(self.pop()?);
                }
                items.reverse();
                items
            }
        };
        self.push(Value::Tuple(items))
    }

    /// Puts what is on top into the container below.
    fn fill(&mut self, op: &Op) -> Result<(), Stop> {
        let items = match op {
            Op::Append => vec![self.pop()?],
            Op::SetItem => {
                let value = self.pop()?;
                vec![self.pop()?, value]
            }
            _ => self.since_mark()?,
        };
        let top = self.top()?;
        match self.reading.values.get_mut(top as usize) {
            Some(Value::List(list)) => list.extend(items),
            Some(Value::Dict(dict)) => {
                dict.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1])));
            }
            // An ordered dictionary is a call that is filled.
            Some(Value::Called(_, args)) if matches!(op, Op::SetItem | Op::SetItems) => {
                args.extend(items);
            }
            _ => {}
        }
        Ok(())
    }

    fn collect(&mut self, op: &Op) -> Result<(), Stop> {
        let items = self.since_mark()?;
        let value = match op {
            Op::List => Value::List(items),
            Op::Dict => {
                let pairs = items.chunks_exact(2).map(|pair| (pair[0], pair[1]));
                Value::Dict(pairs.collect())
            }
            _ => Value::Opaque,
        };
        self.push(value)
    }

    fn stack_global(&mut self) -> Result<(), Stop> {
        let (name, module) = (self.pop()?, self.pop()?);
        let text = |id: Id| match self.reading.value(id) {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        };
        match (text(module), text(name)) {
            (Some(module), Some(name)) => self.import(Some(module), Some(name)),
            _ => trouble("it imports a name that it makes while it runs"),
        }
    }

    /// Calls what is on top.
    fn call(&mut self, args: Vec<Id>) -> Result<(), Stop> {
        let callee = self.pop()?;
        let value = match self.reading.value(callee) {
            Value::Global(name) => Value::Called(name.clone(), args),
            // The result of a call is called: `getattr(os, "system")("...")` in disguise.
            Value::Called(..) | Value::Persistent(_) => {
                return trouble("it calls what it makes while it runs");
            }
            _ => Value::Opaque,
        };
        self.push(value)
    }

    /// joblib puts the numbers of an array behind the wrapper that describes them.
    fn joblib_array(&mut self, object: Id, state: Id, input: &mut Input<'_>) -> Result<(), Stop> {
        let is_wrapper = matches!(self.reading.value(object), Value::Called(name, _)
            if name == "joblib.numpy_pickle.NumpyArrayWrapper");
        if !is_wrapper {
            return Ok(());
        }
        let field = |key: &str| match self.reading.value(state) {
            Value::Dict(pairs) => pairs
                .iter()
                .find(|(k, _)| *self.reading.value(*k) == Value::Text(key.into()))
                .map(|(_, v)| *v),
            _ => None,
        };
        let (shape, dtype) = (field("shape"), field("dtype"));
        let aligned = field("numpy_array_alignment_bytes")
            .is_some_and(|id| matches!(self.reading.value(id), Value::Int(_)));
        let unknown = || Stop::Trouble("an array of joblib is of an unknown type".into());
        let dtype = match dtype.map(|id| self.reading.value(id)) {
            Some(Value::Called(name, args)) if name == "numpy.dtype" => args.first().copied(),
            _ => None,
        };
        let dtype = match dtype.map(|id| self.reading.value(id)) {
            Some(Value::Text(text)) => text.trim_start_matches(['<', '>', '|', '=']).to_owned(),
            _ => return Err(unknown()),
        };
        if dtype.starts_with('O') {
            return self.nested(input);
        }
        let width: u64 = match dtype.get(1..).unwrap_or("").parse() {
            Ok(n) if dtype.starts_with('U') => 4 * n,
            Ok(n) => n,
            Err(_) => return Err(unknown()),
        };
        let mut bytes = Some(width);
        for id in shape.map(|id| self.items(id)).ok_or_else(unknown)? {
            let Value::Int(n) = self.reading.value(id) else {
                return Err(unknown());
            };
            bytes = bytes
                .zip(u64::try_from(*n).ok())
                .and_then(|(b, n)| b.checked_mul(n));
        }
        if aligned {
            let padding = u64::from(input.byte()?);
            input.skip(padding)?;
        }
        input.skip(bytes.ok_or_else(unknown)?)
    }

    /// An array of objects is a pickle of its own within this one.
    fn nested(&mut self, input: &mut Input<'_>) -> Result<(), Stop> {
        if self.nested >= NESTED_MAX {
            return trouble("it is nested too deeply");
        }
        let inner = run(input, self.nested + 1)?;
        self.reading.globals.extend(inner.globals);
        inner
            .trouble
            .map_or(Ok(()), |text| Err(Stop::Trouble(text)))
    }
}
