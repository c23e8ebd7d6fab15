//! The figures people ask for, taken with the real binary, beside the tools they use today and the
//! floor that the machine sets (`dd conv=fsync`, `cp`), in one run, medians, turn and turn about.
//!
//! ```sh
//! cargo bench -p modelv-cli --bench figures -- [--gigabytes 2.07] [--files 20000] [--runs 5] [--many 1000000] [--stages 20] [--tracked 100000] [--dir DIR]
//! ```
//!
//! Needs about six times the gigabytes of room in DIR (a temporary folder by default). Peers that
//! are not installed are left out and named.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod many;
mod measure;
mod stages;
mod tracked;
mod workload;

use std::path::{Path, PathBuf};

use measure::{Figure, Table, bytes_below, measure};

/// What is being compared with what.
struct Options {
    gigabytes: f64,
    files: usize,
    runs: usize,
    dir: Option<PathBuf>,
    /// Very many files instead of the other figures.
    many: Option<usize>,
    /// A pipeline of so many stages instead of the other figures.
    stages: Option<usize>,
    /// So many runs instead of the other figures.
    tracked: Option<usize>,
}

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

fn options() -> Outcome<Options> {
    let mut out = Options {
        gigabytes: 2.07,
        files: 20_000,
        runs: 5,
        dir: None,
        many: None,
        stages: None,
        tracked: None,
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--gigabytes" => out.gigabytes = value()?.parse()?,
            "--files" => out.files = value()?.parse()?,
            "--runs" => out.runs = value()?.parse()?,
            "--stages" => out.stages = Some(value()?.parse()?),
            "--tracked" => out.tracked = Some(value()?.parse()?),
            "--many" => out.many = Some(value()?.parse()?),
            "--dir" => out.dir = Some(value()?.into()),
            // cargo says so to every benchmark.
            "--bench" => {}
            other => return Err(format!("unknown argument {other}").into()),
        }
    }
    Ok(out)
}

fn main() -> Outcome {
    let options = options()?;
    let temporary = tempfile::tempdir()?;
    let dir = options
        .dir
        .clone()
        .unwrap_or_else(|| temporary.path().to_owned());
    std::fs::create_dir_all(&dir)?;
    let bench = Bench {
        dir,
        runs: options.runs.max(1),
        has_lfs: measure::succeeds("git", &["lfs", "version"]),
        has_git: measure::succeeds("git", &["--version"]),
    };
    if !bench.has_lfs {
        eprintln!("git-lfs is not installed: its column is empty");
    }
    if let Some(count) = options.many {
        return bench.many(count);
    }
    if let Some(count) = options.stages {
        return bench.stages(count);
    }
    if let Some(count) = options.tracked {
        return bench.tracked(count);
    }
    bench.small_files(options.files)?;
    bench.model(options.gigabytes)
}

struct Bench {
    dir: PathBuf,
    runs: usize,
    has_lfs: bool,
    has_git: bool,
}

const MODELV: &str = env!("CARGO_BIN_EXE_modelv");

/// A shell line with the folders and the binary as `$1`, `$2`…: what a user would type.
fn sh(line: &str, args: &[&Path]) -> Outcome<Figure> {
    measure(line, Path::new(MODELV), args, &[])
}

const GIT: &str = "git -c user.name=a -c user.email=a@example.org";

impl Bench {
    fn fresh(&self, name: &str) -> Outcome<PathBuf> {
        let path = self.dir.join(name);
        if path.exists() {
            std::fs::remove_dir_all(&path)?;
        }
        std::fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// An empty repository of ours; nothing of the machine is captured, as the peers capture nothing.
    fn repository(&self, name: &str) -> Outcome<PathBuf> {
        let path = self.fresh(name)?;
        std::fs::write(path.join("modelv.toml"), "[env]\ncapture = \"none\"\n")?;
        sh(
            "cd \"$1\" && \"$0\" init && \"$0\" config user.name A && \"$0\" config user.email a@example.org",
            &[&path],
        )?;
        Ok(path)
    }

    fn small_files(&self, count: usize) -> Outcome {
        println!("\n{count} files");
        let source = self.fresh("small")?;
        let bytes = workload::small_files(&source, count)?;
        println!(
            "{} MB of small files, medians of {}",
            bytes / 1_000_000,
            self.runs
        );
        let mut table = Table::new("seconds", &["modelv", "git", "cp -r"]);
        let (mut ours, mut git) = (PathBuf::new(), PathBuf::new());
        for _ in 0..self.runs {
            let copy = self.fresh("copy")?;
            table.add(
                "first commit",
                "cp -r",
                sh("cp -r \"$1/.\" \"$2\"", &[&source, &copy])?,
            );
            ours = self.repository("ours")?;
            sh("cp -r \"$1/.\" \"$2\"", &[&source, &ours])?;
            table.add(
                "first commit",
                "modelv",
                sh("cd \"$1\" && \"$0\" commit -m one", &[&ours])?,
            );
            if self.has_git {
                git = self.fresh("git")?;
                sh(
                    "cp -r \"$1/.\" \"$2\" && cd \"$2\" && git init -q .",
                    &[&source, &git],
                )?;
                let line = format!("cd \"$1\" && git add -A && {GIT} commit -qm one");
                table.add("first commit", "git", sh(&line, &[&git])?);
            }
        }
        // The first look after a commit may read files as young as the index; then both are settled.
        let settle = "cd \"$1\" && \"$0\" status && cd \"$2\" && git status";
        if self.has_git {
            sh(settle, &[&ours, &git])?;
        }
        for round in 0..self.runs {
            table.add("start-up", "modelv", sh("\"$0\" --version", &[])?);
            table.add(
                "status, nothing changed",
                "modelv",
                sh("cd \"$1\" && \"$0\" status", &[&ours])?,
            );
            if self.has_git {
                table.add(
                    "status, nothing changed",
                    "git",
                    sh("cd \"$1\" && git status", &[&git])?,
                );
            }
            for tree in [&ours, &git] {
                workload::touch_ten(tree, count, round)?;
            }
            table.add(
                "commit of 10 changed",
                "modelv",
                sh("cd \"$1\" && \"$0\" commit -m ten", &[&ours])?,
            );
            if self.has_git {
                let line = format!("cd \"$1\" && git add -A && {GIT} commit -qm ten");
                table.add("commit of 10 changed", "git", sh(&line, &[&git])?);
            }
            sh("cd \"$1\" && \"$0\" status", &[&ours])?;
        }
        table.print();
        Ok(())
    }

    fn model(&self, gigabytes: f64) -> Outcome {
        println!("\n{gigabytes} GB of bf16 weights in one safetensors file");
        let first = self.dir.join("model.safetensors");
        let second = self.dir.join("changed.safetensors");
        workload::model(&first, gigabytes)?;
        workload::changed_copy(&first, &second)?;
        let size = std::fs::metadata(&first)?.len();
        println!("{size} bytes, medians of {}", self.runs);
        let mut table = Table::new("seconds", &["modelv", "git-lfs", "dd conv=fsync", "cp"]);
        let mut stored = Vec::new();
        for _ in 0..self.runs {
            self.one_round(&first, &second, &mut table, &mut stored)?;
        }
        table.print();
        let (one, two) = *stored.last().ok_or("no run")?;
        println!(
            "stored: {:.3} of the size; the changed copy adds {:.0} MB",
            one as f64 / size as f64,
            (two - one) as f64 / 1e6
        );
        Ok(())
    }

    fn one_round(
        &self,
        first: &Path,
        second: &Path,
        table: &mut Table,
        stored: &mut Vec<(u64, u64)>,
    ) -> Outcome {
        let ours = self.repository("ours")?;
        sh("cp \"$1\" \"$2/model.safetensors\"", &[first, &ours])?;
        self.floor("first commit", first, table)?;
        let commit = "cd \"$1\" && \"$0\" commit -m x";
        table.add("first commit", "modelv", sh(commit, &[&ours])?);
        let one = bytes_below(&ours.join(".mv"))?;
        table.add(
            "status, nothing changed",
            "modelv",
            sh("cd \"$1\" && \"$0\" status", &[&ours])?,
        );
        sh(
            "cp \"$1\" \"$2/model.safetensors\" && sync",
            &[second, &ours],
        )?;
        table.add(
            "commit of two changed layers",
            "modelv",
            sh(commit, &[&ours])?,
        );
        stored.push((one, bytes_below(&ours.join(".mv"))?));
        self.floor("checkout of the other version", first, table)?;
        table.add(
            "checkout of the other version",
            "modelv",
            sh("cd \"$1\" && \"$0\" switch --detach HEAD~1", &[&ours])?,
        );
        if self.has_lfs {
            self.with_lfs(first, second, table)?;
        }
        Ok(())
    }

    fn with_lfs(&self, first: &Path, second: &Path, table: &mut Table) -> Outcome {
        let lfs = self.fresh("lfs")?;
        sh(
            "cd \"$2\" && git init -q . && git lfs install --local && git lfs track '*.safetensors' && cp \"$1\" model.safetensors && sync",
            &[first, &lfs],
        )?;
        let line = format!("cd \"$1\" && git add -A && {GIT} commit -qm x && sync");
        table.add("first commit", "git-lfs", sh(&line, &[&lfs])?);
        table.add(
            "status, nothing changed",
            "git-lfs",
            sh("cd \"$1\" && git status", &[&lfs])?,
        );
        sh(
            "cp \"$1\" \"$2/model.safetensors\" && sync",
            &[second, &lfs],
        )?;
        table.add(
            "commit of two changed layers",
            "git-lfs",
            sh(&line, &[&lfs])?,
        );
        table.add(
            "checkout of the other version",
            "git-lfs",
            sh("cd \"$1\" && git checkout -q HEAD~1", &[&lfs])?,
        );
        std::fs::remove_dir_all(&lfs)?;
        Ok(())
    }

    /// What the machine needs to write the same bytes, durably and not.
    fn floor(&self, what: &str, file: &Path, table: &mut Table) -> Outcome {
        let copy = self.dir.join("copied.safetensors");
        let dd = "dd if=\"$1\" of=\"$2\" bs=4M conv=fsync status=none";
        table.add(what, "dd conv=fsync", sh(dd, &[file, &copy])?);
        std::fs::remove_file(&copy)?;
        table.add(what, "cp", sh("cp \"$1\" \"$2\"", &[file, &copy])?);
        std::fs::remove_file(&copy)?;
        // What the copies left to be written is not for others to wait for.
        sh("sync", &[])?;
        Ok(())
    }
}
