//! Signatures with a pair of keys (ECDSA on P-256 with SHA-256), in the forms that cosign knows: a payload
//! "simple signing" for the image, DSSE envelopes for statements. The same key and content give the same
//! signature (RFC 6979).

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use p256::ecdsa::signature::{Signer, Verifier};
use p256::ecdsa::{Signature, SigningKey, VerifyingKey};
use p256::pkcs8::{DecodePrivateKey, DecodePublicKey};
use serde_json::{Value, json};

use crate::error::{Error, Result};

/// Largest file of a key, in bytes.
const KEY_BYTES_MAX: u64 = 64 << 10;
/// What the payload of an envelope is.
const IN_TOTO: &str = "application/vnd.in-toto+json";

/// A key to sign with. Never shown.
pub(crate) struct Key(SigningKey);

/// A key to check signatures with.
pub(crate) struct PublicKey(VerifyingKey);

fn bad(path: &Path, detail: &str) -> Error {
    Error::Key {
        path: path.to_owned(),
        detail: detail.to_owned(),
    }
}

fn read(path: &Path) -> Result<String> {
    let meta = std::fs::metadata(path).map_err(Error::io("read", path))?;
    if meta.len() > KEY_BYTES_MAX {
        return Err(bad(path, "it is too large for a key"));
    }
    std::fs::read_to_string(path).map_err(Error::io("read", path))
}

impl Key {
    /// Reads a private key: PKCS#8 in PEM, as `openssl genpkey` writes it.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = read(path)?;
        if text.contains("ENCRYPTED") {
            return Err(bad(path, "it is encrypted"));
        }
        let key = SigningKey::from_pkcs8_pem(text.trim());
        let want = "it is no private key on P-256 in PKCS#8 PEM";
        key.map(Self).map_err(|_| bad(path, want))
    }

    /// A signature in DER and base64.
    pub(crate) fn sign(&self, bytes: &[u8]) -> String {
        let signature: Signature = self.0.sign(bytes);
        STANDARD.encode(signature.to_der().as_bytes())
    }

    /// An envelope around a statement (<https://github.com/secure-systems-lab/dsse>).
    pub(crate) fn envelope(&self, statement: &Value) -> Value {
        let payload = statement.to_string();
        json!({
            "payloadType": IN_TOTO,
            "payload": STANDARD.encode(&payload),
            "signatures": [{"keyid": "", "sig": self.sign(&encoded(payload.as_bytes()))}],
        })
    }
}

/// What is signed of an envelope.
fn encoded(payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {IN_TOTO} {} ", IN_TOTO.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

impl PublicKey {
    /// Reads a public key in PEM.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let key = VerifyingKey::from_public_key_pem(read(path)?.trim());
        let want = "it is no public key on P-256 in PEM";
        key.map(Self).map_err(|_| bad(path, want))
    }

    /// Whether a signature, in DER and base64, is this key's.
    pub(crate) fn is_signed(&self, bytes: &[u8], signature: &str) -> bool {
        let der = STANDARD.decode(signature).ok();
        let signature = der.and_then(|der| Signature::from_der(&der).ok());
        signature.is_some_and(|s| self.0.verify(bytes, &s).is_ok())
    }

    /// The statement in an envelope that this key has signed.
    pub(crate) fn open(&self, envelope: &Value) -> Option<Value> {
        if envelope["payloadType"] != IN_TOTO {
            return None;
        }
        let payload = STANDARD.decode(envelope["payload"].as_str()?).ok()?;
        let signed = encoded(&payload);
        let signatures = envelope["signatures"].as_array()?;
        let mut signatures = signatures.iter().filter_map(|s| s["sig"].as_str());
        let is_signed = signatures.any(|s| self.is_signed(&signed, s));
        is_signed.then(|| serde_json::from_slice(&payload).ok())?
    }
}

/// What is signed of an image
/// (<https://github.com/containers/image/blob/main/docs/containers-signature.5.md>, "JSON data format").
pub(crate) fn payload(reference: &str, digest: &str) -> Value {
    json!({
        "critical": {
            "identity": {"docker-reference": reference},
            "image": {"docker-manifest-digest": digest},
            "type": "cosign container image signature",
        },
        "optional": null,
    })
}

/// The image that a payload is of.
pub(crate) fn digest_in(payload: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(payload).ok()?;
    let critical = &value["critical"];
    if critical["type"] != "cosign container image signature" {
        return None;
    }
    let digest = &critical["image"]["docker-manifest-digest"];
    digest.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn openssl(dir: &Path, args: &str) {
        let done = Command::new("openssl")
            .args(args.split(' '))
            .current_dir(dir)
            .output()
            .expect("openssl starts; Debian's package of that name has it");
        assert!(done.status.success(), "{done:?}");
    }

    fn keys(dir: &Path) -> (Key, PublicKey) {
        openssl(
            dir,
            "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem",
        );
        openssl(dir, "pkey -in key.pem -pubout -out key.pub");
        let public = PublicKey::read(&dir.join("key.pub")).unwrap();
        (Key::read(&dir.join("key.pem")).unwrap(), public)
    }

    #[test]
    fn openssl_checks_what_is_signed_here_and_the_other_way_round() {
        let dir = tempfile::tempdir().unwrap();
        let (key, public) = keys(dir.path());
        let signature = key.sign(b"hello");
        assert_eq!(signature, key.sign(b"hello"), "the same each time");
        assert!(public.is_signed(b"hello", &signature));
        for (bytes, signature) in [
            (&b"hellO"[..], signature.as_str()),
            (b"hello", ""),
            (b"hello", "AAAA"),
        ] {
            assert!(!public.is_signed(bytes, signature), "{signature}");
        }
        std::fs::write(dir.path().join("text"), b"hello").unwrap();
        let der = STANDARD.decode(&signature).unwrap();
        std::fs::write(dir.path().join("sig"), der).unwrap();
        openssl(
            dir.path(),
            "dgst -sha256 -verify key.pub -signature sig text",
        );
        openssl(dir.path(), "dgst -sha256 -sign key.pem -out theirs text");
        let theirs = STANDARD.encode(std::fs::read(dir.path().join("theirs")).unwrap());
        assert!(public.is_signed(b"hello", &theirs));
    }

    #[test]
    fn an_envelope_opens_with_its_key_only() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let ((key, public), (_, other)) = (keys(one.path()), keys(two.path()));
        let statement = json!({"a": [1, "ä"]});
        let envelope = key.envelope(&statement);
        assert_eq!(public.open(&envelope), Some(statement));
        assert_eq!(other.open(&envelope), None);
        for (field, value) in [
            ("payload", json!("e30=")),
            ("payloadType", json!("x")),
            ("signatures", json!([])),
        ] {
            let mut changed = envelope.clone();
            changed[field] = value;
            assert_eq!(public.open(&changed), None, "{field}");
        }
        let text = payload("r/x", "sha256:1").to_string();
        assert_eq!(digest_in(text.as_bytes()).as_deref(), Some("sha256:1"));
        assert_eq!(digest_in(b"{}"), None);
    }

    #[test]
    fn what_is_no_key_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        openssl(
            dir.path(),
            "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out other.pem",
        );
        openssl(dir.path(), "genpkey -algorithm ED25519 -out ed.pem");
        std::fs::write(
            dir.path().join("locked"),
            "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n",
        )
        .unwrap();
        for (name, want) in [
            ("other.pem", "on P-256"),
            ("ed.pem", "on P-256"),
            ("locked", "it is encrypted"),
            ("gone", "cannot read"),
        ] {
            let path = dir.path().join(name);
            let said = Key::read(&path).err().unwrap().to_string();
            assert!(said.contains(want) && said.contains(name), "{said}");
            assert!(PublicKey::read(&path).is_err());
        }
    }
}
