//! A remote of 100 GB and more than a million chunks. Most of its packs are listed and have an index, and are not
//! there: whoever would fetch one fails.

use std::path::Path;
use std::time::Instant;

use modelv_store::remote::{Remote, RemoteOptions};

use super::proxy::{Fault, Proxy};
use super::weed::Server;
use super::{Bench, Env, Outcome, env, read, sh, workload};

const URL: &str = "s3://large/x";
/// Chunks in a pack, and their size: those of a model in bf16.
const ENTRIES: u64 = 1000;
const CHUNK_BYTES: u32 = 64 << 10;
/// Packs of one push.
const PACKS_A_PUSH: u64 = 100;

impl Bench {
    pub(crate) fn large(&self, packs: u64) -> Outcome {
        println!(
            "\na remote of {:.0} GB in {} chunks and {packs} packs",
            (packs * ENTRIES * u64::from(CHUNK_BYTES)) as f64 / 1e9,
            packs * ENTRIES
        );
        let server = Server::start();
        let proxy = Proxy::start(server.port, |_, _| Fault::None);
        let direct = env(&server, &self.dir);
        let mut counted: Env = direct.clone();
        counted.retain(|(name, _)| *name != "AWS_ENDPOINT_URL");
        counted.push(("AWS_ENDPOINT_URL", proxy.url()));

        let ours = self.repository("ours", URL, &direct)?;
        workload::small_files(&ours.join("data/rows"), 500)?;
        workload::small_files(&ours.join("src"), 200)?;
        std::fs::write(ours.join("train.py"), "print(1)\n")?;
        sh(
            "cd \"$1\" && \"$0\" commit -m x && \"$0\" push",
            &[&ours],
            &direct,
        )?;
        fill(&self.dir.join("simulated"), packs, &direct)?;
        std::fs::write(ours.join("train.py"), "print(2)\n")?;
        sh("cd \"$1\" && \"$0\" commit -m y", &[&ours], &direct)?;

        let watched = Watched {
            proxy,
            env: counted,
        };
        let push = ["push", "--json"];
        watched.run("push of one file, others not known", &ours, &push)?;
        watched.run("push of nothing", &ours, &push)?;
        std::fs::write(ours.join("train.py"), "print(3)\n")?;
        sh("cd \"$1\" && \"$0\" commit -m z", &[&ours], &direct)?;
        watched.run("push of one file, the next", &ours, &push)?;
        let part = ["clone", "--only", "code,config", URL, "c", "--json"];
        let copy = self.fresh("part")?;
        watched.run("clone of code and config", &copy, &part)?;
        let tree = copy.join("c");
        watched.run("fetch of nothing", &tree, &["fetch", "--json"])?;
        // What was learnt may be forgotten at any time.
        std::fs::remove_dir_all(tree.join(".mv/cache/remote"))?;
        std::fs::write(tree.join("train.py"), "print(4)\n")?;
        sh("cd \"$1\" && \"$0\" commit -m w", &[&tree], &direct)?;
        watched.run("push of one file from that clone", &tree, &push)?;
        for _ in 0..self.runs {
            let copy = self.fresh("part")?;
            let line = format!("\"$0\" clone --only code,config {URL} \"$1/c\"");
            let took = sh(&line, &[&copy], &direct)?;
            println!(
                "clone of code and config: {:.3} s, {:.0} MB of memory",
                took.seconds,
                took.peak_bytes as f64 / 1e6
            );
        }
        Ok(())
    }
}

/// Runs commands through a proxy that counts.
struct Watched {
    proxy: Proxy,
    env: Env,
}

impl Watched {
    fn run(&self, what: &str, tree: &Path, args: &[&str]) -> Outcome {
        self.proxy.take();
        let start = Instant::now();
        read(tree, &self.env, args)?;
        let seconds = start.elapsed().as_secs_f64();
        let seen = self.proxy.take();
        let up: usize = seen.iter().map(|r| r.bytes).sum();
        let down: usize = seen.iter().map(|r| r.answered).sum();
        println!(
            "{what:36} {:6} requests {:9.3} MB up {:9.3} MB down {seconds:8.3} s",
            seen.len(),
            up as f64 / 1e6,
            down as f64 / 1e6
        );
        Ok(())
    }
}

/// Fills the remote up: a process of its own, for credentials are variables.
fn fill(cache: &Path, packs: u64, env: &Env) -> Outcome {
    let filled = std::process::Command::new(std::env::current_exe()?)
        .args(["--simulate", &packs.to_string(), "--dir"])
        .arg(cache)
        .envs(env.iter().map(|(name, value)| (name, value)))
        .status()?;
    if !filled.success() {
        return Err("the large remote was not made".into());
    }
    Ok(())
}

/// Lists packs that are not there.
pub(crate) fn simulate(cache: &Path, packs: u64) -> Outcome {
    let remote = Remote::open(URL, &RemoteOptions::default(), cache)?;
    let mut left = packs;
    while left > 0 {
        let some = left.min(PACKS_A_PUSH);
        remote.simulate(left, some, ENTRIES, CHUNK_BYTES)?;
        left -= some;
    }
    Ok(())
}
