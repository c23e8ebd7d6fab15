//! What an image is, by its header alone: nothing is decoded.

use super::super::Refusal;
use super::{ImageFormat, ImageKind};

/// What content is, if it is an image that we know.
#[must_use]
pub fn image_kind(content: &[u8]) -> Option<ImageKind> {
    read(content).ok()
}

/// Reads the header of an image.
pub(super) fn read(content: &[u8]) -> Result<ImageKind, Refusal> {
    let (format, size) = match content {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => (ImageFormat::Png, png(content)),
        [0xff, 0xd8, 0xff, ..] => (ImageFormat::Jpeg, jpeg(content)),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => (ImageFormat::Gif, gif(content)),
        [
            b'R',
            b'I',
            b'F',
            b'F',
            _,
            _,
            _,
            _,
            b'W',
            b'E',
            b'B',
            b'P',
            ..,
        ] => (ImageFormat::WebP, webp(content)),
        [b'B', b'M', ..] => (ImageFormat::Bmp, bmp(content)),
        _ => return Err(Refusal::Invalid("it does not begin as an image".into())),
    };
    match size {
        Some((width, height)) if width > 0 && height > 0 => Ok(ImageKind {
            format,
            width,
            height,
        }),
        Some(_) => Err(Refusal::Invalid("it has no pixels".into())),
        None => Err(Refusal::Invalid("its header is malformed".into())),
    }
}

type Size = Option<(u32, u32)>;

fn bytes<const N: usize>(content: &[u8], at: usize) -> Option<[u8; N]> {
    content.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn low(content: &[u8], at: usize) -> Option<u32> {
    bytes(content, at).map(|b| u32::from(u16::from_le_bytes(b)))
}

fn high(content: &[u8], at: usize) -> Option<u32> {
    bytes(content, at).map(|[a, b]| u32::from(a) << 8 | u32::from(b))
}

fn png(content: &[u8]) -> Size {
    let long = |at| Some(high(content, at)? << 16 | high(content, at + 2)?);
    (bytes(content, 12)? == *b"IHDR").then_some((long(16)?, long(20)?))
}

fn gif(content: &[u8]) -> Size {
    Some((low(content, 6)?, low(content, 8)?))
}

fn bmp(content: &[u8]) -> Size {
    match u32::from_le_bytes(bytes(content, 14)?) {
        12 => Some((low(content, 18)?, low(content, 20)?)),
        40.. => {
            let width = i32::from_le_bytes(bytes(content, 18)?);
            // Rows from top to bottom have a height below zero.
            let height = i32::from_le_bytes(bytes(content, 22)?).unsigned_abs();
            Some((u32::try_from(width).ok()?, height))
        }
        _ => None,
    }
}

/// Goes from segment to segment until one says the size.
fn jpeg(content: &[u8]) -> Size {
    let mut at = 2;
    loop {
        let [mark, kind] = bytes(content, at)?;
        match (mark, kind) {
            (0xff, 0xff) => at += 1,
            (0xff, 0x01 | 0xd0..=0xd7) => at += 2,
            // All frames, but not tables (C4, CC) and extensions (C8).
            (0xff, 0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf) => {
                return Some((high(content, at + 7)?, high(content, at + 5)?));
            }
            // The image itself, or its end, before its size.
            (0xff, 0xd9 | 0xda) => return None,
            (0xff, _) => at += 2 + high(content, at + 2)? as usize,
            _ => return None,
        }
    }
}

fn webp(content: &[u8]) -> Size {
    match &bytes(content, 12)? {
        b"VP8 " => {
            let is_key = bytes(content, 23)? == [0x9d, 0x01, 0x2a];
            is_key.then_some((low(content, 26)? & 0x3fff, low(content, 28)? & 0x3fff))
        }
        b"VP8L" => {
            let bits = u32::from_le_bytes(bytes(content, 21)?);
            let is_it = bytes(content, 20)? == [0x2f];
            is_it.then_some(((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1))
        }
        b"VP8X" => {
            let wide = |at| Some(low(content, at)? | u32::from(*content.get(at + 2)?) << 16);
            Some((wide(24)? + 1, wide(27)? + 1))
        }
        _ => None,
    }
}
