//! What a stage of a pipeline executes, as one value: its id is the stage's key. See `spec/run.md`.
//!
//! The name of a stage is no part of it: a stage that is renamed need not run again.

use std::collections::BTreeMap;

use bincode::{Decode, Encode};

use crate::canon::{self, DecodeError, Kind, Object};
use crate::id::{EnvId, StageId, TreeId};
use crate::value::Value;

/// Everything that decides what a stage makes.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct Stage {
    /// A line for the shell.
    pub command: String,
    /// Interpreter and packages.
    pub env: EnvId,
    /// The declared inputs.
    pub inputs: TreeId,
    /// The declared parameters, by the names that declare them.
    pub params: BTreeMap<String, Value>,
    /// Paths of the declared outputs, ascending.
    pub outputs: Vec<Vec<u8>>,
}

impl Object for Stage {
    const KIND: Kind = Kind::Stage;

    fn check(&self) -> Result<(), DecodeError> {
        canon::check_lengths(&[self.params.len(), self.outputs.len()])?;
        if self.outputs.windows(2).any(|two| two[0] >= two[1]) {
            return Err(DecodeError::NotCanonical(
                "outputs not sorted or not unique",
            ));
        }
        self.params
            .values()
            .try_for_each(Value::check)
            .map_err(DecodeError::NotCanonical)
    }
}

impl Stage {
    /// The stage's key.
    #[must_use]
    pub fn id(&self) -> StageId {
        StageId(canon::id_of(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_decides_is_in_the_key() {
        let one = Stage {
            command: "train".into(),
            env: EnvId([1; 32]),
            inputs: TreeId([2; 32]),
            params: BTreeMap::from([("lr".into(), Value::Float(0.1))]),
            outputs: vec![b"a".to_vec(), b"b".to_vec()],
        };
        assert_eq!(
            canon::decode::<Stage>(&canon::encode(&one).unwrap()).unwrap(),
            one
        );
        let other = [
            Stage {
                command: "train ".into(),
                ..one.clone()
            },
            Stage {
                env: EnvId([3; 32]),
                ..one.clone()
            },
            Stage {
                inputs: TreeId([3; 32]),
                ..one.clone()
            },
            Stage {
                params: BTreeMap::from([("lr".into(), Value::Int(1))]),
                ..one.clone()
            },
            Stage {
                outputs: vec![b"a".to_vec()],
                ..one.clone()
            },
        ];
        for other in other {
            assert_ne!(other.id(), one.id(), "{other:?}");
        }
        let outputs = vec![b"b".to_vec(), b"a".to_vec()];
        assert!(canon::encode(&Stage { outputs, ..one }).is_err());
    }
}
