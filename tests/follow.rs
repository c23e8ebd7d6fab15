//! An alias that moves under load: no request fails, and what can't serve never does.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::Value;

use crate::serve::{Client, StopAtEnd, serving, start};
use crate::serving::Server;
use crate::support::Tree;

const CODE: &str = "\
import json
W = json.load(open('models/w.json'))
def predict(xs):
    return [W['scale'] * x for x in xs]
";

fn model(tree: &Tree, scale: u32) -> String {
    tree.put("models/w.json", &format!("{{\"scale\": {scale}}}"));
    tree.commit(&format!("times {scale}"))
}

fn mv_alias(tree: &Tree, to: &str) {
    tree.mv(&["alias", "set", "prod", to, "-m", "live"])
        .success();
}

/// Asks until it is told to stop; gives what did not come out as the commit in the answer has it.
fn load(
    server: &Server,
    stop: &AtomicBool,
    asked: &AtomicUsize,
    scales: &Mutex<HashMap<String, u64>>,
) -> Vec<String> {
    let mut client = Client::of(server);
    let mut wrong = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let n = asked.fetch_add(1, Ordering::Relaxed) as u64;
        match client.post("/predict", "", format!("[{n}]")) {
            Some((200, _, body)) => {
                let body: Value = serde_json::from_str(&body).unwrap();
                let scale = scales.lock().unwrap()[body["commit"].as_str().unwrap()];
                if body["predictions"][0] != n * scale {
                    wrong.push(format!("{body} to {n}"));
                }
            }
            other => {
                wrong.push(format!("{other:?}"));
                client = Client::of(server);
            }
        }
    }
    wrong
}

/// `MODELV_REQUESTS=100000` is the long form.
#[test]
fn an_alias_moves_under_load_and_no_request_fails() {
    let tree = serving(CODE, "batch = 32\nwarm = \"warm.jsonl\"\n");
    tree.put("warm.jsonl", "[1]\n{\"inputs\": [2, 3]}\n");
    let scales = Mutex::new(HashMap::new());
    let made = |scale: u32| {
        let id = model(&tree, scale);
        scales.lock().unwrap().insert(id.clone(), u64::from(scale));
        id
    };
    let models: Vec<String> = (2..6).map(made).collect();
    mv_alias(&tree, &models[0]);
    let server = start(
        &tree,
        &["prod", "--follow", "--every", "0.05", "--workers", "2"],
    );
    let want: usize = std::env::var("MODELV_REQUESTS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(3_000);
    let (stop, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let end = StopAtEnd(&stop);
        let work = || load(&server, &stop, &asked, &scales);
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        let mut turn = 1;
        while turn < 4 || asked.load(Ordering::Relaxed) < want {
            let to = &models[turn % models.len()];
            mv_alias(&tree, to);
            server.wait_for(&format!("modelv_swaps_total{{result=\"taken\"}} {turn}\n"));
            turn += 1;
        }
        drop(end);
        threads
            .into_iter()
            .flat_map(|t| t.join().unwrap())
            .collect()
    });
    let asked = asked.load(Ordering::Relaxed);
    assert!(
        wrong.is_empty(),
        "{} of {asked}: {:?}",
        wrong.len(),
        wrong.first()
    );
    // Those before are gone: their workers, and their files.
    let folders = || {
        let all = std::fs::read_dir(tree.path(".mv/tmp")).unwrap();
        all.filter(|e| {
            e.as_ref()
                .unwrap()
                .file_name()
                .to_string_lossy()
                .starts_with("serve-")
        })
        .count()
    };
    while folders() > 1 {
        std::thread::yield_now();
    }
    bad_ones_are_refused(&tree, &server);
    server.stop();
    assert_eq!(folders(), 0);
}

/// Code that can't be loaded, an answer that does not come, bytes that are damaged.
fn bad_ones_are_refused(tree: &Tree, server: &Server) {
    let good = tree.id("prod");
    let refused = |n: u32, why: &str| {
        server.wait_for(&format!("modelv_swaps_total{{result=\"refused\"}} {n}\n"));
        server.wait_for(why);
        assert_eq!(server.predict("[1]", &good).as_array().unwrap().len(), 1);
    };
    tree.put("serve.py", "import no_such_module\n");
    mv_alias(tree, &tree.commit("can't be loaded"));
    refused(1, "no_such_module");
    tree.put("serve.py", &CODE.replace("return", "return 1 / 0 or"));
    mv_alias(tree, &tree.commit("can't be warmed"));
    refused(2, "request 1 for warming up fails: ZeroDivisionError");
    tree.put("serve.py", CODE);
    // It is warmed, and wrong.
    let rules = tree.get("modelv.toml");
    tree.put(
        "modelv.toml",
        &format!("{rules}golden = \"golden.jsonl\"\n"),
    );
    tree.put("golden.jsonl", "{\"request\": [3], \"response\": [1]}\n");
    mv_alias(tree, &tree.commit("answers otherwise than recorded"));
    refused(
        3,
        "not answered as recorded: request 1 at `[0]`: expected 1, got",
    );
    tree.put("modelv.toml", &rules);
    // What no codec makes smaller: nearly all of its pack.
    let mut noise = vec![0; 1 << 16];
    std::io::Read::read_exact(
        &mut std::fs::File::open("/dev/urandom").unwrap(),
        &mut noise,
    )
    .unwrap();
    std::fs::write(tree.path("models/noise.bin"), noise).unwrap();
    let packs = || -> Vec<_> {
        let all = std::fs::read_dir(tree.path(".mv/packs"))
            .unwrap()
            .map(|e| e.unwrap().path());
        all.filter(|p| p.extension().is_some_and(|e| e == "pack"))
            .collect()
    };
    let before = packs();
    let damaged = tree.commit("noise");
    let new = packs().into_iter().filter(|p| !before.contains(p));
    let pack = new.max_by_key(|p| p.metadata().unwrap().len()).unwrap();
    let mut bytes = std::fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::set_permissions(&pack, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::write(&pack, bytes).unwrap();
    mv_alias(tree, &damaged);
    refused(4, "follow_failed");
    tree.mv(&["alias", "rollback", "prod"]).success();
}

#[test]
fn a_remote_is_followed() {
    let tree = serving(CODE, "");
    let first = tree.id("HEAD");
    tree.mv(&["remote", "add", "origin", "remote"]).success();
    mv_alias(&tree, &first);
    tree.mv(&["push", "origin", "main", "prod"]).success();
    let clone = Tree::empty();
    clone
        .mv(&["clone", tree.path("remote").to_str().unwrap(), "."])
        .success();
    let server = start(
        &clone,
        &["prod", "--follow", "--remote", "origin", "--every", "0.1"],
    );
    assert_eq!(server.predict("[1]", &first), serde_json::json!([2]));
    let second = model(&tree, 7);
    mv_alias(&tree, &second);
    tree.mv(&["push", "origin", "main", "prod"]).success();
    server.wait_for("modelv_swaps_total{result=\"taken\"} 1\n");
    assert_eq!(server.predict("[1]", &second), serde_json::json!([7]));
    // A move in the clone that nobody pushed is not one of the remote.
    clone.mv(&["alias", "rollback", "prod"]).success();
    assert_eq!(clone.id("prod"), first);
    let third = model(&tree, 8);
    mv_alias(&tree, &third);
    tree.mv(&["push", "origin", "main", "prod"]).success();
    server.wait_for("modelv_swaps_total{result=\"taken\"} 2\n");
    assert_eq!(server.predict("[1]", &third), serde_json::json!([8]));
    assert_eq!(clone.id("prod"), first);
    server.stop();
}

#[test]
fn arms_share_by_weight_stick_by_key_and_mirrors_answer_nobody() {
    let tree = serving(CODE, "");
    let first = tree.id("HEAD");
    let second = model(&tree, 3);
    tree.put(
        "serve.py",
        "import time\ndef predict(xs):\n    time.sleep(0.05)\n    raise ValueError('never seen')\n",
    );
    let third = tree.commit("a bad mirror");
    let arms = [
        &first,
        "--weight",
        "75",
        "--arm",
        &format!("{second}=25"),
        "--mirror",
        &third,
        "--mirror",
        &first,
        "--log-payloads",
        "1",
        "--redact",
        "secret",
    ];
    let server = start(&tree, &arms);
    let mut client = Client::of(&server);
    let mut ask = |head: &str| {
        let (status, _, body) = client.post("/predict", head, "[1]").unwrap();
        assert_eq!(status, 200, "{body}");
        let body: Value = serde_json::from_str(&body).unwrap();
        let is_first = body["commit"] == first.as_str();
        assert!(is_first || body["commit"] == second.as_str(), "{body}");
        assert_eq!(body["predictions"][0], if is_first { 2 } else { 3 });
        is_first
    };
    let share = (0..400).filter(|_| ask("")).count();
    assert!((260..340).contains(&share), "{share} of 400");
    for key in 0..20 {
        let head = format!("x-modelv-key: user-{key}\r\n");
        let is_first = ask(&head);
        assert!((0..5).all(|_| ask(&head) == is_first), "user-{key} moved");
    }
    let (_, _, body) = client
        .post("/predict", "", "{\"inputs\": [1], \"secret\": \"hunter2\"}")
        .unwrap();
    assert!(body.contains("predictions"), "{body}");
    server.wait_for("[redacted]");
    assert!(!server.log().contains("hunter2"));
    let metrics = server.ask("GET", "/metrics", "").2;
    // Also where a commit is an arm and a mirror: Prometheus takes no series that is there twice.
    let lines = metrics.lines().filter(|l| !l.starts_with('#'));
    let mut series = std::collections::HashSet::new();
    for (name, _) in lines.filter_map(|l| l.rsplit_once(' ')) {
        assert!(series.insert(name), "{name} is there twice in {metrics}");
    }
    let count = |name: String| {
        let line = metrics.lines().find(|l| l.starts_with(&name));
        let line = line.unwrap_or_else(|| panic!("{name} in {metrics}"));
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    for name in [
        format!("modelv_mirrored_total{{result=\"failed\",commit=\"{third}\"}}"),
        format!("modelv_mirrored_total{{result=\"same\",commit=\"{first}\"}}"),
        format!("modelv_mirrored_total{{result=\"different\",commit=\"{first}\"}}"),
        format!("modelv_requests_total{{code=\"200\",commit=\"{second}\"}}"),
    ] {
        assert!(count(name.clone()) > 0.0, "{name} in {metrics}");
    }
    assert!(metrics.contains(&format!(
        "modelv_arm_weight{{commit=\"{second}\",name=\"{second}\"}} 25"
    )));
    let failed = format!("modelv_requests_total{{code=\"500\",commit=\"{third}\"}}");
    assert_eq!(count(failed), 0.0, "nobody has asked a mirror");
    server.stop();
    let said = tree.mv(&["serve", "HEAD", "--arm", "main"]).fails_with(2);
    assert!(said.contains("REV=WEIGHT"), "{said}");
}
