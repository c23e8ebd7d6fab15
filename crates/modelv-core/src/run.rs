//! Runs: the record of one execution. Never part of a recipe id. See `spec/run.md`.

use std::collections::BTreeMap;

use bincode::de::Decoder;
use bincode::enc::Encoder;
use bincode::{Decode, Encode, error};

use crate::canon::{self, DecodeError, Kind, Object, Version};
use crate::commit::{Recipe, Time};
use crate::id::{BlobId, CommitId, RecipeId, RunId, StageId, TreeId};
use crate::value::Value;

/// How an execution ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Status {
    /// Exit status 0.
    Finished,
    /// Another exit status.
    Failed,
    /// Ended by a signal or by the user.
    Interrupted,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
        })
    }
}

/// How far a second execution is expected to give the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Determinism {
    /// Not known yet: nobody has run it twice.
    Unknown,
    /// A second run gave the same bytes.
    BitEqual,
    /// A second run was equal within the declared tolerance.
    Tolerance,
    /// A second run differed.
    Different,
}

/// Why what a run made may not be what its recipe makes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum Doubt {
    /// This file, which the run began with, was another one at its end; nobody knows which the program read.
    Changed(Vec<u8>),
    /// Another run was under way in the same folder.
    Beside,
}

/// What a run was executed on, and what it is a part of. Runs of format version 1 have none of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// The ingredients, so that a run that nobody committed can be made again too.
    pub ingredients: Option<Recipe>,
    /// Nonce of the run that started it.
    pub parent: Option<[u8; 16]>,
    /// The stage of a pipeline that it is a run of.
    pub stage: Option<StageRun>,
    /// The run that it repeats, to see whether the same comes out.
    pub repeats: Option<RunId>,
    /// Why its result stands for no other run; runs before format version 3 have none.
    pub doubts: Vec<Doubt>,
}

/// Which stage of a pipeline was executed, and on what.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct StageRun {
    /// Its name in `modelv.toml`.
    pub name: String,
    /// What decides whether it has to be executed again.
    pub key: StageId,
    /// The files that it declares as inputs, as they were.
    pub inputs: TreeId,
}

impl Origin {
    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Encode for Origin {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), error::EncodeError> {
        if self.is_empty() {
            return Ok(());
        }
        self.ingredients.encode(encoder)?;
        self.parent.encode(encoder)?;
        self.stage.encode(encoder)?;
        self.repeats.encode(encoder)?;
        match self.doubts.is_empty() {
            true => Ok(()),
            false => self.doubts.encode(encoder),
        }
    }
}

impl Decode<Version> for Origin {
    fn decode<D: Decoder<Context = Version>>(decoder: &mut D) -> Result<Self, error::DecodeError> {
        if decoder.context().0 < WITH_ORIGIN {
            return Ok(Self::default());
        }
        Ok(Self {
            ingredients: Decode::decode(decoder)?,
            parent: Decode::decode(decoder)?,
            stage: Decode::decode(decoder)?,
            repeats: Decode::decode(decoder)?,
            doubts: match decoder.context().0 < WITH_DOUBTS {
                true => Vec::new(),
                false => Decode::decode(decoder)?,
            },
        })
    }
}

bincode::impl_borrow_decode_with_context!(Origin, Version);

/// The format version of runs with an [`Origin`].
const WITH_ORIGIN: u8 = 2;
/// The format version of runs with doubts.
const WITH_DOUBTS: u8 = 3;

/// The record of one execution.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[bincode(decode_context = "Version")]
pub struct Run {
    /// Program and arguments.
    pub command: Vec<String>,
    /// What was executed.
    pub recipe: RecipeId,
    /// The commit that was checked out when it started.
    pub commit: Option<CommitId>,
    /// Parameters: the leaves of the configuration files, by dotted key.
    pub params: BTreeMap<String, Value>,
    /// Metrics at the end, by dotted key.
    pub metrics: BTreeMap<String, Value>,
    /// Metric series, if any were logged.
    pub series: Option<BlobId>,
    /// Files it wrote that belong to the model.
    pub outputs: Option<TreeId>,
    /// How it ended.
    pub status: Status,
    /// Exit status, if it ended by itself.
    pub exit_code: Option<i32>,
    /// When it started.
    pub started: Time,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// Facts of the machine: host name, kernel, processor, memory.
    pub host: BTreeMap<String, String>,
    /// What is known of its determinism.
    pub determinism: Determinism,
    /// What it printed.
    pub log: Option<BlobId>,
    /// Tells apart two executions that are equal in everything else.
    pub nonce: [u8; 16],
    /// What it was executed on, and what it is a part of.
    pub origin: Origin,
}

impl Object for Run {
    const KIND: Kind = Kind::Run;
    const VERSION: u8 = WITH_DOUBTS;

    fn version(&self) -> u8 {
        match &self.origin {
            origin if origin.is_empty() => 1,
            origin if origin.doubts.is_empty() => WITH_ORIGIN,
            _ => WITH_DOUBTS,
        }
    }

    fn check(&self) -> Result<(), DecodeError> {
        if self.command.is_empty() {
            return Err(DecodeError::NotCanonical("run without a command"));
        }
        let ingredients = self.origin.ingredients;
        if ingredients.is_some_and(|recipe| recipe.id() != self.recipe) {
            return Err(DecodeError::NotCanonical(
                "run of other ingredients than its recipe",
            ));
        }
        let doubts = &self.origin.doubts;
        if !doubts.is_sorted_by(|a, b| a < b) {
            return Err(DecodeError::NotCanonical(
                "doubts are not sorted or not unique",
            ));
        }
        let named = [&self.params, &self.metrics].map(BTreeMap::len);
        let [params, metrics] = named;
        canon::check_lengths(&[
            self.command.len(),
            self.host.len(),
            params,
            metrics,
            doubts.len(),
        ])?;
        let mut values = self.params.values().chain(self.metrics.values());
        values
            .try_for_each(Value::check)
            .map_err(DecodeError::NotCanonical)
    }
}

impl Run {
    /// The run's id.
    #[must_use]
    pub fn id(&self) -> RunId {
        RunId(canon::id_of(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::ELEMENTS_MAX;

    fn run() -> Run {
        Run {
            command: vec!["python".into(), "train.py".into()],
            recipe: RecipeId([1; 32]),
            commit: None,
            params: BTreeMap::from([("lr".into(), Value::Float(0.1))]),
            metrics: BTreeMap::new(),
            series: None,
            outputs: None,
            status: Status::Finished,
            exit_code: Some(0),
            started: Time {
                seconds: 0,
                offset_minutes: 0,
            },
            duration_ms: 1,
            host: BTreeMap::new(),
            determinism: Determinism::Unknown,
            log: None,
            nonce: [0; 16],
            origin: Origin::default(),
        }
    }

    const RECIPE: Recipe = Recipe {
        code: TreeId([2; 32]),
        data: TreeId([3; 32]),
        config: TreeId([4; 32]),
        env: crate::id::EnvId([5; 32]),
    };

    #[test]
    fn an_origin_makes_it_version_2_and_only_that() {
        let first = canon::encode(&run()).unwrap();
        assert_eq!(first[7], 1);
        let whole = Run {
            recipe: RECIPE.id(),
            origin: Origin {
                ingredients: Some(RECIPE),
                parent: Some([6; 16]),
                stage: Some(StageRun {
                    name: "train".into(),
                    key: StageId([7; 32]),
                    inputs: TreeId([8; 32]),
                }),
                repeats: Some(RunId([9; 32])),
                doubts: Vec::new(),
            },
            ..run()
        };
        let second = canon::encode(&whole).unwrap();
        assert_eq!(second[7], 2);
        assert_eq!(canon::decode::<Run>(&second).unwrap(), whole);
        let changed = |path: &str| Doubt::Changed(path.into());
        let doubtful = |doubts: &[Doubt]| {
            let mut run = whole.clone();
            run.origin.doubts = doubts.to_vec();
            run
        };
        let third = doubtful(&[changed("a"), changed("b"), Doubt::Beside]);
        let bytes = canon::encode(&third).unwrap();
        assert_eq!(
            (bytes[7], canon::decode::<Run>(&bytes).unwrap()),
            (3, third)
        );
        for bad in [[Doubt::Beside, changed("a")], [changed("a"), changed("a")]] {
            assert!(canon::encode(&doubtful(&bad)).is_err());
            let bytes = canon::encode_unchecked(&doubtful(&bad));
            assert!(canon::decode::<Run>(&bytes).is_err());
        }
        // An empty list is not written.
        let mut none = [second.as_slice(), &[0]].concat();
        none[7] = 3;
        assert!(canon::decode::<Run>(&none).is_err());
        // The same in the other version has another id, so it is refused.
        let mut empty = [first.as_slice(), &[0; 4]].concat();
        assert!(canon::decode::<Run>(&empty).is_err());
        empty[7] = 2;
        assert!(canon::decode::<Run>(&empty).is_err());
        for (bytes, version) in [(&first, 2), (&second, 1), (&first, 0), (&second, 3)] {
            let mut bytes = bytes.clone();
            bytes[7] = version;
            assert!(canon::decode::<Run>(&bytes).is_err(), "{version}");
        }
    }

    #[test]
    fn what_no_reader_takes_is_not_written() {
        let good = run();
        assert_eq!(
            canon::decode::<Run>(&canon::encode(&good).unwrap()).unwrap(),
            good
        );
        let deep = (0..3_000).fold(Value::Null, |v, _| Value::List(vec![v]));
        for bad in [
            Run {
                command: vec![],
                ..run()
            },
            Run {
                params: BTreeMap::from([("n".into(), Value::UInt(5))]),
                ..run()
            },
            Run {
                metrics: BTreeMap::from([("deep".into(), deep)]),
                ..run()
            },
            Run {
                origin: Origin {
                    ingredients: Some(RECIPE),
                    ..Origin::default()
                },
                ..run()
            },
            Run {
                params: (0..=ELEMENTS_MAX)
                    .map(|i| (i.to_string(), Value::Null))
                    .collect(),
                ..run()
            },
        ] {
            assert!(canon::encode(&bad).is_err());
            assert!(canon::decode::<Run>(&canon::encode_unchecked(&bad)).is_err());
        }
    }
}
