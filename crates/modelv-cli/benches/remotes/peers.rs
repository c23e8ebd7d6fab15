//! The other tools, driven as their users drive them.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::measure::{Table, succeeds};
use super::{Bench, Env, Outcome, sh};

/// Which of them are there.
pub(crate) struct Peers {
    pub(crate) rclone: bool,
    pub(crate) dvc: bool,
    pub(crate) lfs: bool,
}

impl Peers {
    pub(crate) fn find() -> Self {
        let named = |name: &str, is_there: bool| {
            if !is_there {
                eprintln!("{name} is not installed: its column is empty");
            }
            is_there
        };
        let signs = succeeds("python3", &["-c", "import botocore"]);
        Self {
            rclone: named("rclone", succeeds("rclone", &["version"])),
            dvc: named("dvc", succeeds("dvc", &["--version"])),
            lfs: named(
                "git-lfs (with botocore)",
                signs && succeeds("git", &["lfs", "version"]),
            ),
        }
    }
}

/// What git-lfs asks where to put and get.
struct LfsServer(Child);

impl Drop for LfsServer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn lfs_server(endpoint: &str, env: &Env) -> Outcome<(LfsServer, u16)> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/remotes/lfs_server.py");
    let mut child = Command::new("python3")
        .arg(script)
        .args([endpoint, "lfs"])
        .envs(env.iter().map(|(name, value)| (name, value)))
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    let out = child.stdout.take().ok_or("no output")?;
    BufReader::new(out).read_line(&mut line)?;
    Ok((LfsServer(child), line.trim().parse()?))
}

/// What is compared: the content in two versions.
pub(crate) struct Versions<'a> {
    pub(crate) first: &'a Path,
    pub(crate) second: Option<&'a Path>,
}

/// Puts a version of the content into a working tree.
pub(crate) fn place(content: &Path, tree: &Path, env: &Env) -> Outcome {
    sh(
        "rm -rf \"$2/data\" && mkdir -p \"$2/data\" && cp -r \"$1\" \"$2/data/\" && sync",
        &[content, tree],
        env,
    )?;
    Ok(())
}

pub(crate) const PUSH: &str = "push";
pub(crate) const CLONE: &str = "clone with files";
pub(crate) const CHANGED: &str = "push of the changed copy";

impl Bench {
    /// `git clone` and `git commit` of what other tools keep beside Git.
    fn git_config(&self, lfs_port: Option<u16>) -> Outcome {
        let mut text = String::from(
            "[user]\nname = a\nemail = a@example.org\n[init]\ndefaultBranch = main\n[gc]\nauto = 0\n",
        );
        if let Some(port) = lfs_port {
            text.push_str(&format!(
                "[filter \"lfs\"]\nclean = git-lfs clean -- %f\nsmudge = git-lfs smudge -- %f\n\
                 process = git-lfs filter-process\nrequired = true\n\
                 [lfs]\nurl = http://127.0.0.1:{port}\nlocksverify = false\n"
            ));
        }
        Ok(std::fs::write(self.dir.join("gitconfig"), text)?)
    }

    pub(crate) fn with_dvc(&self, of: &Versions<'_>, env: &Env, table: &mut Table) -> Outcome {
        if !self.peers.dvc {
            return Ok(());
        }
        self.git_config(None)?;
        let (tree, copy) = (self.fresh("dvc")?, self.fresh("dvc-clone")?);
        let endpoint = value(env, "AWS_ENDPOINT_URL");
        let line = format!(
            "cd \"$1\" && git init -q . && dvc init -q && dvc remote add -q -d s3 s3://dvc/x && \
             dvc remote modify -q s3 endpointurl {endpoint}"
        );
        sh(&line, &[&tree], env)?;
        make_bucket("dvc", env)?;
        place(of.first, &tree, env)?;
        let commit = "cd \"$1\" && dvc add -q data && git add -A && git commit -qm x && sync";
        sh(commit, &[&tree], env)?;
        table.add(PUSH, "dvc", sh("cd \"$1\" && dvc push -q", &[&tree], env)?);
        let line = "git clone -q \"$1\" \"$2/c\" && cd \"$2/c\" && dvc pull -q";
        table.add(CLONE, "dvc", sh(line, &[&tree, &copy], env)?);
        std::fs::remove_dir_all(&copy)?;
        if let Some(second) = of.second {
            place(second, &tree, env)?;
            sh(commit, &[&tree], env)?;
            let push = sh("cd \"$1\" && dvc push -q", &[&tree], env)?;
            table.add(CHANGED, "dvc", push);
        }
        Ok(std::fs::remove_dir_all(&tree)?)
    }

    pub(crate) fn with_lfs(&self, of: &Versions<'_>, env: &Env, table: &mut Table) -> Outcome {
        if !self.peers.lfs {
            return Ok(());
        }
        let (_server, port) = lfs_server(&value(env, "AWS_ENDPOINT_URL"), env)?;
        self.git_config(Some(port))?;
        let (tree, copy) = (self.fresh("lfs")?, self.fresh("lfs-clone")?);
        let line = "cd \"$1\" && git init -q --bare there.git && git init -q here && cd here && \
                    git lfs install --local && git lfs track 'data/**' && git remote add origin ../there.git";
        sh(line, &[&tree], env)?;
        let here = tree.join("here");
        place(of.first, &here, env)?;
        let commit = "cd \"$1\" && git add -A && git commit -qm x && sync";
        sh(commit, &[&here], env)?;
        let push = "cd \"$1\" && git push -q origin main";
        table.add(PUSH, "git-lfs", sh(push, &[&here], env)?);
        let line = "git clone -q \"$1/there.git\" \"$2/c\"";
        table.add(CLONE, "git-lfs", sh(line, &[&tree, &copy], env)?);
        std::fs::remove_dir_all(&copy)?;
        if let Some(second) = of.second {
            place(second, &here, env)?;
            sh(commit, &[&here], env)?;
            table.add(CHANGED, "git-lfs", sh(push, &[&here], env)?);
        }
        Ok(std::fs::remove_dir_all(&tree)?)
    }

    /// The same bytes as ours, one way and the other.
    pub(crate) fn with_rclone(&self, url: &str, env: &Env, table: &mut Table) -> Outcome {
        if !self.peers.rclone {
            return Ok(());
        }
        let copy: PathBuf = self.fresh("rclone")?;
        let there = url.trim_start_matches("s3://");
        let line = format!("env -u AWS_CA_BUNDLE rclone copy w:{there} \"$1\" && sync");
        let clone = sh(&line, &[&copy], env)?;
        table.add(super::transfers::BARE, "rclone", clone);
        table.add(CLONE, "rclone", clone);
        let push = sh(
            "env -u AWS_CA_BUNDLE rclone copy \"$1\" w:rclone/x",
            &[&copy],
            env,
        )?;
        table.add(PUSH, "rclone", push);
        Ok(std::fs::remove_dir_all(&copy)?)
    }
}

fn value(env: &Env, name: &str) -> String {
    let found = env.iter().find(|(n, _)| *n == name);
    found.map(|(_, v)| v.clone()).unwrap_or_default()
}

/// Tools that don't make their bucket find it.
fn make_bucket(name: &str, env: &Env) -> Outcome {
    sh(
        "python3 - \"$1\" <<'END'\nimport botocore.session, os, sys\n\
         s3 = botocore.session.get_session().create_client('s3', endpoint_url=os.environ['AWS_ENDPOINT_URL'])\n\
         s3.create_bucket(Bucket=sys.argv[1])\nEND",
        &[Path::new(name)],
        env,
    )?;
    Ok(())
}
