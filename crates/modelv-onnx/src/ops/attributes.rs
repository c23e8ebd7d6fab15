//! What a node says of itself.

use crate::error::{Error, Result, malformed};
use crate::plan::named;
use crate::proto::{Attribute, NodeProto};

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
