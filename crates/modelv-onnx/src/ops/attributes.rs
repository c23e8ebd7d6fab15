//! What a node says of itself.

use std::borrow::Cow;

use crate::doubles;
use crate::error::{Error, Result, malformed};
use crate::plan::named;
use crate::proto::{Attribute, NodeProto, element};
use crate::tensor::Tensor;

pub(super) struct Attributes<'a>(&'a NodeProto);

impl<'a> Attributes<'a> {
    pub(super) fn of(node: &'a NodeProto) -> Self {
        Self(node)
    }

    /// The operator and the node, for messages.
    pub(super) fn named(&self) -> (String, String) {
        named(self.0)
    }

    fn get(&self, name: &str) -> Option<&'a Attribute> {
        let mut all = self.0.attribute.iter();
        all.find(|a| a.name.as_deref() == Some(name))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub(super) fn floats(&self, name: &str) -> &'a [f32] {
        self.get(name).map_or(&[], |a| &a.floats)
    }

    pub(super) fn ints(&self, name: &str) -> &'a [i64] {
        self.get(name).map_or(&[], |a| &a.ints)
    }

    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        let all = self.get(name).map_or(&[][..], |a| &a.strings);
        let text = |b: &prost::bytes::Bytes| String::from_utf8_lossy(b).into_owned();
        all.iter().map(text).collect()
    }

    pub(super) fn float(&self, name: &str, default: f32) -> f32 {
        self.get(name).and_then(|a| a.f).unwrap_or(default)
    }

    pub(super) fn int(&self, name: &str, default: i64) -> i64 {
        self.get(name).and_then(|a| a.i).unwrap_or(default)
    }

    pub(super) fn text(&self, name: &str, default: &str) -> String {
        let found = self.get(name).and_then(|a| a.s.as_ref());
        found.map_or_else(
            || default.to_owned(),
            |b| String::from_utf8_lossy(b).into_owned(),
        )
    }

    /// Numbers in a list, or in a tensor of that name and `_as_tensor`.
    pub(super) fn numbers(&self, name: &str) -> Result<Cow<'a, [f32]>> {
        let name_of_tensor = format!("{name}_as_tensor");
        match (self.has(&name_of_tensor), self.has(name)) {
            (false, _) => Ok(Cow::Borrowed(self.floats(name))),
            (true, false) => Ok(Cow::Owned(self.tensor(&name_of_tensor)?)),
            (true, true) => Err(self.wrong(&format!("has `{name}` twice"))),
        }
    }

    /// The elements of a tensor; none where it is not. Doubles are taken where singles are the same.
    pub(super) fn tensor(&self, name: &str) -> Result<Vec<f32>> {
        let Some(tensor) = self.get(name).and_then(|a| a.t.as_ref()) else {
            return Ok(vec![]);
        };
        if tensor.data_type != Some(element::DOUBLE) {
            return Tensor::of(tensor)?.to_floats();
        }
        let narrow = |x: f64| {
            let single = x as f32;
            (f64::from(single) == x || x.is_nan()).then_some(single)
        };
        let all: Option<Vec<f32>> = doubles::values(tensor).map(narrow).collect();
        all.ok_or_else(|| super::not_so(self, &format!("`{name}` of doubles that are no singles")))
    }

    /// The node can't be meant as it is.
    pub(super) fn wrong(&self, detail: &str) -> Error {
        let (operator, at) = self.named();
        malformed(format!("the operator `{operator}`{at} {detail}"))
    }

    /// That none of these attributes is there.
    pub(super) fn without(&self, names: &[&str]) -> Result<()> {
        match names.iter().find(|name| self.has(name)) {
            None => Ok(()),
            Some(name) => Err(super::not_so(self, &format!("`{name}`"))),
        }
    }
}
