//! Papers of an image: its bill of materials (CycloneDX 1.6) and its provenance (in-toto statement v1 with a
//! SLSA v1 predicate). Derived from the commit, not guessed from files, and the same each time.

use std::io::Read;

use modelv_repo::Repo;
use modelv_repo::capture::clock;
use modelv_repo::core::commit::Commit;
use modelv_repo::core::env::Env;
use modelv_repo::core::id::{BlobId, CommitId, RunId, to_hex};
use modelv_repo::core::run::Run;
use modelv_repo::worktree::{Files as RepoFiles, Ingredient};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::debian::Deb;
use crate::error::Result;
use crate::layout::oci_arch;

/// More data files than this are one component: their directory.
const DATA_FILES_MAX: usize = 1000;
/// What a build of this kind is called, for who reads provenance.
const BUILD_TYPE: &str = "https://modelv.dev/release/v1";
const BUILDER: &str = "https://modelv.dev/release";

/// A package that went into an image.
#[derive(Debug, Clone)]
pub(crate) struct Packed {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) sha256: String,
}

impl Packed {
    /// Package URL, "pypi" type: the name is in normal form already.
    fn purl(&self) -> String {
        let version = self.version.replace('+', "%2B");
        format!("pkg:pypi/{}@{version}", self.name)
    }
}

/// All that is said in the papers.
pub(crate) struct Facts<'a> {
    pub(crate) repo: &'a Repo,
    pub(crate) id: CommitId,
    pub(crate) commit: &'a Commit,
    pub(crate) env: &'a Env,
    pub(crate) files: &'a RepoFiles,
    pub(crate) name: String,
    pub(crate) base: &'a str,
    pub(crate) packages: &'a [Packed],
    /// Packages of Debian in the base.
    pub(crate) debs: &'a [Deb],
    pub(crate) runs: &'a [(RunId, Run)],
    /// Digest of the manifest.
    pub(crate) digest: &'a str,
    /// SHA-256 of the server.
    pub(crate) server: &'a str,
    pub(crate) compression: &'static str,
}

/// A part of a package URL, in which other characters are written as bytes in hexadecimal.
fn escape(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes()
        .map(|b| match plain(b) {
            true => char::from(b).to_string(),
            false => format!("%{b:02X}"),
        })
        .collect()
}

/// A file of the commit.
struct Row {
    path: String,
    blob: BlobId,
}

impl Facts<'_> {
    fn rows(&self, wanted: Ingredient) -> Vec<Row> {
        let fitting = self.files.iter().filter(|(_, f)| f.ingredient == wanted);
        fitting
            .map(|(path, file)| Row {
                path: String::from_utf8_lossy(path.as_bytes()).into_owned(),
                blob: file.blob,
            })
            .collect()
    }

    fn digits(&self) -> &str {
        crate::layer::digits(self.digest)
    }

    /// The bill of materials.
    pub(crate) fn sbom(&self) -> Result<Value> {
        let data = self.data();
        let data_refs: Vec<Value> = data.iter().map(|d| d["bom-ref"].clone()).collect();
        let models = self.models(&data_refs)?;
        let mut components = self.below();
        components.extend(self.packages.iter().map(|p| {
            json!({
                "type": "library", "bom-ref": p.purl(), "name": p.name, "version": p.version,
                "purl": p.purl(), "hashes": [{"alg": "SHA-256", "content": p.sha256}],
            })
        }));
        components.extend(self.system());
        let mut dependencies: Vec<Value> = models
            .iter()
            .map(|m| json!({"ref": m["bom-ref"], "dependsOn": data_refs}))
            .collect();
        let inside = components.iter().chain(&models);
        let inside: Vec<Value> = inside.map(|c| c["bom-ref"].clone()).collect();
        dependencies.push(json!({"ref": "image", "dependsOn": inside}));
        components.extend(models);
        components.extend(data);
        Ok(json!({
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "serialNumber": self.serial(),
            "version": 1,
            "metadata": {
                "timestamp": clock::format_rfc3339(self.commit.time.seconds),
                "tools": {"components": [{"type": "application", "name": "modelv", "version": env!("CARGO_PKG_VERSION")}]},
                "component": {
                    "type": "container", "bom-ref": "image", "name": self.name, "version": self.id.to_hex(),
                    "hashes": [{"alg": "SHA-256", "content": self.digits()}],
                },
                "properties": [
                    {"name": "dev.modelv.commit", "value": self.id.to_hex()},
                    {"name": "dev.modelv.recipe", "value": self.commit.recipe.id().to_hex()},
                ],
            },
            "components": components,
            "dependencies": dependencies,
        }))
    }

    /// A number that no other image has, from its digest.
    fn serial(&self) -> String {
        let d = self.digits();
        let part = |from: usize, to: usize| d.get(from..to).unwrap_or_default();
        format!(
            "urn:uuid:{}-{}-8{}-8{}-{}",
            part(0, 8),
            part(8, 12),
            part(13, 16),
            part(17, 20),
            part(20, 32)
        )
    }

    /// Packages of the operating system: those that the base says it has; where it says nothing, as one of this
    /// machine's interpreter does, those whose libraries the commit has found in use.
    fn system(&self) -> Vec<Value> {
        let component = |purl: String, name: &str, version: &str| {
            json!({
                "type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl,
            })
        };
        let debs = self.debs.iter().map(|deb| {
            let arch = match deb.architecture.as_str() {
                "" => String::new(),
                arch => format!("?arch={}", escape(arch)),
            };
            let purl = format!(
                "pkg:deb/debian/{}@{}{arch}",
                escape(&deb.name),
                escape(&deb.version)
            );
            component(purl, &deb.name, &deb.version)
        });
        let in_use = self.env.details.system.iter().map(|package| {
            let kind = match package.manager.as_str() {
                "dpkg" => "deb",
                other => other,
            };
            let (name, version) = (escape(&package.name), escape(&package.version));
            let purl = format!("pkg:{}/{name}@{version}", escape(kind));
            component(purl, &package.name, &package.version)
        });
        match self.debs.is_empty() {
            true => in_use.collect(),
            false => debs.collect(),
        }
    }

    /// What the packages stand on.
    fn below(&self) -> Vec<Value> {
        let mut out = vec![
            json!({"type": "operating-system", "bom-ref": "base", "name": "base", "version": self.base}),
            json!({
                "type": "application", "bom-ref": "server", "name": "modelv", "version": env!("CARGO_PKG_VERSION"),
                "hashes": [{"alg": "SHA-256", "content": self.server}],
            }),
        ];
        if let Some(python) = &self.env.interpreter {
            out.push(json!({
                "type": "platform", "bom-ref": "interpreter",
                "name": python.implementation, "version": python.version,
            }));
        }
        out
    }

    fn data(&self) -> Vec<Value> {
        let rows = self.rows(Ingredient::Data);
        if rows.len() > DATA_FILES_MAX {
            return vec![json!({
                "type": "data", "bom-ref": "data", "name": format!("{} files", rows.len()),
                "hashes": [{"alg": "BLAKE3", "content": self.commit.recipe.data.to_hex()}],
                "data": [{"type": "dataset", "name": "data"}],
            })];
        }
        let component = |row: &Row| {
            json!({
                "type": "data", "bom-ref": format!("data:{}", row.path), "name": row.path,
                "hashes": [{"alg": "BLAKE3", "content": row.blob.to_hex()}],
                "data": [{"type": "dataset", "name": row.path}],
            })
        };
        rows.iter().map(component).collect()
    }

    fn models(&self, data: &[Value]) -> Result<Vec<Value>> {
        let measured = self.runs.first().map(|(_, run)| &run.metrics);
        let metrics: Vec<Value> = measured
            .into_iter()
            .flatten()
            .map(|(name, value)| json!({"type": name, "value": value.to_string()}))
            .collect();
        let sets: Vec<Value> = data.iter().map(|d| json!({"ref": d})).collect();
        let component = |row: &Row| -> Result<Value> {
            Ok(json!({
                "type": "machine-learning-model", "bom-ref": format!("model:{}", row.path),
                "name": row.path, "version": self.id.to_hex(),
                "hashes": [
                    {"alg": "SHA-256", "content": self.sha256_of(&row.blob)?},
                    {"alg": "BLAKE3", "content": row.blob.to_hex()},
                ],
                "modelCard": {
                    "modelParameters": {"datasets": sets},
                    "quantitativeAnalysis": {"performanceMetrics": metrics},
                },
            }))
        };
        self.rows(Ingredient::Model).iter().map(component).collect()
    }

    fn sha256_of(&self, blob: &BlobId) -> Result<String> {
        let store = self.repo.store();
        let mut reader = store.open_blob(blob).map_err(modelv_repo::Error::from)?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 1 << 18];
        loop {
            let n = reader.read(&mut buffer).map_err(crate::error::Error::io(
                "read",
                std::path::Path::new("model"),
            ))?;
            if n == 0 {
                return Ok(to_hex(&hasher.finalize()));
            }
            hasher.update(&buffer[..n]);
        }
    }

    /// The provenance, as a statement about the image.
    pub(crate) fn provenance(&self) -> Value {
        let recipe = &self.commit.recipe;
        let ours = |what: &str, id: String| json!({"uri": format!("modelv:{what}/{id}"), "digest": {"blake3": id}});
        let mut from = vec![
            ours("commit", self.id.to_hex()),
            ours("code", recipe.code.to_hex()),
            ours("config", recipe.config.to_hex()),
            ours("data", recipe.data.to_hex()),
            ours("env", recipe.env.to_hex()),
        ];
        if let Some(model) = &self.commit.model {
            from.push(ours("model", model.tree.to_hex()));
        }
        from.extend(self.runs.iter().map(|(id, _)| ours("run", id.to_hex())));
        from.push(json!({"uri": "modelv:server", "digest": {"sha256": self.server}}));
        let mut base = json!({"uri": format!("modelv:base/{}", self.base.replace(' ', "-"))});
        if let Some(digits) = self.base.strip_prefix("sha256:") {
            base["digest"] = json!({"sha256": digits});
        }
        from.push(base);
        from.extend(
            self.packages
                .iter()
                .map(|p| json!({"uri": p.purl(), "digest": {"sha256": p.sha256}})),
        );
        statement(
            &self.name,
            self.digest,
            "https://slsa.dev/provenance/v1",
            &json!({
                "buildDefinition": {
                    "buildType": BUILD_TYPE,
                    "externalParameters": {
                        "commit": self.id.to_hex(), "base": self.base,
                        "compression": self.compression, "architecture": oci_arch(),
                    },
                    "internalParameters": {"recipe": recipe.id().to_hex()},
                    "resolvedDependencies": from,
                },
                "runDetails": {
                    "builder": {"id": BUILDER, "version": {"modelv": env!("CARGO_PKG_VERSION")}},
                    "metadata": {"invocationId": self.id.to_hex()},
                },
            }),
        )
    }
}

/// A statement about an image (<https://in-toto.io/Statement/v1>).
pub(crate) fn statement(name: &str, digest: &str, kind: &str, predicate: &Value) -> Value {
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": {"sha256": crate::layer::digits(digest)}}],
        "predicateType": kind,
        "predicate": predicate,
    })
}
