//! How long a build is going to take, told before it, from the builds that this repository has seen.
//! Every release notes what it made and how long that took (spec/builds.md).
//!
//! Must never fail a release, or tell a time without saying how far it may be off.

mod history;
mod law;
mod predictor;
mod trees;

use modelv_repo::Repo;
use serde::Serialize;

pub(crate) use history::{Build, BuiltLayer};
use predictor::{COVERED, Predictor, Sizes, Work, name_of};

use crate::release::{Built, ReleaseOptions};

/// How long a release is going to take.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Estimate {
    /// Most likely, in milliseconds of wall time.
    pub milliseconds: u64,
    /// Of a hundred builds, [`Self::covered`] take at least this long,
    pub low: u64,
    /// and at most this long.
    pub high: u64,
    /// How many builds of a hundred lie between.
    pub covered: usize,
    /// Builds of this repository that it was learned from; 0: too few, it is told from sizes alone.
    pub builds: usize,
    /// Packages to be put into layers that no build here ever had.
    pub unseen: Vec<String>,
}

/// Notes a build for the estimates of those to come. That it can't be noted costs nothing else.
pub(crate) fn note(repo: &Repo, build: Build) {
    let _ = history::append(&history::path(repo), &build);
}

/// How long what a plan says is going to take.
pub(crate) fn estimate(repo: &Repo, built: &Built, options: &ReleaseOptions) -> Estimate {
    let planned = Build::planned(built, options);
    tell(&planned, history::read(&history::path(repo)))
}

/// The same, of layers that are about to be made, with all that is to be fetched at hand. The base is taken for known
/// where there was a build.
pub(crate) fn foretell(repo: &Repo, layers: Vec<BuiltLayer>, options: &ReleaseOptions) -> Estimate {
    let builds = history::read(&history::path(repo));
    let mut planned = Build::of_layers(layers, options);
    planned.layers.push(BuiltLayer {
        name: "base".into(),
        cached: !builds.is_empty(),
        ..BuiltLayer::default()
    });
    tell(&planned, builds)
}

fn tell(planned: &Build, mut builds: Vec<Build>) -> Estimate {
    builds.retain(|b| b.compression == planned.compression);
    let predictor = Predictor::learn(&builds);
    let mut work = Work::of(planned);
    work.add_unknown(&planned.fetched, &Sizes::of_builds(&builds));
    let found = predictor.predict(&work);
    let to_make = planned.layers.iter().filter(|layer| !layer.cached);
    let packages = to_make.flat_map(|layer| &layer.packages);
    let names = packages.chain(&planned.fetched).map(|p| name_of(p));
    let mut unseen: Vec<String> = names.filter(|name| !predictor.has_seen(name)).collect();
    unseen.sort();
    unseen.dedup();
    Estimate {
        milliseconds: whole(found.likely),
        low: whole(found.low),
        high: whole(found.high),
        covered: COVERED,
        builds: if predictor.has_learned() {
            builds.len()
        } else {
            0
        },
        unseen,
    }
}

impl std::fmt::Display for Estimate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = |ms: u64| format!("{}.{} s", ms / 1000, ms % 1000 / 100);
        let from = match self.builds {
            0 => "told from sizes, for there are too few builds here".to_owned(),
            n => format!("learned from {n} builds"),
        };
        write!(
            f,
            "about {} ({} to {} in {} of 100; {from})",
            seconds(self.milliseconds),
            seconds(self.low),
            seconds(self.high),
            self.covered
        )
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "not negative, and years fit"
)]
fn whole(milliseconds: f64) -> u64 {
    milliseconds.round().max(0.0) as u64
}
