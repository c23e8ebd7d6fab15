//! Papers and signatures beside an image: in its layout, as manifests that name it as their subject, and
//! under the tags by which cosign finds them. The image itself stays what it is without them. The model that is
//! offered beside an image is an artifact of its own, with a signature of its own.

use std::path::Path;

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::layer::digits;
use crate::layout::{MANIFEST, damaged, put_bytes, put_json, read_bounded};
use crate::modelpack;
use crate::pull::{Pulled, Source, text};
use crate::sbom::{Facts, statement};
use crate::sign::{Key, PublicKey, digest_in, payload};

const CYCLONEDX: &str = "application/vnd.cyclonedx+json";
const IN_TOTO: &str = "application/vnd.in-toto+json";
const ENVELOPE: &str = "application/vnd.dsse.envelope.v1+json";
const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const SIGNATURE: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
/// Where cosign keeps a signature.
const SIGNATURE_NOTE: &str = "dev.cosignproject.cosign/signature";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
const BOM_PREDICATE: &str = "https://cyclonedx.org/bom";
/// Largest payload or envelope that is read.
const PAPER_BYTES_MAX: u64 = 16 << 20;

/// The tag of what belongs to an image, by its kind: `sig` or `att`.
pub(crate) fn tag_of(digest: &str, kind: &str) -> String {
    format!("sha256-{}.{kind}", digits(digest))
}

/// A manifest beside an image.
struct Artifact<'a> {
    kind: &'a str,
    tag: Option<String>,
    /// Media type, bytes and annotations of each part.
    parts: Vec<(&'a str, Vec<u8>, Value)>,
}

/// Writes papers beside the image of a layout, signed if there is a key.
pub(crate) fn attach(dir: &Path, facts: &Facts<'_>, key: Option<&Key>) -> Result<()> {
    let (sbom, provenance) = (facts.sbom()?, facts.provenance());
    let plain = |value: &Value| value.to_string().into_bytes();
    let part = |media, value: &Value| vec![(media, plain(value), json!({}))];
    let mut all = vec![
        Artifact {
            kind: CYCLONEDX,
            tag: None,
            parts: part(CYCLONEDX, &sbom),
        },
        Artifact {
            kind: IN_TOTO,
            tag: None,
            parts: part(IN_TOTO, &provenance),
        },
    ];
    if let Some(key) = key {
        let of_bom = statement(&facts.name, facts.digest, BOM_PREDICATE, &sbom);
        let sealed = [&provenance, &of_bom].map(|s| {
            let notes = json!({"predicateType": s["predicateType"], SIGNATURE_NOTE: ""});
            (ENVELOPE, plain(&key.envelope(s)), notes)
        });
        all.push(Artifact {
            kind: ENVELOPE,
            tag: Some(tag_of(facts.digest, "att")),
            parts: sealed.to_vec(),
        });
        all.push(signature(&facts.name, facts.digest, key));
    }
    let path = dir.join("index.json");
    let mut index = read_index(dir)?;
    let image = index["manifests"][0].clone();
    let mut all: Vec<_> = all.into_iter().map(|a| (a, image.clone())).collect();
    if let Some(key) = key {
        for model in attached(dir)?.into_iter().filter(is_model) {
            let own = signature(&facts.name, &text(&model["digest"]), key);
            all.push((own, model));
        }
    }
    for (artifact, subject) in &all {
        let descriptor = put(dir, artifact, subject)?;
        if let Some(list) = index["manifests"].as_array_mut() {
            list.push(descriptor);
        }
    }
    std::fs::write(&path, index.to_string()).map_err(Error::io("write", &path))
}

/// The signature of a manifest.
fn signature<'a>(name: &str, digest: &str, key: &Key) -> Artifact<'a> {
    let signed = payload(name, digest).to_string().into_bytes();
    let notes = json!({SIGNATURE_NOTE: key.sign(&signed)});
    Artifact {
        kind: SIGNATURE,
        tag: Some(tag_of(digest, "sig")),
        parts: vec![(SIMPLE_SIGNING, signed, notes)],
    }
}

/// Whether a descriptor is one of a model.
pub(crate) fn is_model(descriptor: &Value) -> bool {
    descriptor["artifactType"] == modelpack::KIND
}

fn read_index(dir: &Path) -> Result<Value> {
    let bytes = read_bounded(dir, &dir.join("index.json"))?;
    serde_json::from_slice(&bytes).map_err(|e| damaged(dir, e.to_string()))
}

/// Writes a manifest that belongs to another; returns its descriptor.
fn put(dir: &Path, artifact: &Artifact<'_>, subject: &Value) -> Result<Value> {
    let blobs = dir.join("blobs/sha256");
    let (empty, size) = put_bytes(&blobs, b"{}")?;
    let mut layers = Vec::new();
    for (media, bytes, notes) in &artifact.parts {
        let (digest, size) = put_bytes(&blobs, bytes)?;
        let mut layer = json!({"mediaType": media, "digest": digest, "size": size});
        if notes.as_object().is_some_and(|n| !n.is_empty()) {
            layer["annotations"] = notes.clone();
        }
        layers.push(layer);
    }
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": artifact.kind,
        "config": {"mediaType": EMPTY, "digest": empty, "size": size},
        "layers": layers,
        "subject": {
            "mediaType": subject["mediaType"], "digest": subject["digest"], "size": subject["size"],
        },
    });
    let (digest, size) = put_json(&blobs, &manifest)?;
    let mut descriptor = json!({
        "mediaType": MANIFEST, "artifactType": artifact.kind, "digest": digest, "size": size,
    });
    if let Some(tag) = &artifact.tag {
        descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
    }
    Ok(descriptor)
}

/// Descriptors of a layout that belong to its image.
pub(crate) fn attached(dir: &Path) -> Result<Vec<Value>> {
    let index = read_index(dir)?;
    let all = index["manifests"].as_array().cloned().unwrap_or_default();
    let is_paper = |d: &Value| d["artifactType"].is_string();
    Ok(all.into_iter().filter(is_paper).collect())
}

/// What a key has signed of an image.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Signed {
    /// Digest of the image.
    pub digest: String,
    /// How many signatures of the key there are.
    pub signatures: usize,
    /// Digests of the models beside it, which are signed as well.
    pub models: Vec<String>,
    /// Kinds of the statements that it has signed.
    pub statements: Vec<String>,
}

fn refused(image: &Pulled<'_>, detail: &str) -> Error {
    Error::Signature {
        image: image.shown.clone(),
        detail: detail.to_owned(),
    }
}

/// How many signatures of a key a manifest has, and whether it has any.
fn signatures(image: &mut Pulled<'_>, digest: &str, key: &PublicKey) -> Result<(usize, bool)> {
    let parts = image.tagged(&tag_of(digest, "sig"))?;
    let (any, mut found) = (!parts.is_empty(), 0);
    for part in parts {
        let bytes = image.paper(&part, PAPER_BYTES_MAX)?;
        let signature = text(&part["annotations"][SIGNATURE_NOTE]);
        if !key.is_signed(&bytes, &signature) {
            continue;
        }
        if digest_in(&bytes).as_deref() != Some(digest) {
            return Err(refused(image, "the signature is one of another image"));
        }
        found += 1;
    }
    Ok((found, any))
}

/// Looks whether an image and the models beside it are signed by the owner of a key, and which statements about it
/// are.
///
/// # Errors
/// One is not; what is signed is another image; the image is damaged, or can't be reached.
pub fn check_signed(source: &Source, key: &Path, cancel: &modelv_repo::Cancel) -> Result<Signed> {
    let key = PublicKey::read(key)?;
    let mut image = Pulled::open(source, cancel)?;
    let digest = image.digest.clone();
    let (signatures_found, any) = signatures(&mut image, &digest, &key)?;
    if signatures_found == 0 {
        let detail = match any {
            true => "its signatures are not of this key",
            false => "it has no signature",
        };
        return Err(refused(&image, detail));
    }
    let mut models = Vec::new();
    for model in image.beside()?.into_iter().filter(is_model) {
        let model = text(&model["digest"]);
        if signatures(&mut image, &model, &key)?.0 == 0 {
            let detail = "the model that is offered beside it is not signed by this key";
            return Err(refused(&image, detail));
        }
        models.push(model);
    }
    let mut statements = Vec::new();
    for part in image.tagged(&tag_of(&digest, "att"))? {
        let bytes = image.paper(&part, PAPER_BYTES_MAX)?;
        let envelope: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let Some(found) = key.open(&envelope) else {
            continue;
        };
        if found["subject"][0]["digest"]["sha256"] != digits(&digest) {
            return Err(refused(
                &image,
                "a statement beside it is about another image",
            ));
        }
        statements.push(text(&found["predicateType"]));
    }
    Ok(Signed {
        digest,
        signatures: signatures_found,
        models,
        statements,
    })
}
