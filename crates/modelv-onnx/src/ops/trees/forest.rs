//! Trees of decisions, one after the other in one list.
//!
//! A node has one parent at most, and a tree one root: whoever goes down comes to a leaf.

use std::collections::HashMap;

use super::super::attributes::Attributes;
use super::super::not_so;
use crate::error::{Error, Result, failed};

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Test {
    Leq,
    Lt,
    Gte,
    Gt,
    Eq,
    Neq,
    /// Whether it is one of a list of sets.
    Member(u32),
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Node {
    Branch {
        feature: u32,
        test: Test,
        value: f32,
        /// Whether a value that is missing passes.
        missing: bool,
        yes: u32,
        no: u32,
    },
    /// A part of the weights.
    Leaf { from: u32, to: u32 },
}

/// What a leaf adds to the score of a class or target.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weight {
    pub(super) target: u32,
    pub(super) value: f32,
}

pub(super) struct Forest {
    pub(super) nodes: Vec<Node>,
    pub(super) weights: Vec<Weight>,
    pub(super) roots: Vec<u32>,
    /// Columns that are looked at.
    pub(super) columns: usize,
    /// What is looked up.
    pub(super) sets: Vec<Vec<f32>>,
}

/// The lists of attributes that say what nodes are, all of one length.
struct Lists<'a> {
    trees: &'a [i64],
    ids: &'a [i64],
    features: &'a [i64],
    values: &'a [f32],
    modes: Vec<String>,
    yes: &'a [i64],
    no: &'a [i64],
    missing: &'a [i64],
}

impl Forest {
    /// `prefix` names the attributes of weights; they are of one of `targets`.
    pub(super) fn read(of: &Attributes<'_>, prefix: &str, targets: usize) -> Result<Self> {
        let values = of.numbers("nodes_values")?;
        let lists = Lists {
            trees: of.ints("nodes_treeids"),
            ids: of.ints("nodes_nodeids"),
            features: of.ints("nodes_featureids"),
            values: &values,
            modes: of.texts("nodes_modes"),
            yes: of.ints("nodes_truenodeids"),
            no: of.ints("nodes_falsenodeids"),
            missing: of.ints("nodes_missing_value_tracks_true"),
        };
        let places = lists.places(of)?;
        let (weights, mut parts) = weights(of, prefix, targets, &places)?;
        let mut forest = Self {
            nodes: Vec::with_capacity(lists.ids.len()),
            weights,
            roots: Vec::new(),
            columns: 0,
            sets: Vec::new(),
        };
        let mut has_parent = vec![false; lists.ids.len()];
        for at in 0..lists.ids.len() {
            let node = match lists.modes[at].as_str() {
                "LEAF" => {
                    let (from, to) = parts.remove(&at).unwrap_or((0, 0));
                    Node::Leaf { from, to }
                }
                _ => forest.branch(of, &lists, at, &places, &mut has_parent)?,
            };
            forest.nodes.push(node);
        }
        if !parts.is_empty() {
            return Err(of.wrong("gives weights to a node that is no leaf"));
        }
        forest.find_roots(of, &lists, &has_parent)?;
        Ok(forest)
    }

    fn branch(
        &mut self,
        of: &Attributes<'_>,
        lists: &Lists<'_>,
        at: usize,
        places: &HashMap<(i64, i64), usize>,
        has_parent: &mut [bool],
    ) -> Result<Node> {
        let test = match lists.modes[at].as_str() {
            "BRANCH_LEQ" => Test::Leq,
            "BRANCH_LT" => Test::Lt,
            "BRANCH_GTE" => Test::Gte,
            "BRANCH_GT" => Test::Gt,
            "BRANCH_EQ" => Test::Eq,
            "BRANCH_NEQ" => Test::Neq,
            other => return Err(not_so(of, &format!("`nodes_modes` {other}"))),
        };
        let mut child = |id: i64| -> Result<u32> {
            let place = places.get(&(lists.trees[at], id));
            let place = *place.ok_or_else(|| of.wrong("has a branch to no node"))?;
            if std::mem::replace(&mut has_parent[place], true) {
                return Err(of.wrong("has two branches to one node"));
            }
            narrow(of, place)
        };
        let (yes, no) = (child(lists.yes[at])?, child(lists.no[at])?);
        let feature = u32::try_from(lists.features[at]);
        let feature = feature.map_err(|_| of.wrong("looks at a column of no number"))?;
        self.columns = self.columns.max(feature as usize + 1);
        Ok(Node::Branch {
            feature,
            test,
            value: lists.values[at],
            missing: lists.missing.get(at).is_some_and(|n| *n != 0),
            yes,
            no,
        })
    }

    fn find_roots(
        &mut self,
        of: &Attributes<'_>,
        lists: &Lists<'_>,
        has_parent: &[bool],
    ) -> Result<()> {
        let mut trees: HashMap<i64, u32> = HashMap::new();
        for (at, tree) in lists.trees.iter().enumerate() {
            trees.entry(*tree).or_default();
            if !has_parent[at] {
                *trees.entry(*tree).or_default() += 1;
                self.roots.push(narrow(of, at)?);
            }
        }
        if trees.values().any(|roots| *roots != 1) {
            return Err(of.wrong("has a tree without a root, or with two"));
        }
        // Nodes in a circle have a parent each, and none of them is ever looked at.
        if self.reached() != self.nodes.len() {
            return Err(of.wrong("has a tree without a root"));
        }
        Ok(())
    }

    /// How many nodes there are below the roots, and them.
    fn reached(&self) -> usize {
        let mut ahead = self.roots.clone();
        let mut reached = 0;
        while let Some(at) = ahead.pop() {
            reached += 1;
            if let Node::Branch { yes, no, .. } = self.nodes[at as usize] {
                ahead.extend([yes, no]);
            }
        }
        reached
    }

    pub(super) fn trees(&self) -> usize {
        self.roots.len()
    }

    /// That a table has the columns that are looked at.
    pub(super) fn fits(&self, columns: usize) -> Result<()> {
        if columns >= self.columns {
            return Ok(());
        }
        let text = format!("{columns} columns where {} are looked at", self.columns);
        Err(failed(text))
    }

    /// What each tree says to a row.
    pub(super) fn weights<'a>(&'a self, row: &'a [f32]) -> impl Iterator<Item = &'a Weight> {
        let leaf = |root: &u32| self.leaf(*root, row);
        self.roots.iter().flat_map(leaf)
    }

    fn leaf(&self, root: u32, row: &[f32]) -> &[Weight] {
        let mut at = root;
        loop {
            match self.nodes[at as usize] {
                Node::Leaf { from, to } => return &self.weights[from as usize..to as usize],
                Node::Branch {
                    feature,
                    test,
                    value,
                    missing,
                    yes,
                    no,
                } => {
                    let x = row[feature as usize];
                    let passes = match test {
                        Test::Leq => x <= value,
                        Test::Lt => x < value,
                        Test::Gte => x >= value,
                        Test::Gt => x > value,
                        Test::Eq => x == value,
                        Test::Neq => x != value,
                        Test::Member(set) => self.sets[set as usize].contains(&x),
                    };
                    at = if passes || (missing && x.is_nan()) {
                        yes
                    } else {
                        no
                    };
                }
            }
        }
    }
}

impl Lists<'_> {
    /// Where each node is, by tree and number.
    fn places(&self, of: &Attributes<'_>) -> Result<HashMap<(i64, i64), usize>> {
        let nodes = self.ids.len();
        let lengths = [
            self.trees.len(),
            self.features.len(),
            self.values.len(),
            self.modes.len(),
            self.yes.len(),
            self.no.len(),
        ];
        let fits_missing = self.missing.is_empty() || self.missing.len() == nodes;
        if nodes == 0 || !fits_missing || lengths.iter().any(|n| *n != nodes) {
            return Err(of.wrong("has lists of nodes of different lengths"));
        }
        let mut places = HashMap::with_capacity(nodes);
        for (at, pair) in self.trees.iter().zip(self.ids).enumerate() {
            if places.insert((*pair.0, *pair.1), at).is_some() {
                return Err(of.wrong("has two nodes of one number"));
            }
        }
        Ok(places)
    }
}

type Parts = HashMap<usize, (u32, u32)>;

/// All weights, those of one leaf beside each other, and where those of each leaf are.
fn weights(
    of: &Attributes<'_>,
    prefix: &str,
    targets: usize,
    places: &HashMap<(i64, i64), usize>,
) -> Result<(Vec<Weight>, Parts)> {
    let ints = |name: &str| of.ints(&format!("{prefix}_{name}"));
    let (trees, nodes, ids) = (ints("treeids"), ints("nodeids"), ints("ids"));
    let values = of.numbers(&format!("{prefix}_weights"))?;
    if [trees.len(), nodes.len(), ids.len()] != [values.len(); 3] {
        return Err(of.wrong("has lists of weights of different lengths"));
    }
    let mut all = Vec::with_capacity(values.len());
    for at in 0..values.len() {
        let place = places.get(&(trees[at], nodes[at]));
        let place = *place.ok_or_else(|| of.wrong("gives a weight to no node"))?;
        let target = u32::try_from(ids[at]).ok();
        let target = target.filter(|id| (*id as usize) < targets);
        let target = target.ok_or_else(|| of.wrong("gives a weight to no class or target"))?;
        let value = values[at];
        all.push((place, Weight { target, value }));
    }
    all.sort_by_key(|(place, _)| *place);
    let mut parts = Parts::new();
    for (at, (place, _)) in all.iter().enumerate() {
        let at = narrow(of, at)?;
        parts.entry(*place).or_insert((at, at)).1 = at + 1;
    }
    Ok((all.into_iter().map(|(_, weight)| weight).collect(), parts))
}

pub(super) fn narrow(of: &Attributes<'_>, at: usize) -> Result<u32, Error> {
    u32::try_from(at).map_err(|_| of.wrong("has more nodes than there are numbers"))
}
