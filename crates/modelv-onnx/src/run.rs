//! One run of a plan.

use std::collections::HashMap;

use crate::Runner;
use crate::error::{Error, Result, failed};
use crate::plan::{Plan, Step};
use crate::slot::Slot;
use crate::tensor::Tensor;

impl Plan {
    pub(crate) fn run(&self, inputs: Vec<Tensor>, with: &Runner) -> Result<Vec<Tensor>> {
        if inputs.len() != self.inputs.len() {
            let (n, m) = (inputs.len(), self.inputs.len());
            return Err(Error::Unfit(format!("{n} inputs where {m} are needed")));
        }
        for (slot, tensor) in self.inputs.iter().zip(&inputs) {
            slot.check(tensor)?;
        }
        let names = self.inputs.iter().map(|s| s.name.clone());
        let mut values = Values {
            plan: self,
            known: names.zip(inputs).collect(),
            left: self.uses.clone(),
        };
        for step in &self.steps {
            values.step(step, with)?;
        }
        let outputs = self.outputs.iter();
        outputs
            .map(|slot| values.take(&slot.name)?.cast(slot.kind))
            .collect()
    }
}

impl Slot {
    /// Whether a tensor is what it says.
    pub(crate) fn check(&self, tensor: &Tensor) -> Result<()> {
        let fits = |(want, have): (&Option<usize>, &usize)| want.is_none_or(|want| want == *have);
        let is_even = self.dims.len() == tensor.dims.len();
        if !is_even || !self.dims.iter().zip(&tensor.dims).all(fits) {
            let shape = self.dims.iter().map(|d| d.map_or(-1, |d| d as i64));
            let shape: Vec<i64> = shape.collect();
            return Err(Error::Unfit(format!(
                "`{}` has the shape {:?}, the model takes {shape:?}",
                self.name, tensor.dims
            )));
        }
        if self.kind != tensor.data.kind() {
            let (have, want) = (tensor.data.kind().datatype(), self.kind.datatype());
            let text = format!("`{}` is {have}, the model takes {want}", self.name);
            return Err(Error::Unfit(text));
        }
        Ok(())
    }
}

/// Values that some step still looks at.
struct Values<'a> {
    plan: &'a Plan,
    known: HashMap<String, Tensor>,
    left: HashMap<String, usize>,
}

impl Values<'_> {
    fn step(&mut self, step: &Step, with: &Runner) -> Result<()> {
        let (names, made) = match step {
            Step::Network(network) => {
                let inputs = network.inputs.iter().map(|name| self.take(name));
                let inputs = inputs.collect::<Result<_>>()?;
                (&network.outputs, network.run(inputs, with)?)
            }
            Step::Operator {
                operator,
                inputs,
                outputs,
                name,
            } => {
                let owned: Vec<Tensor> = inputs
                    .iter()
                    .map(|name| self.take(name))
                    .collect::<Result<_>>()?;
                let inputs: Vec<&Tensor> = owned.iter().collect();
                let made = operator.run(&inputs);
                let made = made.map_err(|e| match e {
                    Error::Unfit(text) => Error::Unfit(format!("{name}: {text}")),
                    e => failed(format!("{name}: {e}")),
                });
                (outputs, made?)
            }
        };
        let made = names.iter().cloned().zip(made);
        self.known.extend(made.filter(|(name, _)| !name.is_empty()));
        Ok(())
    }

    /// A value; the last one who looks gets it without a copy.
    fn take(&mut self, name: &str) -> Result<Tensor> {
        let left = self.left.get_mut(name);
        let is_last = left.is_none_or(|left| {
            *left = left.saturating_sub(1);
            *left == 0
        });
        let found = match is_last {
            true => self.known.remove(name),
            false => self.known.get(name).cloned(),
        };
        let found = found.or_else(|| self.plan.constants.get(name).cloned());
        found.ok_or_else(|| failed(format!("nothing makes `{name}`")))
    }
}
