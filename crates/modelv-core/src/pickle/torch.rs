//! The tensors of a PyTorch checkpoint, told by its pickle: only what rebuilds a tensor from a storage
//! is understood; every other object is left alone.

use super::{Id, Reading, Value};

/// Nested dictionaries and lists that are looked into.
const DEPTH_MAX: usize = 16;
/// Most tensors that are told of one file.
const TENSORS_MAX: usize = 1 << 20;
/// Most values that are looked at: one that is held twice is looked at twice.
const STEPS_MAX: usize = 1 << 22;

/// A tensor over a storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TorchTensor {
    /// Keys on the way to it, joined by dots.
    pub(crate) name: String,
    /// The storage's class without `Storage`: `Float`, `BFloat16`.
    pub(crate) class: String,
    /// The name of its member below `data/`.
    pub(crate) storage: String,
    /// Where it begins in the storage, in numbers.
    pub(crate) offset: u64,
    pub(crate) shape: Vec<u64>,
    pub(crate) stride: Vec<u64>,
}

const REBUILD: [&str; 2] = [
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_tensor",
];
const PARAMETER: [&str; 2] = [
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
];
const ORDERED: &str = "collections.OrderedDict";

/// All tensors that the pickle's result holds in dictionaries and lists.
pub(crate) fn tensors_of(reading: &Reading) -> Vec<TorchTensor> {
    let mut walk = Walk {
        reading,
        out: Vec::new(),
        steps: 0,
    };
    if let Some(root) = reading.root {
        walk.value(root, &mut Vec::new());
    }
    walk.out
}

struct Walk<'r> {
    reading: &'r Reading,
    out: Vec<TorchTensor>,
    steps: usize,
}

impl Walk<'_> {
    fn value(&mut self, id: Id, path: &mut Vec<String>) {
        self.steps += 1;
        let full = self.steps > STEPS_MAX || self.out.len() >= TENSORS_MAX;
        if full || path.len() > DEPTH_MAX {
            return;
        }
        match self.reading.value(id) {
            Value::Dict(pairs) => {
                for (key, value) in pairs {
                    self.below(*key, *value, path);
                }
            }
            Value::Called(name, args) if name == ORDERED => {
                // The empty tuple of the call itself has no items: what is there was set later.
                for pair in args.chunks_exact(2) {
                    self.below(pair[0], pair[1], path);
                }
            }
            Value::List(items) | Value::Tuple(items) => {
                for (at, item) in items.iter().enumerate() {
                    path.push(at.to_string());
                    self.value(*item, path);
                    path.pop();
                }
            }
            Value::Called(name, args) if PARAMETER.contains(&name.as_str()) => {
                if let Some(data) = args.first() {
                    self.value(*data, path);
                }
            }
            Value::Called(name, args) if REBUILD.contains(&name.as_str()) => {
                self.out.extend(self.tensor(args, path));
            }
            _ => {}
        }
    }

    fn below(&mut self, key: Id, value: Id, path: &mut Vec<String>) {
        let name = match self.reading.value(key) {
            Value::Text(text) => text.clone(),
            Value::Int(n) => n.to_string(),
            _ => return,
        };
        path.push(name);
        self.value(value, path);
        path.pop();
    }

    fn tensor(&self, args: &[Id], path: &[String]) -> Option<TorchTensor> {
        let [storage, offset, shape, stride, ..] = args else {
            return None;
        };
        let Value::Persistent(id) = self.reading.value(*storage) else {
            return None;
        };
        let Value::Tuple(parts) = self.reading.value(*id) else {
            return None;
        };
        let text = |id: &Id| match self.reading.value(*id) {
            Value::Text(text) | Value::Global(text) => Some(text.clone()),
            _ => None,
        };
        let (word, class) = (text(parts.first()?)?, text(parts.get(1)?)?);
        let class = class
            .strip_prefix("torch.")?
            .strip_suffix("Storage")?
            .to_owned();
        Some(TorchTensor {
            name: path.join("."),
            class,
            storage: text(parts.get(2)?).filter(|_| word == "storage")?,
            offset: self.whole(*offset)?,
            shape: self.wholes(*shape)?,
            stride: self.wholes(*stride)?,
        })
    }

    fn whole(&self, id: Id) -> Option<u64> {
        match self.reading.value(id) {
            Value::Int(n) => u64::try_from(*n).ok(),
            _ => None,
        }
    }

    fn wholes(&self, id: Id) -> Option<Vec<u64>> {
        match self.reading.value(id) {
            Value::Tuple(items) => items.iter().map(|i| self.whole(*i)).collect(),
            _ => None,
        }
    }
}
