//! Files that run an image, looked at by the tools that read them; and a real Prometheus that scrapes.

use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::Value;

use crate::serve::{serving, start};
use crate::serving::{served, share_caches};
use crate::support::PATIENCE;
use crate::venv::{must, python};

fn tool(name: &str, package: &str, args: &[&str], dir: &std::path::Path) -> String {
    let found = Command::new(name)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(
        found.is_ok(),
        "`{name}` (Debian's {package}) is needed; `tests/all` installs it"
    );
    must(Command::new(name).args(args).current_dir(dir))
}

#[test]
fn what_is_written_passes_the_tools_that_read_it() {
    let tree = served();
    share_caches(&tree);
    let release = [
        "release",
        "HEAD",
        "--output",
        "image",
        "--tag",
        "tweets:1",
        "--compose",
        "run",
        "--k8s",
        "k8s.yaml",
        "--gateway",
        "edge/public",
        "--hostname",
        "tweets.example.org",
    ];
    let said = tree.mv(&[&release[..], &["--kserve", "kserve.yaml"]].concat());
    assert!(
        said.err
            .contains("docker compose --project-directory run up"),
        "{said:?}"
    );
    said.success();
    let dir = tree.path("run");
    let shown = tool(
        "docker-compose",
        "docker-compose",
        &["-f", "compose.yaml", "config"],
        &dir,
    );
    assert!(
        shown.contains("image: tweets:1") && shown.contains(&tree.id("HEAD")),
        "{shown}"
    );
    tool(
        "promtool",
        "prometheus",
        &["check", "rules", "alerts.yml"],
        &dir,
    );
    // Its rules are looked up beside it.
    tool(
        "promtool",
        "prometheus",
        &["check", "config", "prometheus.yml"],
        &dir,
    );
    let board: Value = serde_json::from_str(&tree.get("run/grafana/modelv.json")).unwrap();
    for panel in board["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let expr = target["expr"].as_str().unwrap();
            let rule = format!("groups: [{{name: x, rules: [{{record: y, expr: '{expr}'}}]}}]");
            tree.put("rule.yml", &rule);
            tool(
                "promtool",
                "prometheus",
                &["check", "rules", "rule.yml"],
                tree.root(),
            );
        }
    }
    let python = python(
        "kubernetes",
        &[
            "kubernetes-validate==1.36.0",
            "pyyaml==6.0.2",
            "jsonschema==4.26.0",
        ],
    );
    let check = "\
import json, sys, yaml, jsonschema, kubernetes_validate
kinds = []
for document in yaml.safe_load_all(open(sys.argv[1])):
    kinds.append(document['kind'])
    if document['kind'] != 'HTTPRoute':
        kubernetes_validate.validate(document, sys.argv[2], strict=True)
        if document['kind'] == 'Service':
            service = (document['metadata']['name'], document['spec']['ports'][0]['port'])
        continue
    assert document['apiVersion'] == 'gateway.networking.k8s.io/v1', document
    route = document['spec']
    jsonschema.validate(route, json.load(open(sys.argv[4])))
    assert route['parentRefs'] == [{'name': 'public', 'namespace': 'edge'}], route
    assert route['hostnames'] == ['tweets.example.org'], route
    [to] = route['rules'][0]['backendRefs']
    assert (to['name'], to['port']) == service, to
assert kinds == ['Deployment', 'Service', 'PodDisruptionBudget', 'HTTPRoute'], kinds
serving = yaml.safe_load(open(sys.argv[3]))
pod = {'apiVersion': 'v1', 'kind': 'Pod', 'metadata': {'name': 'x'}, 'spec': {'containers': serving['spec']['predictor']['containers']}}
kubernetes_validate.validate(pod, sys.argv[2], strict=True)
";
    let (k8s, kserve) = (tree.path("k8s.yaml"), tree.path("kserve.yaml"));
    must(
        Command::new(python)
            .args(["-c", check])
            .arg(k8s)
            .arg("1.32")
            .arg(kserve)
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../../tests/httproute.schema.json"
            )),
    );
    let models = ["--no-deps", "kserve==0.21.0", "pyyaml==6.0.2"];
    must(
        Command::new(crate::venv::python("kserve", &models))
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../../tests/inference_service.py"
            ))
            .arg(tree.path("kserve.yaml")),
    );
    let taken = tree
        .mv(&["release", "HEAD", "--output", "image2", "--compose", "run"])
        .fails_with(1);
    assert!(taken.contains("is not replaced"), "{taken}");
}

struct Prometheus(Child);

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_real_prometheus_counts_what_was_asked() {
    let tree = serving("def predict(x):\n    return 1 / x\n", "");
    let server = start(&tree, &[]);
    for (body, want) in [("1", 200), ("2", 200), ("4", 200), ("0", 500), ("x", 400)] {
        assert_eq!(server.ask("POST", "/predict", body).0, want);
    }
    let config = include_str!("../crates/modelv-release/src/deploy/prometheus.yml");
    let config = config
        .replace("model:8080", &server.address)
        .replace("scrape_interval: 5s", "scrape_interval: 1s");
    tree.put("prometheus.yml", &config);
    tree.put(
        "alerts.yml",
        include_str!("../crates/modelv-release/src/deploy/alerts.yml"),
    );
    tool("prometheus", "prometheus", &["--version"], tree.root());
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let started = Command::new("prometheus")
        .args([
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=data",
            &format!("--web.listen-address={port}"),
        ])
        .current_dir(tree.root())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let _prometheus = Prometheus(started.unwrap());
    let end = Instant::now() + PATIENCE;
    let commit = tree.id("HEAD");
    for (code, want) in [("200", "3"), ("500", "1"), ("400", "1")] {
        let query = format!("query=modelv_requests_total{{code=\"{code}\",commit=\"{commit}\"}}");
        loop {
            let url = format!("http://{port}/api/v1/query");
            let got = Command::new("curl")
                .args(["-s", "--data-urlencode", &query, &url])
                .output()
                .unwrap();
            let got: Value = serde_json::from_slice(&got.stdout).unwrap_or_default();
            if got["data"]["result"][0]["value"][1] == want {
                break;
            }
            assert!(Instant::now() < end, "{code}: {got}");
            std::thread::yield_now();
        }
    }
    server.stop();
}
