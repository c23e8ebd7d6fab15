//! The release of a commit: from its id to an image.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use modelv_repo::Repo;
use modelv_repo::capture::{clock, python};
use modelv_repo::core::env::Env;
use modelv_repo::core::id::CommitId;
use modelv_repo::core::tree::Mode;
use modelv_repo::worktree::{Files as RepoFiles, Ingredient, Rules};
use modelv_serve::ImageConfig;
use sha2::{Digest, Sha256};

use crate::base::{Base, Demands, prepare};
use crate::error::{Error, Result};
use crate::layer::{Cache, Content, Files, Layer, Node, pack_files};
use crate::layout::{About, LayerInfo, write};
use crate::wheel;

const APP: &str = "opt/modelv/app";

/// What a release is made from, beside the commit.
#[derive(Debug, Clone)]
pub struct ReleaseOptions {
    /// Folder of the image layout; made, or replaced if it is one already.
    pub output: PathBuf,
    /// What the image stands on.
    pub base: Base,
    /// The interpreter that fetches wheels (and is packed by [`Base::Interpreter`]).
    pub python: Option<PathBuf>,
    /// The program that serves in the image.
    pub server: PathBuf,
    /// What people call the commit, for the labels.
    pub name: Option<String>,
}

/// An image that was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Digest of the manifest: the image's identity.
    pub digest: String,
    /// Digest of the configuration: what `docker images` shows as its id.
    pub config_digest: String,
    /// Bottom to top.
    pub layers: Vec<LayerInfo>,
}

/// Builds the image of a commit. `talk` is told what is being done.
///
/// # Errors
/// The base, a package, a library or the function to serve is missing. No image is left behind.
#[expect(
    clippy::too_many_lines,
    reason = "the layers of an image, bottom to top"
)]
pub fn release(
    repo: &Repo,
    id: CommitId,
    options: &ReleaseOptions,
    talk: &mut dyn FnMut(&str),
) -> Result<Image> {
    let commit = repo.commit_object(id)?;
    let env = repo.env_object(commit.recipe.env)?;
    let files = repo.files(id)?;
    let entry = entry_of(repo, &files)?.ok_or_else(|| Error::NoEntry { commit: id.short() })?;
    let output = &options.output;
    check_place(output)?;
    let parent = output
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
    // Made beside its place and renamed: a build that fails leaves no half an image.
    let temp = tempfile::Builder::new()
        .prefix(".modelv-image-")
        .tempdir_in(parent)
        .map_err(Error::io("create", parent))?;
    let blobs = temp.path().join("blobs/sha256");
    std::fs::create_dir_all(&blobs).map_err(Error::io("create", &blobs))?;
    let cache = Cache::open(repo.dir().join("cache/layers"))?;
    let mut layers: Vec<(String, Layer, bool)> = Vec::new();

    let python = find_python(repo, &env, options)?;
    let version = env.interpreter.as_ref().map(|i| i.version.clone());
    let minor = version.as_deref().map(minor_of);
    let mut demands = Demands::default();
    let mut server = Files::default();
    server.add_file(
        "opt/modelv/bin/modelv",
        true,
        Content::Path(options.server.clone()),
    );
    demands.look_at_all(&server)?;

    // Wheels first: what they ask for decides what the interpreter base brings.
    let packages = match &python {
        Some(python) => {
            talk(&format!("finding {} packages", env.packages.len()));
            let cache = repo.dir().join("cache/wheels");
            let minor = minor.as_deref().unwrap_or_default();
            wheel::find_all(&env.packages, &cache, python, minor)?
        }
        None => Vec::new(),
    };
    // The interpreter alone brings no `env`.
    let start = match options.base {
        Base::Interpreter => "/usr/local/bin/python",
        _ => "/usr/bin/env python",
    };
    let shebang = format!("{start}{}", minor.as_deref().unwrap_or_default());
    let mut site = Files::default();
    for wheel in &packages {
        wheel::lay_out(wheel, &shebang, &mut site)?;
    }
    demands.look_at_all(&site)?;

    talk("base");
    let pair = python.as_deref().zip(version.as_deref());
    let ground = prepare(&options.base, &blobs, pair, &demands)?;
    let missing = demands.missing(&ground.paths);
    if !missing.is_empty() {
        return Err(Error::Libraries { missing });
    }
    let interpreter = python_in_base(&ground.paths, minor.as_deref(), &options.base)?;
    for layer in &ground.layers {
        layers.push(("base".into(), layer.clone(), false));
    }
    if !packages.is_empty() {
        talk("Python environment");
        let keys: Vec<&str> = packages.iter().map(|w| w.sha256.as_str()).collect();
        let key = format!("wheels {shebang} {}", keys.join(" "));
        let (layer, cached) = cache.layer(&key, &blobs, |dir| pack_files(dir, &site, None))?;
        layers.push((format!("env: {} packages", packages.len()), layer, cached));
    }
    talk("server");
    let key = format!("server {}", sha256_of(&options.server)?);
    let (layer, cached) = cache.layer(&key, &blobs, |dir| pack_files(dir, &server, None))?;
    layers.push(("server".into(), layer, cached));
    for (name, wanted) in [
        ("model", &[Ingredient::Model][..]),
        ("code and config", &[Ingredient::Code, Ingredient::Config]),
    ] {
        let app = app_files(repo, &files, wanted)?;
        if !app.nodes.is_empty() {
            talk(name);
            let key = format!("{name} {app:?}");
            let (layer, cached) =
                cache.layer(&key, &blobs, |dir| pack_files(dir, &app, Some(repo)))?;
            layers.push((name.into(), layer, cached));
        }
    }
    let name = options.name.clone().unwrap_or_else(|| id.short());
    let config = ImageConfig {
        app_dir: format!("/{APP}").into(),
        commit: id.to_hex(),
        entry,
        listen: ([0, 0, 0, 0], 8080).into(),
        name: name.clone(),
        python: interpreter.into(),
        recipe: commit.recipe.id().to_hex(),
        site_dirs: vec![format!("/{}", wheel::SITE).into()],
        workers: 1,
    };
    let mut about_files = Files::default();
    // A commit without files would leave no folder to work in.
    about_files.add(APP, Node::Dir { sticky: false });
    let bytes = serde_json::to_vec_pretty(&config).unwrap_or_default();
    about_files.add_file("opt/modelv/image.json", false, Content::Bytes(bytes));
    layers.push((
        "commit".into(),
        pack_files(&blobs, &about_files, None)?,
        false,
    ));

    let about = About {
        created: clock::format_rfc3339(commit.time.seconds),
        architecture: crate::layout::oci_arch(),
        labels: labels(
            id,
            &commit.recipe.id().to_hex(),
            &name,
            &commit,
            &ground.name,
        ),
        env: image_env(&ground.env),
        reference: name,
    };
    let pairs: Vec<(String, Layer)> = layers
        .iter()
        .map(|(n, l, _)| (n.clone(), l.clone()))
        .collect();
    let (digest, config_digest) = write(temp.path(), &pairs, &about)?;
    publish(temp, output)?;
    let layers = layers
        .into_iter()
        .map(|(name, l, cached)| LayerInfo {
            name,
            digest: l.digest,
            diff_id: l.diff_id,
            size: l.size,
            cached,
        })
        .collect();
    Ok(Image {
        digest,
        config_digest,
        layers,
    })
}

/// An image goes where nothing is, or where an image of ours is: never in the place of a file, or of
/// a layout that others made (a base, for one).
fn check_place(output: &Path) -> Result<()> {
    let is_free = match std::fs::read_dir(output) {
        Ok(mut inside) => inside.next().is_none(),
        Err(e) => e.kind() == std::io::ErrorKind::NotFound,
    };
    let is_ours = || {
        let manifest = crate::layout::read_manifest(output);
        manifest.is_ok_and(|(_, m)| m["annotations"]["dev.modelv.commit"].is_string())
    };
    if is_free || is_ours() {
        return Ok(());
    }
    Err(Error::Taken {
        path: output.to_owned(),
    })
}

/// Puts the finished layout in place.
fn publish(temp: tempfile::TempDir, output: &Path) -> Result<()> {
    let parent = temp.path().parent().unwrap_or(Path::new(".")).to_owned();
    // The old image goes away with this folder.
    let old = tempfile::Builder::new()
        .prefix(".modelv-image-")
        .tempdir_in(&parent)
        .map_err(Error::io("create", &parent))?;
    if output.exists() {
        std::fs::rename(output, old.path().join("old")).map_err(Error::io("replace", output))?;
    }
    std::fs::set_permissions(
        temp.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .and_then(|()| std::fs::rename(temp.path(), output))
    .map_err(Error::io("write", output))?;
    // Its place is empty now.
    let _ = temp.keep();
    Ok(())
}

/// The variables of the base, and ours above them.
fn image_env(base: &[String]) -> Vec<String> {
    let ours = [
        "PATH=/opt/modelv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHONDONTWRITEBYTECODE=1",
        "PYTHONUNBUFFERED=1",
        "HOME=/tmp",
    ];
    let name = |v: &str| v.split('=').next().unwrap_or("").to_owned();
    let kept = base
        .iter()
        .filter(|v| ours.iter().all(|o| name(o) != name(v)));
    kept.cloned()
        .chain(ours.iter().map(|o| (*o).to_owned()))
        .collect()
}

fn entry_of(repo: &Repo, files: &RepoFiles) -> Result<Option<String>> {
    let toml = files.iter().find(|(p, _)| p.as_bytes() == b"modelv.toml");
    let Some((_, file)) = toml else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(&repo.read_blob(file.blob)?).into_owned();
    Ok(Rules::parse(&text)?.serve_entry().map(str::to_owned))
}

/// The interpreter that fetches wheels: of the commit's own minor version.
fn find_python(repo: &Repo, env: &Env, options: &ReleaseOptions) -> Result<Option<PathBuf>> {
    if env.interpreter.is_none() {
        return Ok(None);
    }
    let configured = repo
        .config("env.python")
        .or_else(|| repo.rules().ok()?.env_python());
    let found = python::find(
        repo.root(),
        options.python.as_deref(),
        configured.as_deref(),
    )?;
    found
        .map(Some)
        .ok_or_else(|| modelv_repo::Error::not_found("interpreter", "python3").into())
}

fn minor_of(version: &str) -> String {
    version.split('.').take(2).collect::<Vec<_>>().join(".")
}

fn python_in_base(
    paths: &std::collections::BTreeSet<Vec<u8>>,
    minor: Option<&str>,
    base: &Base,
) -> Result<String> {
    let Some(minor) = minor else {
        let detail = "the commit records no interpreter".to_owned();
        return Err(Error::Base {
            base: base.to_string(),
            detail,
        });
    };
    ["usr/local/bin", "usr/bin", "bin", "opt/venv/bin"]
        .iter()
        .map(|dir| format!("{dir}/python{minor}"))
        .find(|path| paths.contains(path.as_bytes()))
        .map(|path| format!("/{path}"))
        .ok_or_else(|| Error::Base {
            base: base.to_string(),
            detail: format!("it has no python{minor}, which the commit was made with"),
        })
}

fn app_files(repo: &Repo, files: &RepoFiles, wanted: &[Ingredient]) -> Result<Files> {
    let mut out = Files::default();
    for (path, file) in files.iter().filter(|(_, f)| wanted.contains(&f.ingredient)) {
        let place = [APP.as_bytes(), b"/", path.as_bytes()].concat();
        let content = Content::Blob(file.blob, file.size);
        match file.mode {
            Mode::Symlink => out.add(place, Node::Link(repo.read_blob(file.blob)?)),
            Mode::Tree | Mode::External => {}
            mode => out.add_file(place, mode == Mode::Executable, content),
        }
    }
    Ok(out)
}

fn sha256_of(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    Ok(modelv_repo::core::id::to_hex(&Sha256::digest(&bytes)))
}

fn labels(
    id: CommitId,
    recipe: &str,
    name: &str,
    commit: &modelv_repo::core::commit::Commit,
    base: &str,
) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for (key, value) in [
        ("org.opencontainers.image.revision", id.to_hex()),
        ("org.opencontainers.image.version", id.short()),
        (
            "org.opencontainers.image.created",
            clock::format_rfc3339(commit.time.seconds),
        ),
        ("org.opencontainers.image.title", name.to_owned()),
        (
            "org.opencontainers.image.description",
            commit.subject().to_owned(),
        ),
        ("dev.modelv.base", base.to_owned()),
        ("dev.modelv.commit", id.to_hex()),
        ("dev.modelv.recipe", recipe.to_owned()),
    ] {
        out.insert(key.to_owned(), value);
    }
    out
}

#[cfg(test)]
#[path = "release_tests.rs"]
mod tests;
