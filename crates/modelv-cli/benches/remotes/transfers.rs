//! Push and clone of one large model and of very many small files.

use std::path::Path;

use super::measure::{Table, bytes_below};
use super::peers::{CHANGED, CLONE, PUSH, Versions, place};
use super::weed::Server;
use super::{Bench, Env, Outcome, env, sh, workload};

pub(crate) const BARE: &str = "clone without a tree";
const COLUMNS: [&str; 4] = ["modelv", "rclone", "dvc", "git-lfs"];
const URL: &str = "s3://ours/models/x";

impl Bench {
    pub(crate) fn model(&self, gigabytes: f64) -> Outcome {
        println!("\n{gigabytes} GB of bf16 weights in one safetensors file");
        let content = self.fresh("model")?;
        let (first, second) = (
            content.join("model.safetensors"),
            self.fresh("changed")?.join("model.safetensors"),
        );
        workload::model(&first, gigabytes)?;
        workload::changed_copy(&first, &second)?;
        let of = Versions {
            first: &first,
            second: Some(&second),
        };
        self.rounds(&of)?;
        std::fs::remove_dir_all(self.dir.join("changed"))?;
        Ok(std::fs::remove_dir_all(content)?)
    }

    pub(crate) fn files(&self, count: usize) -> Outcome {
        println!("\n{count} files");
        let content = self.fresh("small")?;
        workload::small_files(&content, count)?;
        let of = Versions {
            first: &content,
            second: None,
        };
        self.rounds(&of)?;
        Ok(std::fs::remove_dir_all(content)?)
    }

    fn rounds(&self, of: &Versions<'_>) -> Outcome {
        println!(
            "{} bytes, medians of {}",
            match of.first.metadata()? {
                file if file.is_file() => file.len(),
                _ => bytes_below(of.first)?,
            },
            self.runs
        );
        let mut table = Table::new("seconds", &COLUMNS);
        for _ in 0..self.runs {
            // A server of its own: what the round before left takes neither room nor time.
            let server = Server::start();
            let env = env(&server, &self.dir);
            self.with_ours(of, &env, &mut table)?;
            self.with_rclone(URL, &env, &mut table)?;
            self.with_dvc(of, &env, &mut table)?;
            self.with_lfs(of, &env, &mut table)?;
        }
        table.print();
        Ok(())
    }

    fn with_ours(&self, of: &Versions<'_>, env: &Env, table: &mut Table) -> Outcome {
        let ours = self.repository("ours", URL, env)?;
        place(of.first, &ours, env)?;
        let commit = "cd \"$1\" && \"$0\" commit -m x && sync";
        sh(commit, &[&ours], env)?;
        let push = "cd \"$1\" && \"$0\" push";
        table.add(PUSH, "modelv", sh(push, &[&ours], env)?);
        let copy = self.fresh("clone")?;
        let line = format!("\"$0\" clone --bare {URL} \"$1/c\"");
        table.add(BARE, "modelv", sh(&line, &[&copy], env)?);
        let copy = self.fresh("clone")?;
        let line = format!("\"$0\" clone {URL} \"$1/c\"");
        table.add(CLONE, "modelv", sh(&line, &[&copy], env)?);
        same(of.first, &copy.join("c/data"))?;
        std::fs::remove_dir_all(&copy)?;
        if let Some(second) = of.second {
            sh("cd \"$1\" && \"$0\" branch first", &[&ours], env)?;
            place(second, &ours, env)?;
            sh(commit, &[&ours], env)?;
            // As a separate remote, so that rclone gets what the first push sent.
            let there = "s3://changed/x";
            let line = format!(
                "cd \"$1\" && \"$0\" remote add changed {there} && \"$0\" push changed first:main"
            );
            sh(&line, &[&ours], env)?;
            let line = "cd \"$1\" && \"$0\" push --json changed main >sent.json";
            table.add(CHANGED, "modelv", sh(line, &[&ours], env)?);
            let sent = std::fs::read(ours.join("sent.json"))?;
            let sent: serde_json::Value = serde_json::from_slice(&sent)?;
            println!(
                "the changed copy: {} bytes sent",
                sent["sent"]["bytes"].as_u64().unwrap_or(0)
            );
        }
        Ok(std::fs::remove_dir_all(&ours)?)
    }
}

/// What came is what went.
fn same(content: &Path, data: &Path) -> Outcome {
    let name = content.file_name().ok_or("no name")?;
    sh(
        "diff -rq \"$1\" \"$2\"",
        &[content, &data.join(name)],
        &Vec::new(),
    )?;
    Ok(())
}
