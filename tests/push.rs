//! Images in a real registry on loopback: pushed once, pulled by another tool, and compared with their
//! commit.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use crate::serving::{served, share_caches};
use crate::support::Tree;

/// `ada` with the password `open sesame`, as `htpasswd -B` writes it.
const USERS: &str = "ada:$2y$04$abcdefghijklmnopqrstuu/LVz6MZlItEy42I2juLihZ66HnQx/cy\n";

/// A registry of our own, which ends with the test.
pub(crate) struct Registry {
    dir: tempfile::TempDir,
    child: Child,
    pub(crate) address: String,
}

impl Registry {
    /// `auth` is that part of its configuration.
    pub(crate) fn start(auth: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // A port nobody listens on now.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let at = dir.path().display();
        std::fs::write(dir.path().join("users"), USERS).unwrap();
        let config = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {at}/blobs}}}}\n\
             http: {{addr: '{address}'}}\n{}",
            auth.replace("USERS", &format!("{at}/users"))
        );
        std::fs::write(dir.path().join("config.yml"), config).unwrap();
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(dir.path().join("config.yml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("docker-registry starts; `tests/all` installs it");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut seen = Vec::new();
        loop {
            let line = lines.next().and_then(Result::ok);
            let line = line.unwrap_or_else(|| panic!("the registry ended: {seen:?}"));
            if line.contains("listening on") {
                break;
            }
            seen.push(line);
        }
        // Keep reading, or the registry would stop at a full pipe.
        std::thread::spawn(move || for _ in lines.map_while(Result::ok) {});
        Self {
            dir,
            child,
            address,
        }
    }

    fn blobs(&self) -> usize {
        let at = "blobs/docker/registry/v2/blobs/sha256";
        let found = Command::new("find")
            .arg(self.dir.path().join(at))
            .args(["-name", "data"])
            .output()
            .unwrap();
        String::from_utf8_lossy(&found.stdout).lines().count()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn released() -> Tree {
    let tree = served();
    share_caches(&tree);
    tree.json(&["release", "HEAD", "--output", "image", "--json"]);
    tree
}

#[test]
fn an_image_is_pushed_once_and_pulled_by_others() {
    let registry = Registry::start("");
    let tree = released();
    let to = format!("{}/team/doubles:1", registry.address);
    let first = tree.json(&["release", "push", "image", &to, "--json"]);
    let digest = first["digest"].as_str().unwrap();
    let inspected = tree.json(&["release", "inspect", "image", "--json"]);
    let layers = inspected["layers"].as_array().unwrap().len();
    assert_eq!(
        (&first["sent"], &first["present"]),
        (&(layers + 1).into(), &0.into())
    );
    assert_eq!(first["reference"], to);
    assert_eq!(
        registry.blobs(),
        layers + 2,
        "layers, configuration and manifest"
    );
    // The second push sends nothing but the manifest.
    let said = tree.mv(&["release", "HEAD", "--output", "again", "--push", &to]);
    assert!(said.err.contains("0 blobs sent"), "{}", said.err);
    said.success();
    // Another repository of the registry takes the blobs over.
    let other = format!("{}/team/other:1", registry.address);
    let mount = [
        "release",
        "push",
        "image",
        &other,
        "--mount-from",
        "team/doubles",
        "--json",
    ];
    let mounted = tree.json(&mount);
    assert_eq!(
        (&mounted["mounted"], &mounted["sent"]),
        (&(layers + 1).into(), &0.into())
    );
    // What another tool pulls is the same image, under its label the commit.
    let out = Command::new("skopeo")
        .args(["inspect", "--tls-verify=false", &format!("docker://{to}")])
        .output()
        .expect("skopeo starts; `tests/all` installs it");
    let pulled: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(pulled["Digest"], digest);
    let revision = &pulled["Labels"]["org.opencontainers.image.revision"];
    assert_eq!(revision, tree.id("HEAD").as_str());
    let copied = Command::new("skopeo")
        .args([
            "copy",
            "--quiet",
            "--preserve-digests",
            "--src-tls-verify=false",
        ])
        .arg(format!("docker://{to}"))
        .arg(format!("oci:{}:1", tree.path("back").display()))
        .output()
        .unwrap();
    assert!(copied.status.success(), "{copied:?}");
    assert_eq!(
        tree.json(&["release", "inspect", "back", "--json"]),
        inspected
    );
}

#[test]
fn a_registry_that_wants_a_password_gets_it() {
    let auth = "auth: {htpasswd: {realm: test, path: USERS}}\n";
    let registry = Registry::start(auth);
    let tree = released();
    let to = format!("{}/team/doubles", registry.address);
    let push = |password: Option<&str>| {
        let mut command = tree.command(&["release", "push", "image", &to]);
        if let Some(password) = password {
            command
                .env("MODELV_REGISTRY_USER", "ada")
                .env("MODELV_REGISTRY_PASSWORD", password);
        }
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), said)
    };
    let (code, said) = push(None);
    assert_eq!(code, Some(1));
    assert!(said.contains("it asks for a name and a password"), "{said}");
    assert!(
        said.contains("hint: is it running? `docker login REGISTRY`"),
        "{said}"
    );
    let (code, said) = push(Some("guessed"));
    assert_eq!(code, Some(1));
    assert!(said.contains("401") && !said.contains("guessed"), "{said}");
    assert_eq!(push(Some("open sesame")).0, Some(0));
    // As `docker login` keeps it.
    let json = format!(
        "{{\"auths\": {{\"{}\": {{\"auth\": \"YWRhOm9wZW4gc2VzYW1l\"}}}}}}",
        registry.address
    );
    tree.put("no-home/.docker/config.json", &json);
    assert_eq!(push(None).0, Some(0));
    // As a helper of Docker's keeps it.
    let json = format!(
        "{{\"credHelpers\": {{\"{}\": \"test\"}}}}",
        registry.address
    );
    tree.put("no-home/.docker/config.json", &json);
    assert_eq!(push(None).0, Some(1), "there is no such helper");
    tree.put(
        "bin/docker-credential-test",
        "#!/bin/sh\n[ \"$1\" = get ] || exit 1\nread -r server\n\
         echo \"{\\\"ServerURL\\\": \\\"$server\\\", \\\"Username\\\": \\\"ada\\\", \
         \\\"Secret\\\": \\\"open sesame\\\"}\"\n",
    );
    let helper = tree.path("bin/docker-credential-test");
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!(
        "{}:{}",
        tree.path("bin").display(),
        std::env::var("PATH").unwrap()
    );
    let mut command = tree.command(&["release", "push", "image", &to]);
    let output = command.env("PATH", path).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn what_cannot_be_pushed_is_said() {
    let tree = Tree::empty();
    for to in ["doubles", "team/doubles:1", "ghcr.io/Team/x"] {
        let said = tree.mv(&["release", "push", "image", to]).fails_with(1);
        assert!(
            said.contains(&format!("`{to}` is no name for an image")),
            "{said}"
        );
    }
    let said = tree
        .mv(&["release", "push", "image", "127.0.0.1:1/x"])
        .fails_with(1);
    assert!(said.contains("there is no image `image`"), "{said}");
    let tree = released();
    let said = tree
        .mv(&["release", "push", "image", "127.0.0.1:1/x"])
        .fails_with(1);
    assert!(
        said.contains("registry `127.0.0.1:1` can't be used"),
        "{said}"
    );
}

#[test]
fn an_image_is_compared_with_its_commit() {
    let tree = released();
    let same = tree.mv(&["release", "verify", "image"]).success();
    assert!(
        same.contains(&format!("is what commit {} gives", tree.id("HEAD"))),
        "{same}"
    );
    tree.put("models/w.json", "{\"scale\": 3}");
    let other = tree.commit("a model that triples");
    let differs = tree.mv(&["release", "verify", "image", "HEAD"]);
    assert_eq!(differs.status, Some(1), "{}", differs.err);
    assert!(
        differs
            .out
            .starts_with("layer `model` is the first part that differs\n"),
        "{}",
        differs.out
    );
    tree.json(&["release", "HEAD", "--output", "new", "--json"]);
    let shown = tree.mv(&["release", "inspect", "new"]).success();
    for want in [
        &format!("commit {other}"),
        "runs as 65532:65532",
        "  model ",
        "opt/modelv/app/",
    ] {
        assert!(shown.contains(want), "{want} in {shown}");
    }
    // A flipped byte is found before anything is built.
    let image = tree.json(&["release", "inspect", "image", "--json"]);
    let digest = image["layers"][0]["digest"].as_str().unwrap();
    let blob = tree.path(&format!("image/blobs/sha256/{}", &digest[7..]));
    let mut bytes = std::fs::read(&blob).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&blob, bytes).unwrap();
    let said = tree.mv(&["release", "verify", "image"]).fails_with(1);
    assert!(said.contains("is damaged: layer `sha256:"), "{said}");
}
