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
    let is_layout = output.join("oci-layout").exists();
    let is_empty = std::fs::read_dir(output).map_or(true, |mut d| d.next().is_none());
    if !is_layout && !is_empty {
        return Err(Error::Taken {
            path: output.clone(),
        });
    }
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
            wheel::find_all(&env.packages, &repo.dir().join("cache/wheels"), python)?
        }
        None => Vec::new(),
    };
    let shebang = minor
        .as_deref()
        .map(|m| format!("/usr/bin/env python{m}"))
        .unwrap_or_default();
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
        layers.push((format!("base: {}", ground.name), layer.clone(), false));
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
        let app = app_files(&files, wanted);
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
        architecture: oci_arch(),
        labels: labels(
            id,
            &commit.recipe.id().to_hex(),
            &name,
            &commit,
            &ground.name,
        ),
        env: vec![
            "PATH=/opt/modelv/bin:/usr/local/bin:/usr/bin:/bin".into(),
            "PYTHONDONTWRITEBYTECODE=1".into(),
            "PYTHONUNBUFFERED=1".into(),
            "HOME=/tmp".into(),
        ],
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

/// Puts the finished layout in place.
fn publish(temp: tempfile::TempDir, output: &Path) -> Result<()> {
    let old = output.with_extension("modelv-old");
    if output.exists() {
        std::fs::rename(output, &old).map_err(Error::io("replace", output))?;
    }
    let made = temp.keep();
    std::fs::set_permissions(&made, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .and_then(|()| std::fs::rename(&made, output))
        .map_err(Error::io("write", output))?;
    if old.exists() {
        std::fs::remove_dir_all(&old).map_err(Error::io("delete", &old))?;
    }
    Ok(())
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
            base: format!("{base:?}"),
            detail,
        });
    };
    ["usr/local/bin", "usr/bin", "bin", "opt/venv/bin"]
        .iter()
        .map(|dir| format!("{dir}/python{minor}"))
        .find(|path| paths.contains(path.as_bytes()))
        .map(|path| format!("/{path}"))
        .ok_or_else(|| Error::Base {
            base: match base {
                Base::Layout(p) | Base::Folder(p) | Base::Tar(p) => p.display().to_string(),
                Base::Interpreter => "python".into(),
            },
            detail: format!("it has no python{minor}, which the commit was made with"),
        })
}

fn app_files(files: &RepoFiles, wanted: &[Ingredient]) -> Files {
    let mut out = Files::default();
    for (path, file) in files.iter().filter(|(_, f)| wanted.contains(&f.ingredient)) {
        let place = [APP.as_bytes(), b"/", path.as_bytes()].concat();
        let content = Content::Blob(file.blob, file.size);
        match file.mode {
            Mode::Symlink | Mode::Tree | Mode::External => {}
            mode => out.add_file(place, mode == Mode::Executable, content),
        }
    }
    out
}

fn sha256_of(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    Ok(modelv_repo::core::id::to_hex(&Sha256::digest(&bytes)))
}

fn oci_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
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
        ("org.opencontainers.image.base.name", base.to_owned()),
        ("dev.modelv.commit", id.to_hex()),
        ("dev.modelv.recipe", recipe.to_owned()),
    ] {
        out.insert(key.to_owned(), value);
    }
    out
}
