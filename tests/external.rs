//! Data by reference, through the binary: folders, a versioned bucket, a web server.

use crate::statics::serve;
use crate::support::{Done, Tree};
use crate::weed::Server;

#[test]
fn data_by_reference_is_added_changed_and_taken_anew() {
    let far = Tree::empty();
    far.put("big file.csv", "id\n1\n");
    let a = Tree::repo();
    a.put("data/rows.csv", "id\n");
    a.commit("rows");
    let url = format!("file://{}/big file.csv", far.root().display());
    let said = a.mv(&["-C", "data", "add-external", &url]).success();
    assert!(said.contains("data/big file.csv.external"), "{said}");
    let again = a.mv(&["add-external", &url, "data"]).fails_with(1);
    assert!(again.contains("external update"), "{again}");
    let status = a.mv(&["status"]).success();
    assert!(status.contains("+ data/big file.csv.external"), "{status}");
    assert!(!status.contains("+ data/big file.csv\n"), "{status}");
    let one = a.commit("by reference");
    let why = a.mv(&["track", "--explain", "data/big file.csv"]).success();
    assert!(why.contains("external data"), "{why}");
    assert_eq!(
        a.mv(&["cat", "HEAD:data/big file.csv"]).success(),
        "id\n1\n"
    );
    assert!(a.mv(&["external", "check"]).success().contains("unchanged"));
    // A clone has it too.
    a.mv(&[
        "remote",
        "add",
        "origin",
        far.path("remote").to_str().unwrap(),
    ])
    .success();
    a.mv(&["push"]).success();
    let b = Tree::empty();
    let remote = far.path("remote");
    let remote = remote.to_str().unwrap();
    let pattern = format!("file://{}/*", far.root().display());
    b.mv(&["clone", remote, "b", "--allow-external", &pattern])
        .success();
    assert_eq!(b.get("b/data/big file.csv"), "id\n1\n");
    // The source changes: everybody who wants the old one is told both.
    far.put("big file.csv", "id\n1\n2\n");
    let check = a.mv(&["external", "check"]);
    assert!(check.out.contains("changed: 5 bytes"), "{}", check.out);
    check.fails_with(1);
    let error = b
        .mv(&["clone", remote, "c", "--allow-external", &pattern])
        .fails_with(1);
    for word in ["recorded: 5 bytes", "found:    7 bytes", "external update"] {
        assert!(error.contains(word), "{word} is not in {error}");
    }
    // All but that file is there: a branch, its upstream, the other files, nothing to commit.
    let c = |args: &[&str]| b.mv(&[&["-C", "c"][..], args].concat());
    assert_eq!(b.get("c/data/rows.csv"), "id\n");
    assert!(!b.path("c/data/big file.csv").exists());
    let status = c(&["status"]).success();
    assert!(
        status.contains("main") && status.contains("is not here"),
        "{status}"
    );
    assert!(c(&["log"]).success().contains("by reference"));
    c(&["fsck"]).success();
    c(&["pull"]).success();
    let error = c(&["external", "fetch"]).fails_with(1);
    assert!(error.contains("recorded: 5 bytes"), "{error}");
    c(&["external", "update", "data/big file.csv"]).success();
    assert_eq!(b.get("c/data/big file.csv"), "id\n1\n2\n");
    let json = a.json(&["external", "update", "--json"]);
    assert_eq!(json[0]["new"]["size"], 7, "{json}");
    let diff = a.mv(&["diff"]).success();
    assert!(
        diff.contains("-size 5") && diff.contains("+size 7"),
        "{diff}"
    );
    a.commit("two rows");
    // What `cat` read is still in the store; what is newer is still at its source.
    a.mv(&["switch", "--detach", &one]).success();
    assert_eq!(a.get("data/big file.csv"), "id\n1\n");
    a.mv(&["switch", "main"]).success();
    assert_eq!(a.get("data/big file.csv"), "id\n1\n2\n");
    // What somebody changes here is told, and stays.
    a.put("data/big file.csv", "mine");
    let status = a.mv(&["status"]).success();
    assert!(status.contains("was changed here"), "{status}");
    let error = a.mv(&["run", "--", "true"]).fails_with(1);
    assert!(error.contains("external fetch"), "{error}");
    std::fs::remove_file(a.path("data/big file.csv")).unwrap();
    assert!(a.mv(&["status"]).success().contains("not here"));
    a.mv(&["run", "--", "grep", "-q", "2", "data/big file.csv"])
        .success();
    assert!(a.mv(&["fsck"]).success().contains("sound"));
    // A copy is a file like others.
    a.mv(&["import-url", &url, "data/copy.csv"]).success();
    let status = a.mv(&["status"]).success();
    assert!(status.contains("+ data/copy.csv"), "{status}");
    let error = a
        .mv(&["import-url", &format!("{url}x"), "data/y"])
        .fails_with(1);
    assert!(error.contains("nothing is there"), "{error}");
}

#[test]
fn two_updates_of_one_source_are_one_conflict() {
    let far = Tree::empty();
    far.put("x.csv", "1");
    let a = Tree::repo();
    let url = format!("file://{}/x.csv", far.root().display());
    a.mv(&["add-external", &url, "x.csv"]).success();
    a.commit("by reference");
    a.mv(&["branch", "side"]).success();
    far.put("x.csv", "22");
    a.mv(&["external", "update"]).success();
    a.commit("second");
    far.put("x.csv", "1");
    a.mv(&["switch", "side"]).success();
    far.put("x.csv", "333");
    a.mv(&["external", "update"]).success();
    a.commit("third");
    let said = a.mv(&["merge", "main", "-m", "both"]);
    assert!(said.out.lines().count() == 1, "{}", said.out);
    said.fails_with(3);
    assert_eq!(a.get("x.csv"), "333");
    a.mv(&["status"]).success();
    far.put("x.csv", "22");
    let tag = |tree: &Tree| tree.json(&["external", "update", "--json"]);
    a.mv(&["resolve", "x.csv.external", "--theirs"]).success();
    // Another time of writing, the same content: that is enough.
    assert_eq!(a.get("x.csv"), "22");
    a.mv(&["merge", "--continue"]).success();
    let json = tag(&a);
    assert_eq!(
        json[0]["old"]["content"], json[0]["new"]["content"],
        "{json}"
    );
}

#[test]
fn a_bucket_with_versions_still_has_what_was_recorded() {
    let server = Server::start();
    let admin = |tree: &Tree, args: &[&str]| {
        let mut command = tree.command(args);
        Done::new(&command.envs(server.env("admin")).output().unwrap())
    };
    server.put_versioned("d/x.csv", b"one");
    let a = Tree::repo();
    let url = "s3://sources/d/x.csv";
    admin(&a, &["add-external", url, "data/x.csv"]).success();
    let json = a.json(&["external", "--json"]);
    assert!(
        json[0]["version"].is_string() && json[0]["etag"].is_string(),
        "{json}"
    );
    a.commit("by reference");
    server.put_versioned("d/x.csv", b"two!");
    let said = admin(&a, &["external", "check"]);
    assert!(said.out.contains("is kept there"), "{}", said.out);
    std::fs::remove_file(a.path("data/x.csv")).unwrap();
    admin(&a, &["external", "fetch"]).success();
    assert_eq!(a.get("data/x.csv"), "one");
    admin(&a, &["external", "update"]).success();
    assert_eq!(a.get("data/x.csv"), "two!");
    let error = a.mv(&["external", "check"]).fails_with(1);
    assert!(error.contains("AWS_ACCESS_KEY_ID"), "{error}");
}

#[test]
fn a_web_server_is_a_source() {
    let far = Tree::empty();
    far.put("x.csv", "one");
    let url = format!("http://127.0.0.1:{}/x.csv", serve(far.root().to_owned()));
    let a = Tree::repo();
    a.mv(&["add-external", &url, "--no-download"]).success();
    assert!(!a.path("x.csv").exists());
    a.commit("never read");
    let error = a.mv(&["cat", "HEAD:x.csv"]).fails_with(1);
    assert!(error.contains("external update"), "{error}");
    a.mv(&["external", "update"]).success();
    assert_eq!(a.get("x.csv"), "one");
    let json = a.json(&["external", "--json"]);
    assert_eq!(json[0]["etag"], "\"x\"", "{json}");
    a.commit("read");
    // The tag stays, as that of a careless server may: the hash tells.
    far.put("x.csv", "two");
    std::fs::remove_file(a.path("x.csv")).unwrap();
    let error = a.mv(&["external", "fetch"]).fails_with(1);
    assert!(error.contains("has changed"), "{error}");
}

/// A clone must not be led to ask what only this machine reaches.
#[test]
fn an_address_of_this_machine_is_asked_only_on_a_word() {
    let far = Tree::empty();
    far.put("secret.txt", "mine");
    far.put("web/x.csv", "one");
    let a = Tree::repo();
    let port = serve(far.path("web"));
    let file = format!("file://{}/secret.txt", far.root().display());
    let web = format!("http://127.0.0.1:{port}/x.csv");
    a.mv(&["add-external", &file, "a.txt"]).success();
    a.mv(&["add-external", &web, "x.csv"]).success();
    let one = a.commit("by reference");
    // Whoever added it is not asked again.
    std::fs::remove_file(a.path("a.txt")).unwrap();
    std::fs::remove_file(a.path("x.csv")).unwrap();
    a.mv(&["external", "fetch"]).success();
    assert_eq!(
        (a.get("a.txt"), a.get("x.csv")),
        ("mine".into(), "one".into())
    );
    let remote = far.path("remote").display().to_string();
    a.mv(&["remote", "add", "origin", &remote]).success();
    a.mv(&["push"]).success();
    let b = Tree::empty();
    let error = b.mv(&["clone", &remote, "b"]).fails_with(1);
    for word in [
        "a file of this machine",
        "its own network",
        "external fetch a.txt",
    ] {
        assert!(error.contains(word), "{word} is not in {error}");
    }
    let b_has = |name: &str| b.path(&format!("b/{name}")).exists();
    assert!(b_has("a.txt.external") && !b_has("a.txt") && !b_has("x.csv"));
    let mv = |args: &[&str]| b.mv(&[&["-C", "b"][..], args].concat());
    // Not by a checkout, a run, a reader, an export or a question about all.
    for args in [
        &["run", "--", "true"][..],
        &["cat", "HEAD:a.txt"],
        &["export", "HEAD", "out"],
        &["external", "check"],
        &["external", "update"],
        &["external", "fetch"],
    ] {
        let error = mv(args).fails_with(1);
        assert!(error.contains("a commit names it"), "{args:?}: {error}");
    }
    mv(&["switch", "--detach", &one]).success();
    assert!(!b_has("a.txt") && !b_has("x.csv"));
    // By its own name, or by a pattern.
    mv(&["external", "fetch", "a.txt"]).success();
    assert_eq!(b.get("b/a.txt"), "mine");
    assert_eq!(mv(&["cat", "HEAD:a.txt"]).success(), "mine");
    let pattern = format!("http://127.0.0.1:{port}/**");
    mv(&["config", "external.allow", &pattern]).success();
    mv(&["external", "fetch"]).success();
    assert_eq!(b.get("b/x.csv"), "one");
    std::fs::remove_file(b.path("b/x.csv")).unwrap();
    mv(&["export", "HEAD", "out"]).success();
    assert_eq!(
        (b.get("b/out/a.txt"), b.get("b/out/x.csv")),
        ("mine".into(), "one".into())
    );
    mv(&["run", "--", "true"]).success();
}

#[test]
fn a_signed_address_is_copied_and_written_down_nowhere() {
    let far = Tree::empty();
    far.put(
        "d/x.csv?X-Amz-Credential=AKIA/2026&X-Amz-Signature=5ec4e7",
        "one",
    );
    let port = serve(far.root().to_owned());
    let signed = |name: &str| {
        format!(
            "http://127.0.0.1:{port}/d/{name}?X-Amz-Credential=AKIA/2026&X-Amz-Signature=5ec4e7"
        )
    };
    let a = Tree::repo();
    let said = a.mv(&["import-url", &signed("x.csv")]);
    assert!(!said.out.contains("5ec4e7"), "{}", said.out);
    said.success();
    assert_eq!(a.get("x.csv"), "one");
    let error = a
        .mv(&["add-external", &signed("x.csv"), "y.csv"])
        .fails_with(1);
    assert!(
        error.contains("X-Amz-Credential") && error.contains("import-url"),
        "{error}"
    );
    assert!(!error.contains("5ec4e7"), "{error}");
    let error = a
        .mv(&["import-url", &signed("y.csv"), "y.csv"])
        .fails_with(1);
    assert!(!error.contains("5ec4e7"), "{error}");
    a.commit("a copy");
    a.mv(&["run", "--", "true"]).success();
    let mut files = vec![a.path(".mv")];
    let mut seen = 0;
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(path).unwrap().map(|e| e.unwrap().path()));
            continue;
        }
        seen += 1;
        let bytes = std::fs::read(&path).unwrap();
        assert!(
            !bytes.windows(6).any(|w| w == b"5ec4e7"),
            "{}",
            path.display()
        );
    }
    assert!(seen > 3);
    let error = a
        .mv(&["add-external", "s3://bucket/folder/", "d"])
        .fails_with(1);
    assert!(error.contains("is a folder"), "{error}");
}

#[test]
fn what_the_configuration_names_is_added() {
    let far = Tree::empty();
    far.put("one.csv", "id\n1\n");
    far.put("two.csv", "id\n2\n");
    let a = Tree::repo();
    let toml = |one: &str| {
        let two = format!("file://{}", far.path("two.csv").display());
        format!(
            "[env]\ncapture = \"none\"\n[external]\n\"data/one.csv\" = \"{one}\"\n\"data/two.csv\" = \"{two}\"\n"
        )
    };
    let none = a.mv(&["add-external"]).fails_with(1);
    assert!(
        none.contains("names no external data") && none.contains("`[external]`"),
        "{none}"
    );
    let url = format!("file://{}", far.path("one.csv").display());
    a.put("modelv.toml", &toml(&url));
    // Whoever wrote that file may be somebody else: what only this machine reaches is asked when it is allowed.
    let error = a.mv(&["add-external"]).fails_with(1);
    assert!(
        error.contains("a file of this machine") && error.contains("external.allow"),
        "{error}"
    );
    assert!(!a.path("data").exists());
    let pattern = format!("file://{}/*", far.root().display());
    a.mv(&["config", "external.allow", &pattern]).success();
    let said = a.mv(&["add-external"]).success();
    assert!(
        said.contains("data/one.csv is file://") && said.contains("data/two.csv.external"),
        "{said}"
    );
    assert_eq!(
        (
            a.get("data/one.csv").as_str(),
            a.get("data/two.csv").as_str()
        ),
        ("id\n1\n", "id\n2\n")
    );
    let again = a.mv(&["add-external"]).success();
    assert!(
        again.contains("all that `modelv.toml` names is recorded"),
        "{again}"
    );
    a.commit("both");
    let listed = a.json(&["external", "--json"]);
    assert_eq!(listed.as_array().map(Vec::len), Some(2), "{listed}");
    // One that is recorded from elsewhere is a question.
    a.put("modelv.toml", &toml("s3://bucket/other.csv"));
    let error = a.mv(&["add-external"]).fails_with(1);
    assert!(
        error.contains("is recorded from") && error.contains("s3://bucket/other.csv"),
        "{error}"
    );
}
