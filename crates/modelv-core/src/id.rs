//! Ids: one 32-byte BLAKE3 type per kind of object, so that an id of the wrong kind does not compile.
//!
//! File contents and chunks are hashed plainly (`b3sum` prints the same); every other kind is
//! hashed in its own domain. See `spec/ids.md`. This module must never know how objects are stored.

use std::fmt;

/// Why a text is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an id: expected 64 lower-case hexadecimal digits")]
pub struct ParseIdError {
    /// What was given.
    pub text: String,
}

/// Formats bytes as lower-case hexadecimal.
#[must_use]
pub fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = String::with_capacity(bytes.len() * 2);
    for b in bytes {
        out.push(char::from(DIGITS[usize::from(b >> 4)]));
        out.push(char::from(DIGITS[usize::from(b & 15)]));
    }
    out
}

/// Parses 64 lower-case hexadecimal digits.
///
/// # Errors
/// Anything else is a [`ParseIdError`].
pub fn from_hex(text: &str) -> Result<[u8; 32], ParseIdError> {
    let bad = || ParseIdError {
        text: text.to_owned(),
    };
    let bytes = text.as_bytes();
    if bytes.len() != 64 {
        return Err(bad());
    }
    let digit = |c: u8| match c {
        b'0'..=b'9' => Ok(c - b'0'),
        b'a'..=b'f' => Ok(c - b'a' + 10),
        _ => Err(bad()),
    };
    let mut out = [0u8; 32];
    for (slot, pair) in out.iter_mut().zip(bytes.chunks_exact(2)) {
        *slot = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Ok(out)
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, bincode::Encode, bincode::Decode,
        )]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// The 64 hexadecimal digits.
            #[must_use]
            pub fn to_hex(&self) -> String {
                to_hex(&self.0)
            }

            /// The first 12 hexadecimal digits, for people.
            #[must_use]
            pub fn short(&self) -> String {
                to_hex(&self.0[..6])
            }

            /// Reads 64 hexadecimal digits.
            ///
            /// # Errors
            /// Anything that is not 64 lower-case hexadecimal digits.
            pub fn from_hex(text: &str) -> Result<Self, ParseIdError> {
                from_hex(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.to_hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.short())
            }
        }

        impl std::str::FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                Self::from_hex(text)
            }
        }
    };
}

id_type!(
    /// Names a commit: recipe, model, parents, author, time and message.
    CommitId
);
id_type!(
    /// Names the four ingredients together and nothing else.
    RecipeId
);
id_type!(
    /// Names a tree node: the root node's id names the whole directory.
    TreeId
);
id_type!(
    /// Names an environment document.
    EnvId
);
id_type!(
    /// Names the record of one execution.
    RunId
);
id_type!(
    /// Names what a stage of a pipeline executes: command, inputs, parameters, environment.
    StageId
);
id_type!(
    /// Names the content of one file: plain BLAKE3 of its bytes.
    BlobId
);
id_type!(
    /// Names a byte range of a file: plain BLAKE3 of its bytes.
    ChunkId
);

impl BlobId {
    /// Hashes the content of a file.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl ChunkId {
    /// Hashes a byte range.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_round_trips_and_rejects() {
        let id = CommitId([0xa7; 32]);
        assert_eq!(CommitId::from_hex(&id.to_hex()).unwrap(), id);
        assert_eq!(id.short(), "a7a7a7a7a7a7");
        for bad in [
            "",
            "a7",
            &"A7".repeat(32),
            &"g7".repeat(32),
            &"a7".repeat(33),
        ] {
            assert!(CommitId::from_hex(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn blob_id_is_plain_blake3() {
        assert_eq!(
            BlobId::of(b"").to_hex(),
            "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
        );
    }
}
