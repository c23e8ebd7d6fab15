//! From builds to a prediction: a law of physical work, boosted trees over what it leaves, and an interval
//! from builds that neither saw (split conformal prediction: Lei et al., *Distribution-Free Predictive
//! Inference for Regression*, 2018).
//!
//! What decides how long a build takes is the work that is not done yet: packages whose layers are cached
//! count nothing. Names of packages say what their sizes don't. A name counts exactly, in its normal form, and
//! only if at least [`SEEN_MIN`] builds had it.

use std::collections::{BTreeMap, BTreeSet};

use super::history::Build;
use super::law::Law;
use super::trees::Trees;

/// Builds with a package before its name counts.
const SEEN_MIN: usize = 3;
/// Builds before the law is learned from them: until then, [`PRIOR`] holds.
pub(super) const LEARN_MIN: usize = 30;
/// How many builds in a hundred lie within the interval.
pub(super) const COVERED: usize = 90;
/// Intervals of the prior: this many times less, and more.
const PRIOR_SPREAD: f64 = 3.0;
const MIB: f64 = 1_048_576.0;
/// Size of a package of which nobody knows anything.
const UNSEEN_MIB: f64 = 2.0;

/// Kinds of work, in the order of [`PRIOR`].
const WIDTH: usize = 8;
/// Milliseconds of: a build; a package; a MiB of the files of packages; a layer of packages; a package to
/// fetch; a base to make; a MiB of server, code and configuration; a MiB of the model. Told
/// from few builds on two cores, and no more than an order of size: machines and networks differ.
const PRIOR: [f64; WIDTH] = [150.0, 3.0, 20.0, 5.0, 400.0, 2500.0, 25.0, 4.0];

/// What is to be built, as far as it takes time.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Work {
    /// Kinds of work in the order of [`PRIOR`].
    physical: [f64; WIDTH],
    /// Packages whose layers are to be made.
    names: BTreeSet<String>,
}

impl Work {
    /// What a build did, or is going to do.
    #[expect(clippy::cast_precision_loss, reason = "times are not that exact")]
    pub(super) fn of(build: &Build) -> Self {
        let mut out = Self::default();
        out.physical[0] = 1.0;
        out.physical[4] = build.fetched.len() as f64;
        for layer in build.layers.iter().filter(|layer| !layer.cached) {
            let size = layer.unpacked.unwrap_or(0) as f64 / MIB;
            match layer.name.split(':').next().unwrap_or("") {
                "env" => {
                    out.physical[1] += layer.packages.len() as f64;
                    out.physical[2] += size;
                    out.physical[3] += 1.0;
                }
                "base" => out.physical[5] += 1.0,
                "model" => out.physical[7] += size,
                _ => out.physical[6] += size,
            }
            out.names.extend(layer.packages.iter().map(|p| name_of(p)));
        }
        out
    }

    /// Packages whose size is not known before they are fetched: as large as the last ones of their names,
    /// or as `otherwise`.
    pub(super) fn add_unknown(&mut self, packages: &[String], sizes: &Sizes) {
        for package in packages {
            let name = name_of(package);
            self.physical[1] += 1.0;
            self.physical[2] += sizes.of(&name);
            self.physical[3] += 1.0;
            self.names.insert(name);
        }
    }
}

/// The name in `NAME VERSION` or `NAME==VERSION`.
pub(super) fn name_of(package: &str) -> String {
    let end = package.find([' ', '=']).unwrap_or(package.len());
    package[..end].to_owned()
}

/// Sizes of packages in MiB, as builds saw them.
pub(super) struct Sizes {
    known: BTreeMap<String, f64>,
    middle: f64,
}

impl Sizes {
    /// Sizes in builds, oldest first: the last one counts.
    #[expect(clippy::cast_precision_loss, reason = "times are not that exact")]
    pub(super) fn of_builds(builds: &[Build]) -> Self {
        let mut known = BTreeMap::new();
        for layer in builds.iter().flat_map(|b| &b.layers) {
            let count = layer.packages.len().max(1) as f64;
            // Of many in one layer each is taken for as large as the others.
            let each = layer.unpacked.unwrap_or(0) as f64 / MIB / count;
            known.extend(layer.packages.iter().map(|p| (name_of(p), each)));
        }
        let mut all: Vec<f64> = known.values().copied().collect();
        all.sort_by(f64::total_cmp);
        let middle = all.get(all.len() / 2).copied().unwrap_or(UNSEEN_MIB);
        Self { known, middle }
    }

    fn of(&self, name: &str) -> f64 {
        self.known.get(name).copied().unwrap_or(self.middle)
    }
}

/// A prediction in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Predicted {
    pub(super) likely: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

/// A law, and trees over what it leaves.
struct Fitted {
    law: Law,
    trees: Trees,
    names: Vec<String>,
}

impl Fitted {
    fn learn(works: &[Work], times: &[f64]) -> Self {
        let rows: Vec<Vec<f64>> = works.iter().map(|w| w.physical.to_vec()).collect();
        let law = Law::fit(&rows, times);
        let mut seen: BTreeMap<&String, usize> = BTreeMap::new();
        for name in works.iter().flat_map(|w| &w.names) {
            *seen.entry(name).or_default() += 1;
        }
        let often = seen.into_iter().filter(|(_, n)| *n >= SEEN_MIN);
        let names: Vec<String> = often.map(|(name, _)| name.clone()).collect();
        let rest: Vec<f64> = rows.iter().zip(times).map(|(r, t)| t - law.of(r)).collect();
        let wide: Vec<Vec<f64>> = works.iter().map(|w| wide(w, &names)).collect();
        let trees = Trees::fit(&wide, &rest);
        Self { law, trees, names }
    }

    fn of(&self, work: &Work) -> f64 {
        let rest = self.trees.of(&wide(work, &self.names));
        (self.law.of(&work.physical) + rest).max(0.0)
    }
}

fn wide(work: &Work, names: &[String]) -> Vec<f64> {
    let has = |name: &String| f64::from(u8::from(work.names.contains(name)));
    let names = names.iter().map(has);
    work.physical.iter().copied().chain(names).collect()
}

/// What predicts.
pub(super) struct Predictor {
    fitted: Option<Fitted>,
    /// How far builds lie from their prediction, as a part of it.
    spread: f64,
    /// Names that any build had.
    seen: BTreeSet<String>,
}

impl Predictor {
    /// Learns from builds, oldest first.
    pub(super) fn learn(builds: &[Build]) -> Self {
        let works: Vec<Work> = builds.iter().map(Work::of).collect();
        #[expect(clippy::cast_precision_loss, reason = "times are not that exact")]
        let times: Vec<f64> = builds.iter().map(|b| b.milliseconds as f64).collect();
        let layers = builds.iter().flat_map(|b| &b.layers);
        let seen = layers
            .flat_map(|l| &l.packages)
            .map(|p| name_of(p))
            .collect();
        if builds.len() < LEARN_MIN {
            return Self {
                fitted: None,
                spread: PRIOR_SPREAD,
                seen,
            };
        }
        // Every fourth build stands aside: old ones and new ones.
        let aside = |i: usize| i % 4 == 3;
        let pick = |want: bool| {
            let both = works.iter().cloned().zip(times.iter().copied()).enumerate();
            let some = both.filter(move |(i, _)| aside(*i) == want);
            some.map(|(_, pair)| pair).unzip::<_, _, Vec<_>, Vec<_>>()
        };
        let (to_learn, known) = pick(false);
        let (held, held_times) = pick(true);
        let half = Fitted::learn(&to_learn, &known);
        let errors = held.iter().zip(&held_times).map(|(work, time)| {
            let likely = half.of(work).max(1.0);
            (time - likely).abs() / likely
        });
        Self {
            spread: quantile(errors.collect()),
            fitted: Some(Fitted::learn(&works, &times)),
            seen,
        }
    }

    /// Whether it has learned, or knows no more than the prior.
    pub(super) fn has_learned(&self) -> bool {
        self.fitted.is_some()
    }

    /// Whether a build had a package of this name.
    pub(super) fn has_seen(&self, name: &str) -> bool {
        self.seen.contains(name)
    }

    /// How long the work takes.
    pub(super) fn predict(&self, work: &Work) -> Predicted {
        match &self.fitted {
            Some(fitted) => {
                let likely = fitted.of(work);
                Predicted {
                    likely,
                    low: (likely * (1.0 - self.spread)).max(0.0),
                    high: likely * (1.0 + self.spread),
                }
            }
            None => {
                let costs = PRIOR.to_vec();
                let likely = Law { costs }.of(&work.physical);
                Predicted {
                    likely,
                    low: likely / self.spread,
                    high: likely * self.spread,
                }
            }
        }
    }
}

/// The error that [`COVERED`] of a hundred builds to come stay below: the `ceil((n + 1) * 0.9)`th of them; the
/// largest, where there are too few.
fn quantile(mut errors: Vec<f64>) -> f64 {
    errors.sort_by(f64::total_cmp);
    let rank = ((errors.len() + 1) * COVERED).div_ceil(100);
    let at = rank.clamp(1, errors.len().max(1)) - 1;
    errors.get(at).copied().unwrap_or(PRIOR_SPREAD)
}

#[cfg(test)]
mod tests {
    use super::super::history::BuiltLayer;
    use super::super::history::tests::build;
    use super::*;

    /// Builds as a machine might have them: some packages together, one slow beyond its size.
    fn machine(n: u64) -> Vec<Build> {
        let all = ["numpy", "scipy", "pandas", "torch", "rich", "attrs"];
        let one = |i: u64| {
            let names: Vec<&str> = (0..6)
                .filter(|j| (i.wrapping_mul(2_654_435_761) >> (j + 3)) & 1 == 1)
                .map(|j| all[j])
                .collect();
            let slow = if names.contains(&"torch") { 900 } else { 0 };
            let noise = i * 37 % 11;
            build(&names, 200 + 50 * names.len() as u64 + slow + noise)
        };
        (0..n).map(one).collect()
    }

    #[test]
    fn few_builds_teach_nothing_and_the_prior_speaks() {
        let predictor = Predictor::learn(&machine(29));
        assert!(!predictor.has_learned());
        let work = Work::of(&build(&["numpy"], 0));
        let found = predictor.predict(&work);
        // 150 + 3 + 4 MiB * 20 + 5
        assert!((found.likely - 238.0).abs() < 1e-9, "{found:?}");
        assert!(found.low < found.likely && found.likely < found.high);
    }

    #[test]
    fn work_and_names_are_learned() {
        let predictor = Predictor::learn(&machine(200));
        let of = |names: &[&str]| predictor.predict(&Work::of(&build(names, 0)));
        let plain = of(&["numpy", "rich"]);
        assert!((plain.likely - 305.0).abs() < 40.0, "{plain:?}");
        let slow = of(&["numpy", "torch"]);
        assert!((slow.likely - 1205.0).abs() < 120.0, "{slow:?}");
        // A package that only begins like one that was seen is another one.
        let unseen = of(&["numpy", "torchvision"]);
        assert!((unseen.likely - 305.0).abs() < 60.0, "{unseen:?}");
        assert!(predictor.has_seen("torch") && !predictor.has_seen("torchvision"));
    }

    #[test]
    fn what_is_cached_costs_nothing() {
        let predictor = Predictor::learn(&machine(200));
        let mut cached = build(&["numpy", "torch", "scipy"], 0);
        cached.layers.iter_mut().for_each(|l| l.cached = true);
        let found = predictor.predict(&Work::of(&cached));
        assert!(found.likely < 260.0, "{found:?}");
    }

    #[test]
    fn nine_builds_of_ten_lie_in_the_interval() {
        let builds = machine(600);
        let predictor = Predictor::learn(&builds[..400]);
        let is_in = |b: &&Build| {
            let found = predictor.predict(&Work::of(b));
            #[expect(clippy::cast_precision_loss, reason = "small")]
            let time = b.milliseconds as f64;
            (found.low..=found.high).contains(&time)
        };
        let inside = builds[400..].iter().filter(is_in).count();
        assert!(inside >= 170, "{inside} of 200");
    }

    #[test]
    fn what_is_fetched_is_as_large_as_the_last_of_its_name() {
        let mut old = build(&["numpy", "rich"], 0);
        old.layers[0].unpacked = Some(90 << 20);
        let sizes = Sizes::of_builds(&[old, build(&["numpy", "attrs"], 0)]);
        let mut work = Work::default();
        work.add_unknown(&["numpy==2.0".into(), "nobody==1".into()], &sizes);
        assert_eq!(work.physical[..4], [0.0, 2.0, 8.0, 2.0]);
        assert!(work.names.contains("numpy") && work.names.contains("nobody"));
        let nothing = Sizes::of_builds(&[]);
        assert_eq!(nothing.of("numpy"), UNSEEN_MIB);
    }

    #[test]
    fn kinds_of_layers_are_kinds_of_work() {
        let layer = |name: &str, mib: u64| BuiltLayer {
            name: name.into(),
            unpacked: Some(mib << 20),
            ..BuiltLayer::default()
        };
        let mut all = build(&["numpy"], 0);
        all.layers.extend([
            layer("base", 0),
            layer("server", 30),
            layer("model: models/w.bin", 500),
            layer("model", 1),
            layer("code and config", 2),
        ]);
        all.fetched.push("numpy 1.0".into());
        let work = Work::of(&all);
        assert_eq!(work.physical, [1.0, 1.0, 4.0, 1.0, 1.0, 1.0, 32.0, 501.0]);
    }

    #[test]
    fn the_rank_of_an_error() {
        assert_eq!(quantile((1..=9).map(f64::from).collect()), 9.0);
        assert_eq!(quantile((1..=100).map(f64::from).collect()), 91.0);
        assert_eq!(quantile(Vec::new()), PRIOR_SPREAD);
    }
}
