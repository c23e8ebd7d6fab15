//! A pipeline of which nothing has to be run, ours and DVC's. Only when it is asked for: DVC has to be on the
//! path, for example that of a virtual environment with `pip install dvc`.

use std::fmt::Write;

use super::measure::{self, Table};
use super::{Bench, Outcome, sh};

impl Bench {
    /// The no-op of a pipeline of `count` stages, each of which needs the one before.
    pub(crate) fn stages(&self, count: usize) -> Outcome {
        println!(
            "\na pipeline of {count} stages, nothing to do, medians of {}",
            self.runs
        );
        let mut table = Table::new("seconds", &["modelv", "dvc repro"]);
        let ours = self.repository("stages")?;
        let (mut own, mut peer) = (
            String::from("[env]\ncapture = \"none\"\n"),
            "stages:\n".to_owned(),
        );
        for n in 0..count {
            let next = n + 1;
            write!(
                own,
                "[stage.s{n}]\ncommand = \"cp {n} {next}\"\ninputs = [\"{n}\"]\noutputs = [\"{next}\"]\n"
            )?;
            writeln!(
                peer,
                "  s{n}:\n    cmd: cp {n} {next}\n    deps: ['{n}']\n    outs: ['{next}']"
            )?;
        }
        std::fs::write(ours.join("modelv.toml"), own)?;
        std::fs::write(ours.join("0"), "x\n")?;
        let line = "cd \"$1\" && \"$0\" pipeline run";
        sh(line, &[&ours])?;
        for _ in 0..self.runs {
            table.add("no-op", "modelv", sh(line, &[&ours])?);
        }
        if measure::succeeds("dvc", &["--version"]) {
            let theirs = self.fresh("dvc")?;
            std::fs::write(theirs.join("dvc.yaml"), peer)?;
            std::fs::write(theirs.join("0"), "x\n")?;
            sh(
                "cd \"$1\" && git init -q . && dvc init -q && dvc repro -q",
                &[&theirs],
            )?;
            for _ in 0..self.runs {
                let figure = sh("cd \"$1\" && dvc repro -q", &[&theirs])?;
                table.add("no-op", "dvc repro", figure);
            }
        } else {
            eprintln!("dvc is not installed: its column is empty");
        }
        table.print();
        Ok(())
    }
}
