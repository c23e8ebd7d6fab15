//! Sending an image to a registry: blobs are taken over from another repository there if that is possible,
//! large ones go in pieces, and what was cut off goes on where it ended.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use modelv_repo::Ctx;
use modelv_repo::ctx::Unit;
use serde_json::{Value, json};
use ureq::SendBody;

use crate::attest::{attached, is_model, tag_of};
use crate::error::{Error, Result};
use crate::layout::{blob_path, check_digest, digest_of, read_bounded, read_json, read_manifest};
use crate::modelpack;
use crate::packer::Watched;
use crate::pull::{Source, Whole, text};
use crate::reference::Reference;
use crate::registry::{Access, Credentials, Registry, header, with};

/// Larger blobs go in pieces of this size, unless the registry wants larger ones.
const CHUNK_BYTES: u64 = 32 << 20;
/// Largest piece that a registry may ask for.
const CHUNK_BYTES_MAX: u64 = 1 << 30;
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Failures in a row after which no more is tried.
const TRIES: u32 = 4;

/// What was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// Digest of the manifest, by which it can be pulled for ever.
    pub digest: String,
    /// Blobs that were sent.
    pub sent: usize,
    /// Blobs that were taken over from another repository of the registry.
    pub mounted: usize,
    /// Blobs that were there.
    pub present: usize,
}

/// How a blob came to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Present,
    Mounted,
    Sent,
}

/// A blob of a layout.
pub(crate) struct Blob {
    pub(crate) digest: String,
    pub(crate) path: PathBuf,
    pub(crate) size: u64,
}

impl Blob {
    pub(crate) fn of(layout: &Path, digest: &str) -> Result<Self> {
        let path = blob_path(layout, digest)?;
        let meta = std::fs::metadata(&path).map_err(Error::io("read", &path))?;
        Ok(Self {
            digest: digest.to_owned(),
            path,
            size: meta.len(),
        })
    }
}

/// Pushes an image, with what lies beside it in its layout. `mount_from` names other repositories of the registry
/// that may have the blobs.
///
/// # Errors
/// The image is missing or damaged, the registry can't be reached or refuses, or it was interrupted.
pub fn push(
    source: &Source,
    to: &Reference,
    mount_from: &[String],
    credentials: Option<Credentials>,
    ctx: Ctx<'_>,
) -> Result<Pushed> {
    let whole = Whole::open(source, ctx.cancel)?;
    whole.ask(|layout| push_layout(layout, to, mount_from, credentials, ctx))
}

fn push_layout(
    layout: &Path,
    to: &Reference,
    mount_from: &[String],
    credentials: Option<Credentials>,
    ctx: Ctx<'_>,
) -> Result<Pushed> {
    let (digest, manifest) = read_manifest(layout)?;
    let mut registry = Registry::new(to, credentials, Access::Push, ctx.cancel);
    registry.mount_from = mount_from;
    let empty = Vec::new();
    let layers = manifest["layers"].as_array().unwrap_or(&empty);
    let mut blobs = Vec::new();
    for descriptor in layers.iter().chain([&manifest["config"]]) {
        let digest = descriptor["digest"].as_str().unwrap_or_default();
        blobs.push(Blob::of(layout, digest)?);
    }
    let total = blobs.iter().map(|b| b.size).sum();
    ctx.progress.start("pushing", Unit::Bytes, Some(total));
    let mut pushed = Pushed {
        digest: digest.clone(),
        sent: 0,
        mounted: 0,
        present: 0,
    };
    for blob in &blobs {
        match registry.put_blob(blob, CHUNK_BYTES)? {
            Way::Present => pushed.present += 1,
            Way::Mounted => pushed.mounted += 1,
            Way::Sent => pushed.sent += 1,
        }
        ctx.progress.advance(blob.size);
    }
    let bytes = read_bounded(layout, &blob_path(layout, &digest)?)?;
    check_digest(layout, &digest, &bytes)?;
    let media = manifest["mediaType"].as_str().unwrap_or_default();
    registry.put_manifest(&to.tag, media, &bytes, &digest)?;
    let papers = attached(layout)?;
    let models = papers.iter().filter(|d| is_model(d));
    let known = models.map(|d| text(&d["digest"]));
    let known: Vec<String> = known.chain([digest.clone()]).collect();
    for descriptor in papers {
        registry.put_paper(layout, &descriptor, &to.tag, &known)?;
    }
    ctx.progress.finish();
    Ok(pushed)
}

/// An upload that was begun.
struct Upload {
    at: String,
    /// Bytes that the registry has.
    done: u64,
    chunk: u64,
}

/// What came of asking for an upload.
enum Begun {
    Mounted,
    Upload(Upload),
}

impl Registry<'_> {
    /// Sees to it that a blob is there.
    pub(crate) fn put_blob(&mut self, blob: &Blob, chunk: u64) -> Result<Way> {
        if self.has_blob(&blob.digest)? {
            return Ok(Way::Present);
        }
        let mut failures = 0;
        let mut upload = None;
        loop {
            let begun = match upload.take() {
                Some(upload) => upload,
                None => match self.begin(&blob.digest, chunk)? {
                    Begun::Mounted => return Ok(Way::Mounted),
                    Begun::Upload(upload) => upload,
                },
            };
            let before = begun.done;
            let (begun, sent) = self.send(blob, begun);
            let Err(e) = sent else { return Ok(Way::Sent) };
            self.cancel.check()?;
            let after = self.ask(begun, blob.size);
            // One that gets on is not given up.
            failures = match after.as_ref().is_some_and(|u| u.done > before) {
                true => 1,
                false => failures + 1,
            };
            if failures >= TRIES {
                return Err(e);
            }
            upload = after;
        }
    }

    /// Begins an upload, or finds that another repository has the blob.
    fn begin(&mut self, digest: &str, chunk: u64) -> Result<Begun> {
        let plain = self.url("blobs/uploads/");
        let mounts = self.mount_from.iter();
        let mounts: Vec<String> = mounts
            .map(|from| format!("{plain}?mount={digest}&from={from}"))
            .collect();
        for at in mounts.iter().chain([&plain]) {
            let answer = self.call(&[201, 202], |agent, headers| {
                with(agent.post(at), headers).send_empty()
            })?;
            if answer.status() == 201 {
                return Ok(Begun::Mounted);
            }
            if *at != plain && mounts.last() != Some(at) {
                continue;
            }
            let least = header(&answer, "oci-chunk-min-length").parse().unwrap_or(0);
            return Ok(Begun::Upload(Upload {
                at: self.absolute(&header(&answer, "location"))?,
                done: 0,
                chunk: chunk.max(least).min(CHUNK_BYTES_MAX),
            }));
        }
        Err(self.bad("it begins no upload"))
    }

    /// Sends what is missing: a small blob at once, a large one in pieces.
    fn send(&mut self, blob: &Blob, mut upload: Upload) -> (Upload, Result<()>) {
        if blob.size <= upload.chunk && upload.done == 0 {
            let sent = self.end(blob, &upload, 0..blob.size);
            return (upload, sent);
        }
        while upload.done < blob.size {
            let end = blob.size.min(upload.done + upload.chunk);
            let answer = self.piece(blob, &upload, end);
            match answer {
                Ok(at) => upload.at = at,
                Err(e) => return (upload, Err(e)),
            }
            upload.done = end;
        }
        let sent = self.end(blob, &upload, blob.size..blob.size);
        (upload, sent)
    }

    /// Sends a piece; returns where the next one goes.
    fn piece(&mut self, blob: &Blob, upload: &Upload, end: u64) -> Result<String> {
        let range = format!("{}-{}", upload.done, end - 1);
        let length = (end - upload.done).to_string();
        let is_own = self.is_own(&upload.at);
        let cancel = self.cancel;
        let answer = self.call_at(is_own, &[202], |agent, headers| {
            let mut body = Watched::new(part(blob, upload.done, end)?, cancel);
            with(agent.patch(&upload.at), headers)
                .header("content-type", "application/octet-stream")
                .header("content-range", &range)
                .header("content-length", &length)
                .send(SendBody::from_reader(&mut body))
        })?;
        self.absolute(&header(&answer, "location"))
    }

    /// Ends an upload, with the rest of its bytes.
    fn end(&mut self, blob: &Blob, upload: &Upload, rest: std::ops::Range<u64>) -> Result<()> {
        let joint = if upload.at.contains('?') { '&' } else { '?' };
        let at = format!("{}{joint}digest={}", upload.at, blob.digest);
        let length = (rest.end - rest.start).to_string();
        let is_own = self.is_own(&at);
        let cancel = self.cancel;
        self.call_at(is_own, &[201], |agent, headers| {
            let mut body = Watched::new(part(blob, rest.start, rest.end)?, cancel);
            with(agent.put(&at), headers)
                .header("content-type", "application/octet-stream")
                .header("content-length", &length)
                .send(SendBody::from_reader(&mut body))
        })?;
        Ok(())
    }

    /// How far an upload that failed has come; `None`: it has to begin anew.
    fn ask(&mut self, upload: Upload, size: u64) -> Option<Upload> {
        let is_own = self.is_own(&upload.at);
        let answer = self.call_at(is_own, &[204], |agent, headers| {
            with(agent.get(&upload.at), headers).call()
        });
        let answer = answer.ok()?;
        // `0-0` is what some say for nothing, and others for one byte: beginning anew is right for both.
        let end: u64 = header(&answer, "range").split_once('-')?.1.parse().ok()?;
        let done = end.checked_add(1)?;
        if end == 0 || done > size {
            return None;
        }
        let at = match header(&answer, "location") {
            location if location.is_empty() => upload.at,
            location => self.absolute(&location).ok()?,
        };
        Some(Upload { at, done, ..upload })
    }

    fn is_own(&self, at: &str) -> bool {
        at.starts_with(&format!("{}/", self.to.root()))
    }
}

/// Papers of an image, as manifests that name it as their subject.
impl Registry<'_> {
    /// Sends a manifest that belongs to an image, or to a model beside it, under its digest and under the tag that
    /// it has. `known`: what it may belong to.
    fn put_paper(
        &mut self,
        layout: &Path,
        descriptor: &Value,
        tag: &str,
        known: &[String],
    ) -> Result<()> {
        let digest = descriptor["digest"].as_str().unwrap_or_default();
        let manifest = read_json(layout, digest)?;
        let subject = text(&manifest["subject"]["digest"]);
        let parts = manifest["layers"].as_array().into_iter().flatten();
        for part in parts.chain([&manifest["config"]]) {
            let digest = part["digest"].as_str().unwrap_or_default();
            self.put_blob(&Blob::of(layout, digest)?, CHUNK_BYTES)?;
        }
        let bytes = read_bounded(layout, &blob_path(layout, digest)?)?;
        let media = manifest["mediaType"].as_str().unwrap_or_default();
        let is_linked = self.put_manifest(digest, media, &bytes, digest)?;
        let named = &descriptor["annotations"]["org.opencontainers.image.ref.name"];
        // A layout may come from elsewhere: only the names that papers of this image have are written.
        let ours = ["sig", "att"].map(|kind| tag_of(&subject, kind));
        let named = ours.iter().find(|our| *named == our.as_str()).cloned();
        let named = named.filter(|_| known.contains(&subject));
        let named = named.or_else(|| is_model(descriptor).then(|| modelpack::tag_of(tag)));
        if let Some(named) = named {
            self.put_manifest(&named, media, &bytes, digest)?;
        }
        match is_linked {
            true => Ok(()),
            false if known.contains(&subject) => self.link(descriptor, &subject),
            false => Ok(()),
        }
    }

    /// What a registry that knows no referrers is asked for: an index under a tag that the image's digest
    /// gives (distribution specification, "Referrers Tag Schema").
    fn link(&mut self, descriptor: &Value, subject: &str) -> Result<()> {
        let tag = subject.replace(':', "-");
        let known = self.find_manifest(&tag)?;
        let known: Option<Value> = known.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let mut list = known
            .and_then(|index| index["manifests"].as_array().cloned())
            .unwrap_or_default();
        if list.iter().any(|d| d["digest"] == descriptor["digest"]) {
            return Ok(());
        }
        list.push(descriptor.clone());
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": list}).to_string();
        let digest = digest_of(index.as_bytes());
        self.put_manifest(&tag, INDEX, index.as_bytes(), &digest)?;
        Ok(())
    }
}

fn part(blob: &Blob, start: u64, end: u64) -> std::io::Result<std::io::Take<File>> {
    let mut file = File::open(&blob.path)?;
    file.seek(SeekFrom::Start(start))?;
    Ok(file.take(end - start))
}
