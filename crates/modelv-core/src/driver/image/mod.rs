//! Images: PNG, JPEG, GIF, WebP and BMP. What they are and how large is read from their headers, without
//! decoding; how different two look is told by a perceptual hash and by their colours, of what was
//! decoded within bounds. Known by their first bytes: a name proves nothing. Two changed versions are
//! a conflict; nothing is ever written. SVG is text.

mod header;
mod look;
mod pixels;
#[cfg(test)]
mod tests;

use std::fmt;

pub use header::image_kind;
pub use look::Look;

use super::binary::Binary;
use super::{Change, Refusal, Rules};

/// Formats of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageFormat {
    /// PNG.
    Png,
    /// JPEG.
    Jpeg,
    /// GIF.
    Gif,
    /// WebP.
    WebP,
    /// BMP.
    Bmp,
}

impl fmt::Display for ImageFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Png => "PNG",
            Self::Jpeg => "JPEG",
            Self::Gif => "GIF",
            Self::WebP => "WebP",
            Self::Bmp => "BMP",
        })
    }
}

/// What an image is, by its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageKind {
    /// Its format, by its first bytes.
    pub format: ImageFormat,
    /// Pixels from left to right.
    pub width: u32,
    /// Pixels from top to bottom.
    pub height: u32,
}

impl fmt::Display for ImageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} × {}", self.format, self.width, self.height)
    }
}

/// How an image differs.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageChange {
    /// What it was; `None`: it is new.
    pub old: Option<ImageKind>,
    /// What it is; `None`: it is gone.
    pub new: Option<ImageKind>,
    /// How different both look.
    pub look: Option<Look>,
    /// Why their looks were not compared.
    pub why: Option<String>,
}

/// The rules of images.
pub(super) struct Image;

/// What people call the format that a name claims.
pub(super) fn claimed(name: &[u8]) -> Option<&'static str> {
    let ends = |suffix: &str| name.ends_with(suffix.as_bytes());
    Some(match () {
        () if ends(".png") => "PNG",
        () if ends(".jpg") || ends(".jpeg") => "JPEG",
        () if ends(".gif") => "GIF",
        () if ends(".webp") => "WebP",
        () if ends(".bmp") => "BMP",
        () => return None,
    })
}

impl Rules for Image {
    fn check(&self, content: &[u8]) -> Result<(), Refusal> {
        header::read(content).map(drop)
    }

    fn diff(&self, old: Option<&[u8]>, new: Option<&[u8]>) -> Vec<Change> {
        let kind = |bytes: Option<&[u8]>| bytes.and_then(image_kind);
        let mut change = ImageChange {
            old: kind(old),
            new: kind(new),
            look: None,
            why: None,
        };
        if let (Some(a), Some(b)) = (old, new) {
            let look =
                pixels::thumbnail(a).and_then(|a| Ok(Look::between(&a, &pixels::thumbnail(b)?)));
            match look {
                Ok(look) => change.look = Some(look),
                Err(why) => change.why = Some(why.to_string()),
            }
        }
        let mut out = vec![Change::Image(Box::new(change))];
        out.extend(Binary.diff(old, new));
        out
    }
}
