//! Trees as `TreeEnsemble` has them: branches in one list, leaves in another.
//!
//! A branch has one parent at most; a leaf may have several.

use super::forest::{Forest, Node, Test, Weight, narrow};
use super::{Aggregate, Regressor};
use crate::error::Result;
use crate::ops::attributes::Attributes;
use crate::ops::not_so;
use crate::ops::scores::Transform;

/// The number of the test that looks up a set.
const MEMBER: f32 = 6.0;

struct Lists<'a> {
    features: &'a [i64],
    tests: Vec<f32>,
    values: Vec<f32>,
    /// Where to go, and whether that is a leaf: if the test is passed, and if not.
    yes: (&'a [i64], &'a [i64]),
    no: (&'a [i64], &'a [i64]),
    missing: &'a [i64],
    leaves: usize,
}

pub(super) fn read(of: &Attributes<'_>) -> Result<Regressor> {
    let targets = usize::try_from(of.int("n_targets", 0)).unwrap_or(0);
    if targets == 0 {
        return Err(of.wrong("has no targets"));
    }
    let transform = Transform::numbered(of)?;
    if transform != Transform::None && targets == 1 {
        return Err(not_so(of, "`post_transform` of one score"));
    }
    let aggregate = match of.int("aggregate_function", 1) {
        0 => Aggregate::Average,
        1 => Aggregate::Sum,
        2 => Aggregate::Min,
        3 => Aggregate::Max,
        other => return Err(not_so(of, &format!("`aggregate_function` {other}"))),
    };
    let weights = weights(of, targets)?;
    let lists = Lists {
        features: of.ints("nodes_featureids"),
        tests: of.tensor("nodes_modes")?,
        values: of.tensor("nodes_splits")?,
        yes: (of.ints("nodes_truenodeids"), of.ints("nodes_trueleafs")),
        no: (of.ints("nodes_falsenodeids"), of.ints("nodes_falseleafs")),
        missing: of.ints("nodes_missing_value_tracks_true"),
        leaves: weights.len(),
    };
    Ok(Regressor {
        forest: lists.forest(of, weights)?,
        targets,
        aggregate,
        base: Vec::new(),
        transform,
    })
}

/// What each leaf gives.
fn weights(of: &Attributes<'_>, targets: usize) -> Result<Vec<Weight>> {
    let (ids, values) = (of.ints("leaf_targetids"), of.tensor("leaf_weights")?);
    if ids.len() != values.len() {
        return Err(of.wrong("has lists of leaves of different lengths"));
    }
    let pairs = ids.iter().zip(values).map(|(id, value)| {
        let target = u32::try_from(*id).ok();
        let target = target.filter(|id| (*id as usize) < targets);
        target.map(|target| Weight { target, value })
    });
    let all: Option<Vec<Weight>> = pairs.collect();
    all.ok_or_else(|| of.wrong("gives a weight to no target"))
}

impl Lists<'_> {
    fn forest(&self, of: &Attributes<'_>, weights: Vec<Weight>) -> Result<Forest> {
        let branches = self.features.len();
        let lengths = [
            self.tests.len(),
            self.values.len(),
            self.yes.0.len(),
            self.yes.1.len(),
            self.no.0.len(),
            self.no.1.len(),
        ];
        let fits_missing = [0, branches].contains(&self.missing.len());
        if branches == 0 || !fits_missing || lengths.iter().any(|n| *n != branches) {
            return Err(of.wrong("has lists of nodes of different lengths"));
        }
        let mut forest = Forest {
            nodes: Vec::with_capacity(branches + self.leaves),
            weights,
            roots: Vec::new(),
            columns: 0,
            sets: self.sets(of)?,
        };
        let (mut has_parent, mut sets) = (vec![false; branches], 0);
        for at in 0..branches {
            let test = self.test(of, at, &mut sets)?;
            let feature = u32::try_from(self.features[at]);
            let feature = feature.map_err(|_| of.wrong("looks at a column of no number"))?;
            forest.columns = forest.columns.max(feature as usize + 1);
            forest.nodes.push(Node::Branch {
                feature,
                test,
                value: self.values[at],
                missing: self.missing.get(at).is_some_and(|n| *n != 0),
                yes: self.child(of, self.yes, at, &mut has_parent)?,
                no: self.child(of, self.no, at, &mut has_parent)?,
            });
        }
        for leaf in 0..self.leaves {
            let from = narrow(of, leaf)?;
            forest.nodes.push(Node::Leaf { from, to: from + 1 });
        }
        forest.roots = roots(of, &has_parent)?;
        match reached(&forest, branches) == branches {
            true => Ok(forest),
            false => Err(of.wrong("has a tree without a root")),
        }
    }

    fn test(&self, of: &Attributes<'_>, at: usize, sets: &mut u32) -> Result<Test> {
        let known = [
            Test::Leq,
            Test::Lt,
            Test::Gte,
            Test::Gt,
            Test::Eq,
            Test::Neq,
        ];
        let number = self.tests[at];
        if number == MEMBER {
            let set = Test::Member(*sets);
            *sets += 1;
            return Ok(set);
        }
        let mut all = known.iter().zip(0u8..);
        let test = all.find(|(_, own)| f32::from(*own) == number);
        test.map(|(test, _)| *test)
            .ok_or_else(|| not_so(of, &format!("`nodes_modes` {number}")))
    }

    /// Where the next node is; leaves are behind all branches.
    fn child(
        &self,
        of: &Attributes<'_>,
        (ids, leafs): (&[i64], &[i64]),
        at: usize,
        has_parent: &mut [bool],
    ) -> Result<u32> {
        let id = usize::try_from(ids[at]).unwrap_or(usize::MAX);
        if leafs[at] != 0 {
            return match id < self.leaves {
                true => narrow(of, has_parent.len() + id),
                false => Err(of.wrong("has a branch to no leaf")),
            };
        }
        let mark = has_parent.get_mut(id);
        let mark = mark.ok_or_else(|| of.wrong("has a branch to no node"))?;
        match std::mem::replace(mark, true) {
            true => Err(of.wrong("has two branches to one node")),
            false => narrow(of, id),
        }
    }

    /// The sets of the nodes that look one up, in their order; each ends with no number.
    fn sets(&self, of: &Attributes<'_>) -> Result<Vec<Vec<f32>>> {
        let members = of.tensor("membership_values")?;
        let wanted = self.tests.iter().filter(|n| **n == MEMBER).count();
        let mut sets: Vec<Vec<f32>> = members.split(|x| x.is_nan()).map(<[f32]>::to_vec).collect();
        let rest = sets.pop();
        match sets.len() == wanted && rest.is_none_or(|rest| rest.is_empty()) {
            true => Ok(sets),
            false => Err(of.wrong("has sets for other nodes than those that look one up")),
        }
    }
}

fn roots(of: &Attributes<'_>, has_parent: &[bool]) -> Result<Vec<u32>> {
    let mut is_root = vec![false; has_parent.len()];
    let root = |id: &i64| {
        let at = usize::try_from(*id).unwrap_or(usize::MAX);
        let own = is_root.get_mut(at)?;
        let is_new = !std::mem::replace(own, true) && !has_parent[at];
        is_new.then_some(at as u32)
    };
    let roots: Option<Vec<u32>> = of.ints("tree_roots").iter().map(root).collect();
    roots.ok_or_else(|| of.wrong("has a root that is none, or one twice"))
}

/// How many branches there are below the roots, and them.
fn reached(forest: &Forest, branches: usize) -> usize {
    let mut ahead = forest.roots.clone();
    let mut reached = 0;
    while let Some(at) = ahead.pop() {
        if let Node::Branch { yes, no, .. } = forest.nodes[at as usize] {
            reached += 1;
            let below = [yes, no].into_iter().filter(|at| (*at as usize) < branches);
            ahead.extend(below);
        }
    }
    reached
}
