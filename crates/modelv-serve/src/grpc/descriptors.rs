//! What the services and their messages are, for clients that bring no descriptions of their own.
//!
//! `services.binpb` is made of the files in `protos`; a test of the command line makes it anew and compares.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use axum::body::Bytes;
use prost::Message;

const SET: &[u8] = include_bytes!("services.binpb");

/// All files.
#[derive(Default)]
pub(super) struct Descriptors {
    /// By their names.
    files: BTreeMap<String, Bytes>,
    /// The name of the file in which each name is.
    symbols: BTreeMap<String, String>,
    services: Vec<String>,
}

impl Descriptors {
    /// Those of this server.
    pub(super) fn all() -> &'static Self {
        static ALL: OnceLock<Descriptors> = OnceLock::new();
        ALL.get_or_init(|| Self::read(SET))
    }

    fn read(set: &'static [u8]) -> Self {
        let mut out = Self::default();
        let set = Set::decode(Bytes::from_static(set)).unwrap_or_default();
        for bytes in set.files {
            let file = File::decode(bytes.clone()).unwrap_or_default();
            let mut names = Vec::new();
            file.messages
                .iter()
                .for_each(|m| m.add(&file.package, &mut names));
            file.enums
                .iter()
                .for_each(|e| e.add(&file.package, &mut names));
            for service in &file.services {
                service.add(&file.package, &mut names);
                out.services
                    .push(format!("{}.{}", file.package, service.name));
            }
            let here = |name| (name, file.name.clone());
            out.symbols.extend(names.into_iter().map(here));
            out.files.insert(file.name, bytes);
        }
        out.services.sort();
        out
    }

    /// The names of all services.
    pub(super) fn services(&self) -> &[String] {
        &self.services
    }

    /// The file of a name. None of them needs another one.
    pub(super) fn file(&self, name: &str) -> Option<Bytes> {
        self.files.get(name).cloned()
    }

    /// The file in which a service, a method, a message, a field or an enumeration is.
    pub(super) fn file_of(&self, symbol: &str) -> Option<Bytes> {
        self.file(self.symbols.get(symbol)?)
    }
}

#[derive(Clone, PartialEq, Message)]
struct Set {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    files: Vec<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
struct File {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    package: String,
    #[prost(message, repeated, tag = "4")]
    messages: Vec<Type>,
    #[prost(message, repeated, tag = "5")]
    enums: Vec<Named>,
    #[prost(message, repeated, tag = "6")]
    services: Vec<Named>,
}

#[derive(Clone, PartialEq, Message)]
struct Part {
    #[prost(string, tag = "1")]
    name: String,
}

/// A service and its methods, or an enumeration and its values.
#[derive(Clone, PartialEq, Message)]
struct Named {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "2")]
    parts: Vec<Part>,
}

impl Named {
    fn add(&self, above: &str, names: &mut Vec<String>) {
        add(above, &self.name, &self.parts, names);
    }
}

/// A message, its fields, and what is declared in it.
#[derive(Clone, PartialEq, Message)]
struct Type {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "2")]
    fields: Vec<Part>,
    #[prost(message, repeated, tag = "3")]
    types: Vec<Type>,
    #[prost(message, repeated, tag = "4")]
    enums: Vec<Named>,
}

impl Type {
    fn add(&self, above: &str, names: &mut Vec<String>) {
        let own = add(above, &self.name, &self.fields, names);
        self.types.iter().for_each(|t| t.add(&own, names));
        self.enums.iter().for_each(|e| e.add(&own, names));
    }
}

/// Adds a name and those of its parts; the name in full.
fn add(above: &str, name: &str, parts: &[Part], names: &mut Vec<String>) -> String {
    let own = format!("{above}.{name}");
    names.push(own.clone());
    names.extend(parts.iter().map(|p| format!("{own}.{}", p.name)));
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_leads_to_its_file() {
        let all = Descriptors::all();
        assert_eq!(
            all.services(),
            [
                "grpc.health.v1.Health",
                "grpc.reflection.v1.ServerReflection",
                "grpc.reflection.v1alpha.ServerReflection",
                "inference.GRPCInferenceService",
            ]
        );
        let inference = all.file("inference.proto");
        assert!(inference.is_some());
        for name in [
            "inference.GRPCInferenceService",
            "inference.GRPCInferenceService.ModelInfer",
            "inference.ModelInferRequest.InferInputTensor",
            "inference.ModelInferRequest.InferInputTensor.contents",
        ] {
            assert_eq!(all.file_of(name), inference, "{name}");
        }
        let health = all.file_of("grpc.health.v1.HealthCheckResponse.ServingStatus");
        assert_eq!(health, all.file("grpc/health/v1/health.proto"));
        for odd in ["", "inference", "GRPCInferenceService", "inference.Other"] {
            assert_eq!(all.file_of(odd), None, "{odd}");
        }
    }
}
