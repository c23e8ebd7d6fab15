//! The order of stages: who waits for whom. Looks at no file.

use modelv_core::path::RepoPath;

use super::spec::{StageSpec, invalid};
use crate::error::{Error, Result};

/// The stages of a working tree, every one behind all that it needs.
#[derive(Debug, Clone)]
pub struct Pipeline {
    stages: Vec<StageSpec>,
    /// For each stage the numbers of those that it waits for, ascending.
    needs: Vec<Vec<usize>>,
}

/// Whether one of two paths is the other, or lies below it.
pub(super) fn overlap(a: &RepoPath, b: &RepoPath) -> bool {
    a.is_within(b.as_bytes()) || b.is_within(a.as_bytes())
}

impl Pipeline {
    /// Puts stages in order.
    ///
    /// # Errors
    /// Two stages write one path, a stage reads what it writes, stages wait for one another, or for
    /// one that there is not.
    pub fn new(stages: &[StageSpec]) -> Result<Self> {
        refuse_shared_outputs(stages)?;
        let mut needs = Vec::with_capacity(stages.len());
        for stage in stages {
            let mut above = Vec::new();
            for (at, other) in stages.iter().enumerate() {
                let made = |input: &RepoPath| other.outputs.iter().any(|o| overlap(o, input));
                if stage.inputs.iter().any(made) || stage.after.contains(&other.name) {
                    above.push(at);
                }
            }
            if let Some(name) = stage
                .after
                .iter()
                .find(|n| stages.iter().all(|s| s.name != **n))
            {
                let text = format!(
                    "stage `{}` comes after `{name}`, which is no stage",
                    stage.name
                );
                return Err(invalid(text));
            }
            needs.push(above);
        }
        let order = order_of(stages, &needs)?;
        let mut place = vec![0; stages.len()];
        for (new, old) in order.iter().enumerate() {
            place[*old] = new;
        }
        let moved = |old: &usize| {
            let mut list: Vec<usize> = needs[*old].iter().map(|n| place[*n]).collect();
            list.sort_unstable();
            list
        };
        Ok(Self {
            needs: order.iter().map(moved).collect(),
            stages: order.iter().map(|old| stages[*old].clone()).collect(),
        })
    }

    /// The stages, every one behind all that it needs; otherwise as they are declared.
    #[must_use]
    pub fn stages(&self) -> &[StageSpec] {
        &self.stages
    }

    /// Numbers of the stages that a stage waits for.
    #[must_use]
    pub fn needs(&self, number: usize) -> &[usize] {
        self.needs.get(number).map_or(&[], Vec::as_slice)
    }

    /// Only the named stages and all that they need; no names: all of them.
    ///
    /// # Errors
    /// A name is that of no stage.
    pub fn only(&self, names: &[String]) -> Result<Self> {
        if names.is_empty() {
            return Ok(self.clone());
        }
        let mut wanted = vec![false; self.stages.len()];
        for name in names {
            let found = self.stages.iter().position(|s| s.name == *name);
            wanted[found.ok_or_else(|| Error::not_found("stage", name))?] = true;
        }
        for at in (0..wanted.len())
            .rev()
            .filter(|at| wanted[*at])
            .collect::<Vec<_>>()
        {
            self.want(at, &mut wanted);
        }
        let kept: Vec<StageSpec> = self
            .stages
            .iter()
            .zip(&wanted)
            .filter(|(_, wanted)| **wanted)
            .map(|(stage, _)| stage.clone())
            .collect();
        Self::new(&kept)
    }

    fn want(&self, at: usize, wanted: &mut [bool]) {
        let mut stack = vec![at];
        while let Some(at) = stack.pop() {
            for above in self.needs(at) {
                if !std::mem::replace(&mut wanted[*above], true) {
                    stack.push(*above);
                }
            }
        }
    }
}

fn refuse_shared_outputs(stages: &[StageSpec]) -> Result<()> {
    // Sorted, a path stands right before what lies below it, but for siblings such as `a-b` of `a/b`.
    let mut outputs: Vec<(&RepoPath, &StageSpec)> = stages
        .iter()
        .flat_map(|s| s.outputs.iter().map(move |o| (o, s)))
        .collect();
    outputs.sort_by(|a, b| a.0.names().cmp(b.0.names()));
    for two in outputs.windows(2) {
        let [(a, first), (b, second)] = two else {
            continue;
        };
        if overlap(a, b) {
            return Err(invalid(if first.name == second.name {
                format!("outputs `{a}` and `{b}` of stage `{}` overlap", first.name)
            } else {
                let names = format!("`{}` and `{}`", first.name, second.name);
                let paths = if a == b {
                    format!("`{a}`")
                } else {
                    format!("`{a}` and `{b}`")
                };
                format!("stages {names} both write {paths}")
            }));
        }
    }
    for stage in stages {
        let pairs = stage
            .inputs
            .iter()
            .flat_map(|i| stage.outputs.iter().map(move |o| (i, o)));
        if let Some((input, output)) = pairs.into_iter().find(|(i, o)| overlap(i, o)) {
            return Err(invalid(format!(
                "stage `{}` reads `{input}` and writes `{output}`",
                stage.name
            )));
        }
    }
    Ok(())
}

/// Numbers of the stages in an order in which every one is behind its needs; the first declared first.
fn order_of(stages: &[StageSpec], needs: &[Vec<usize>]) -> Result<Vec<usize>> {
    let mut left: Vec<usize> = needs.iter().map(Vec::len).collect();
    let mut below: Vec<Vec<usize>> = vec![Vec::new(); stages.len()];
    for (at, above) in needs.iter().enumerate() {
        for n in above {
            below[*n].push(at);
        }
    }
    let free = (0..stages.len())
        .filter(|at| left[*at] == 0)
        .map(std::cmp::Reverse);
    let mut free: std::collections::BinaryHeap<_> = free.collect();
    let mut order = Vec::with_capacity(stages.len());
    while let Some(std::cmp::Reverse(at)) = free.pop() {
        order.push(at);
        for next in &below[at] {
            left[*next] -= 1;
            if left[*next] == 0 {
                free.push(std::cmp::Reverse(*next));
            }
        }
    }
    if order.len() == stages.len() {
        return Ok(order);
    }
    // Going up from any that is left leads round a circle.
    let start = (0..stages.len()).find(|at| left[*at] > 0).unwrap_or(0);
    let mut way = vec![start];
    loop {
        let at = way[way.len() - 1];
        let next = needs[at]
            .iter()
            .copied()
            .find(|n| left[*n] > 0)
            .unwrap_or(at);
        if let Some(begin) = way.iter().position(|n| *n == next) {
            let mut names: Vec<&str> = way[begin..]
                .iter()
                .map(|n| stages[*n].name.as_str())
                .collect();
            names.push(names[0]);
            return Err(invalid(format!(
                "stages wait for one another: {}",
                names.join(" <- ")
            )));
        }
        way.push(next);
    }
}

#[cfg(test)]
mod tests {
    use crate::worktree::Rules;

    use super::*;

    fn pipeline(text: &str) -> Result<Pipeline> {
        Pipeline::new(Rules::parse(text)?.stages())
    }

    /// A stage `name` that makes `name` of `inputs`.
    fn stage(name: &str, inputs: &[&str]) -> String {
        format!(
            "[stage.{name}]\ncommand = \"x\"\ninputs = {inputs:?}\noutputs = [\"{name}/out\"]\n"
        )
    }

    fn names(pipeline: &Pipeline) -> Vec<&str> {
        pipeline.stages().iter().map(|s| s.name.as_str()).collect()
    }

    #[test]
    fn every_stage_is_behind_what_it_needs() {
        let text = [
            stage("d", &["b", "c/out"]),
            stage("b", &["a/out"]),
            stage("c", &["a"]),
            stage("a", &["data"]),
            stage("e", &[]),
        ];
        let all = pipeline(&text.concat()).unwrap();
        assert_eq!(names(&all), ["a", "b", "c", "d", "e"]);
        assert_eq!(all.needs(3), [1, 2]);
        assert_eq!(names(&all.only(&["c".into()]).unwrap()), ["a", "c"]);
        assert_eq!(
            names(&all.only(&["e".into(), "b".into()]).unwrap()),
            ["a", "b", "e"]
        );
        assert!(all.only(&["f".into()]).is_err());
        let after = format!("{}after = [\"e\"]\n{}", stage("a", &[]), stage("e", &[]));
        assert_eq!(names(&pipeline(&after).unwrap()), ["e", "a"]);
    }

    #[test]
    fn circles_and_shared_outputs_are_named() {
        let text = [stage("a", &["c"]), stage("b", &["a"]), stage("c", &["b"])];
        let said = pipeline(&text.concat()).unwrap_err().to_string();
        assert!(
            said.contains("stages wait for one another: a <- c <- b <- a"),
            "{said}"
        );
        let own = "[stage.a]\ncommand = \"x\"\nafter = [\"a\"]\n";
        assert!(pipeline(own).unwrap_err().to_string().contains("a <- a"));
        let shared = |one: &str, two: &str| {
            let text = format!(
                "[stage.a]\ncommand = 'x'\noutputs = ['{one}', 'a-b']\n[stage.b]\ncommand = 'x'\noutputs = ['{two}']\n"
            );
            pipeline(&text).map_err(|e| e.to_string())
        };
        assert!(
            shared("a", "a/b/c")
                .unwrap_err()
                .contains("`a` and `b` both write `a` and `a/b/c`")
        );
        assert!(shared("a/b", "a").is_err() && shared("x", "x").is_err());
        assert!(shared("a/b", "a/bc").is_ok());
    }

    #[test]
    fn what_a_stage_makes_is_no_ingredient_of_its_recipe() {
        let text = format!("{}[ingredients]\ndata = [\"a/**\"]\n", stage("a", &[]));
        let rules = Rules::parse(&text).unwrap();
        let of = |path: &str| {
            rules
                .classify(&RepoPath::new(path).unwrap())
                .ingredient
                .word()
        };
        assert_eq!(
            (of("a/out"), of("a/out/x.csv"), of("a/in")),
            ("model", "model", "data")
        );
    }
}
