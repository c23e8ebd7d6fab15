//! How a tar is packed: told from its first bytes or its media type, opened, and said in OCI's words.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use flate2::read::MultiGzDecoder;

use crate::error::{Error, Result};

/// How the layers of an image are packed. Files of weights are never packed: they do not get smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// What every engine and registry takes.
    #[default]
    Gzip,
    /// Smaller and several times faster; for engines from 2021 on, not for `docker load`.
    Zstd,
}

impl Compression {
    /// The word for records.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

/// How a tar is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Packing {
    None,
    Gzip,
    Zstd,
}

impl From<Compression> for Packing {
    fn from(compression: Compression) -> Self {
        match compression {
            Compression::Gzip => Self::Gzip,
            Compression::Zstd => Self::Zstd,
        }
    }
}

/// The media type of a layer that is not packed; how it is packed is said after it.
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

impl Packing {
    /// By its first bytes.
    ///
    /// # Errors
    /// It can't be read, or is packed in a way that is not read here; what is said is the reason.
    pub(crate) fn of(path: &Path) -> Result<Result<Self, String>> {
        let mut magic = Vec::new();
        let file = File::open(path).map_err(Error::io("read", path))?;
        file.take(6)
            .read_to_end(&mut magic)
            .map_err(Error::io("read", path))?;
        Ok(match magic.as_slice() {
            [0x1f, 0x8b, ..] => Ok(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Self::Zstd),
            b"\xfd7zXZ\0" => Err("it is packed with xz, which is not read".into()),
            _ => Ok(Self::None),
        })
    }

    /// By the media type of a layer, OCI's or Docker's.
    pub(crate) fn of_media(media: &str) -> Option<Self> {
        match media.rsplit(['.', '+']).next() {
            Some("gzip") => Some(Self::Gzip),
            Some("zstd") => Some(Self::Zstd),
            Some("tar") => Some(Self::None),
            _ => None,
        }
    }

    pub(crate) fn media_type(self) -> String {
        match self {
            Self::None => LAYER.to_owned(),
            Self::Gzip => format!("{LAYER}+gzip"),
            Self::Zstd => format!("{LAYER}+zstd"),
        }
    }

    /// What decides the bytes, for the keys of layers.
    pub(crate) fn id(self) -> &'static str {
        match self {
            Self::None => "plain",
            Self::Gzip => "gzip-6",
            Self::Zstd => "zstd-3",
        }
    }

    pub(crate) fn open(self, path: &Path) -> Result<Box<dyn Read>> {
        let file = File::open(path).map_err(Error::io("read", path))?;
        self.decode(file).map_err(Error::io("read", path))
    }

    pub(crate) fn decode<'a>(self, input: impl Read + 'a) -> std::io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Self::None => Box::new(input),
            // Some tools write many members: one for each file.
            Self::Gzip => Box::new(MultiGzDecoder::new(input)),
            Self::Zstd => Box::new(zstd::Decoder::new(input)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_are_told_apart() {
        for packing in [Packing::None, Packing::Gzip, Packing::Zstd] {
            assert_eq!(Packing::of_media(&packing.media_type()), Some(packing));
        }
        let docker = "application/vnd.docker.image.rootfs.diff.tar.gzip";
        assert_eq!(Packing::of_media(docker), Some(Packing::Gzip));
        assert_eq!(Packing::of_media("application/json"), None);
    }
}
