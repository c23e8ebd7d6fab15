use std::collections::BTreeSet;

use modelv_serve::ImageConfig;

use super::*;
use modelv_repo::CommitOptions;

/// A repository with one commit that serves, an interpreter without packages, and a base that only
/// looks like one: nothing of it is started.
struct Bench {
    dir: tempfile::TempDir,
    repo: Repo,
    minor: String,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let work = dir.path().join("work");
        std::fs::create_dir(&work).unwrap();
        let made = std::process::Command::new("python3")
            .args(["-m", "venv", "--without-pip"])
            .arg(dir.path().join("venv"))
            .status();
        assert!(made.unwrap().success());
        let repo = Repo::init(&work).unwrap();
        let mut bench = Self {
            dir,
            repo,
            minor: String::new(),
        };
        bench.put("work/modelv.toml", "[serve]\nentry = \"serve:predict\"\n");
        bench.put("work/serve.py", "def predict(x): return x\n");
        bench.put("work/models/w.json", "{}");
        bench.put("work/params.toml", "a = 1\n");
        bench.put("server", "#!/bin/sh\n");
        let first = bench.commit("first");
        let env = bench.repo.commit_object(first).unwrap().recipe.env;
        let env = bench.repo.env_object(env).unwrap();
        assert_eq!(env.packages, []);
        bench.minor = archive::minor_of(&env.interpreter.unwrap().version);
        let python = format!("usr/bin/python{}", bench.minor);
        for base in ["base", "elsewhere/other-name"] {
            bench.put(&format!("{base}/{python}"), "");
            bench.put(&format!("{base}/etc/passwd"), "");
        }
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn put(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn commit(&mut self, message: &str) -> CommitId {
        let options = CommitOptions {
            message: message.into(),
            author: Some("Ada <ada@example.org>".into()),
            python: Some(self.path("venv/bin/python")),
            ..CommitOptions::default()
        };
        self.repo.commit(&options, &Ctx::quiet()).unwrap().id
    }

    fn release(&self, id: CommitId, base: Base, output: &str) -> Result<Image> {
        let options = ReleaseOptions {
            output: self.path(output),
            base,
            python: Some(self.path("venv/bin/python")),
            server: self.path("server"),
            name: None,
            compression: Compression::Gzip,
            papers: false,
            modelpack: false,
            sign_key: None,
            replay: true,
            without_model: false,
        };
        release(&self.repo, id, &options, Ctx::quiet(), &mut |_| {})
    }

    fn folder(&self) -> Base {
        Base::Folder(self.path("base"))
    }

    /// What lies beside the images: nothing half made.
    fn names(&self) -> Vec<String> {
        let mut out: Vec<String> = std::fs::read_dir(self.dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        out.sort();
        out
    }
}

#[test]
fn equal_inputs_give_an_equal_digest() {
    let bench = Bench::new();
    let id = bench.repo.get_head().unwrap();
    let first = bench.release(id, bench.folder(), "a").unwrap();
    let again = bench.release(id, bench.folder(), "b/c.d/e").unwrap();
    let moved = Base::Folder(bench.path("elsewhere/other-name"));
    let moved = bench.release(id, moved, "f").unwrap();
    // Without the cache too.
    std::fs::remove_dir_all(bench.repo.dir().join("cache")).unwrap();
    let anew = bench.release(id, bench.folder(), "a").unwrap();
    for image in [&again, &moved, &anew] {
        assert_eq!(
            (&image.digest, &image.config_digest),
            (&first.digest, &first.config_digest)
        );
    }
    assert!(again.layers.iter().any(|l| l.cached));
    assert!(anew.layers.iter().all(|l| !l.cached));
    assert_eq!(
        bench.names(),
        ["a", "b", "base", "elsewhere", "f", "server", "venv", "work"]
    );
}

#[test]
fn a_change_of_code_changes_the_layers_of_code_only() {
    let mut bench = Bench::new();
    let first = bench.repo.get_head().unwrap();
    bench.put("work/serve.py", "def predict(x): return [x]\n");
    let second = bench.commit("second");
    let (a, b) = (
        bench.release(first, bench.folder(), "a").unwrap(),
        bench.release(second, bench.folder(), "b").unwrap(),
    );
    let names: Vec<&str> = a.layers.iter().map(|l| l.name.as_str()).collect();
    assert_eq!(
        names,
        ["base", "server", "model", "code and config", "commit"]
    );
    let changed: Vec<&str> = a
        .layers
        .iter()
        .zip(&b.layers)
        .filter(|(a, b)| a.digest != b.digest)
        .map(|(a, _)| a.name.as_str())
        .collect();
    assert_eq!(changed, ["code and config", "commit"]);
}

#[test]
fn an_image_holds_what_is_needed_and_says_what_it_is() {
    let mut bench = Bench::new();
    std::os::unix::fs::symlink("models/w.json", bench.path("work/current")).unwrap();
    bench.put("work/data/rows.csv", "a\n1\n");
    bench.put("work/gone.py", "");
    // A base with variables of its own: an image of ours, of another commit.
    let older = bench.commit("with a file that will go");
    bench.release(older, bench.folder(), "low").unwrap();
    std::fs::remove_file(bench.path("work/gone.py")).unwrap();
    let id = bench.commit("with a link and a table");
    let base = Base::Layout(bench.path("low"));
    let image = bench.release(id, base, "image").unwrap();
    let run = crate::unpack(
        &bench.path("image"),
        &bench.path("root"),
        &modelv_repo::Cancel::new(),
    )
    .unwrap();
    let app = bench.path("root/opt/modelv/app");
    assert_eq!(std::fs::read_to_string(app.join("current")).unwrap(), "{}");
    assert_eq!(
        app.join("current").read_link().unwrap(),
        Path::new("models/w.json")
    );
    assert!(!app.join("data").exists(), "data is no part of an image");
    assert!(
        !app.join("gone.py").exists(),
        "it is no part of this commit"
    );
    assert_eq!(
        run.entrypoint[1..],
        ["serve", "--image", "/opt/modelv/image.json"]
    );
    let paths = run.env.iter().filter(|v| v.starts_with("PATH=")).count();
    assert_eq!(paths, 1, "{:?}", run.env);
    let config: ImageConfig =
        serde_json::from_slice(&std::fs::read(bench.path("root/opt/modelv/image.json")).unwrap())
            .unwrap();
    assert_eq!(config.commit, id.to_hex());
    assert_eq!(
        config.python,
        PathBuf::from(format!("/usr/bin/python{}", bench.minor))
    );
    let json = crate::layout::read_json(&bench.path("image"), &image.config_digest).unwrap();
    let labels = &json["config"]["Labels"];
    assert_eq!(labels["org.opencontainers.image.revision"], id.to_hex());
    assert_eq!(labels["dev.modelv.commit"], id.to_hex());
    let (digest, manifest) = crate::layout::read_manifest(&bench.path("image")).unwrap();
    assert_eq!((digest, &manifest["annotations"]), (image.digest, labels));
    let seen: BTreeSet<_> = image.layers.iter().map(|l| &l.diff_id).collect();
    assert!(!seen.is_empty());
}

#[test]
fn what_is_not_ours_is_never_replaced() {
    let bench = Bench::new();
    let id = bench.repo.get_head().unwrap();
    bench.put("file", "precious");
    bench.put("folder/x", "precious");
    bench.put("layout/oci-layout", "{}");
    bench.put("layout/index.json", "{\"manifests\": []}");
    let before = bench.names();
    for name in ["file", "folder", "layout", "file/below"] {
        assert!(bench.release(id, bench.folder(), name).is_err(), "{name}");
    }
    assert_eq!(bench.names(), before);
    assert_eq!(
        std::fs::read_to_string(bench.path("file")).unwrap(),
        "precious"
    );
    assert!(bench.path("layout/oci-layout").exists());
    std::fs::create_dir(bench.path("empty")).unwrap();
    bench.release(id, bench.folder(), "empty").unwrap();
    // Ours is.
    let again = bench.release(id, bench.folder(), "empty").unwrap();
    assert_eq!(
        crate::layout::read_manifest(&bench.path("empty"))
            .unwrap()
            .0,
        again.digest
    );
}

#[test]
fn a_base_without_the_interpreter_is_refused_and_nothing_is_left() {
    let bench = Bench::new();
    let id = bench.repo.get_head().unwrap();
    bench.put("bare/etc/passwd", "");
    let before = bench.names();
    let said = bench
        .release(id, Base::Folder(bench.path("bare")), "image")
        .unwrap_err()
        .to_string();
    let want = format!(
        "it has no python{}, which the commit was made with",
        bench.minor
    );
    assert!(said.contains(&want) && said.contains("bare"), "{said}");
    assert_eq!(bench.names(), before);
}

#[test]
fn the_tar_holds_the_layout_and_the_older_manifest() {
    let bench = Bench::new();
    let id = bench.repo.get_head().unwrap();
    let image = bench.release(id, bench.folder(), "image").unwrap();
    for name in ["one.tar", "two.tar"] {
        crate::write_docker_tar(
            &bench.path("image"),
            &bench.path(name),
            "m:1",
            Ctx::quiet().cancel,
        )
        .unwrap();
    }
    let bytes = std::fs::read(bench.path("one.tar")).unwrap();
    assert_eq!(bytes, std::fs::read(bench.path("two.tar")).unwrap());
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_str().unwrap().to_owned();
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
        files.insert(name, content);
    }
    let old: serde_json::Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
    assert_eq!(old[0]["RepoTags"][0], "m:1");
    for (i, layer) in image.layers.iter().enumerate() {
        let path = old[0]["Layers"][i].as_str().unwrap();
        assert_eq!(path, format!("blobs/sha256/{}", &layer.digest[7..]));
        assert_eq!(files[path].len() as u64, layer.size);
    }
    let config = old[0]["Config"].as_str().unwrap();
    assert_eq!(
        config,
        format!("blobs/sha256/{}", &image.config_digest[7..])
    );
    assert!(files.contains_key(config) && files.contains_key("oci-layout"));
}

#[test]
fn a_link_that_leads_out_is_no_part_of_an_image() {
    let mut bench = Bench::new();
    let before = bench.names();
    for target in ["/etc/passwd", "../../etc/passwd"] {
        let link = bench.path("work/secret");
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(target, &link).unwrap();
        let id = bench.commit(target);
        let said = bench.release(id, bench.folder(), "image").unwrap_err();
        let said = said.to_string();
        let want = format!("`secret` can't be put into an image: it is a link to `{target}`");
        assert!(said.starts_with(&want), "{said}");
        assert_eq!(bench.names(), before);
    }
}

#[test]
fn an_interrupt_leaves_nothing_and_is_the_reason() {
    let bench = Bench::new();
    let id = bench.repo.get_head().unwrap();
    let before = bench.names();
    let cancel = modelv_repo::Cancel::new();
    let ctx = Ctx {
        cancel: &cancel,
        ..Ctx::quiet()
    };
    let options = ReleaseOptions {
        output: bench.path("deep/image"),
        base: bench.folder(),
        python: Some(bench.path("venv/bin/python")),
        server: bench.path("server"),
        name: None,
        compression: Compression::Gzip,
        papers: false,
        modelpack: false,
        sign_key: None,
        replay: true,
        without_model: false,
    };
    let mut talk = |text: &str| {
        if text == "server" {
            cancel.cancel();
        }
    };
    let said = release(&bench.repo, id, &options, ctx, &mut talk).unwrap_err();
    let cancelled = matches!(said, Error::Repo(modelv_repo::Error::Cancelled));
    assert!(cancelled, "{said}");
    assert_eq!(bench.names(), before);
    bench.release(id, bench.folder(), "image").unwrap();
    let tar = bench.path("image.tar");
    assert!(crate::write_docker_tar(&bench.path("image"), &tar, "m:1", &cancel).is_err());
    assert!(!tar.exists());
}
