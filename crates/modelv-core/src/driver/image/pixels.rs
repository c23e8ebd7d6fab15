//! Images decoded to a thumbnail, within bounds. The decoders are those of the `image` project and zune,
//! each alone: they are written in safe Rust and take limits.

use std::io::Cursor;

use super::super::Refusal;
use super::look::{SIDE, Thumbnail};
use super::{ImageFormat, ImageKind, header};

/// Images of more pixels are not decoded.
const PIXELS_MAX: u64 = 40_000_000;
/// A decoder may take so much memory beside the pixels, in bytes.
const DECODER_BYTES_MAX: usize = 64 << 20;

/// Pixels in rows, of so many bytes each: grey, grey and alpha, RGB, or RGBA.
struct Pixels {
    width: usize,
    height: usize,
    channels: usize,
    bytes: Vec<u8>,
}

/// The mean colours of an image, over white.
pub(super) fn thumbnail(content: &[u8]) -> Result<Thumbnail, Refusal> {
    let kind = header::read(content)?;
    let count = u64::from(kind.width) * u64::from(kind.height);
    if count > PIXELS_MAX {
        let text = format!("{kind} is more than 40 million pixels: not decoded");
        return Err(Refusal::Beyond(text));
    }
    let found = match kind.format {
        ImageFormat::Png => png(content),
        ImageFormat::Jpeg => jpeg(content),
        ImageFormat::Gif => gif(content, kind),
        ImageFormat::WebP => webp(content),
        ImageFormat::Bmp => bmp(content, kind),
    };
    let pixels =
        found.map_err(|why| Refusal::Invalid(format!("{kind} can't be decoded: {why}")))?;
    pixels
        .shrink()
        .ok_or_else(|| Refusal::Invalid(format!("{kind} ends early")))
}

impl Pixels {
    fn colour(&self, x: usize, y: usize) -> Option<[f32; 3]> {
        let at = (y * self.width + x) * self.channels;
        let raw = self.bytes.get(at..at + self.channels)?;
        let over = |c: u8, alpha: u8| {
            let alpha = f32::from(alpha) / 255.0;
            f32::from(c) * alpha + 255.0 * (1.0 - alpha)
        };
        Some(match *raw {
            [g] => [f32::from(g); 3],
            [g, a] => [over(g, a); 3],
            [r, g, b] => [r, g, b].map(f32::from),
            [r, g, b, a] => [over(r, a), over(g, a), over(b, a)],
            _ => return None,
        })
    }

    /// Means of tiles; a small image is stretched.
    fn shrink(&self) -> Option<Thumbnail> {
        let tile = |i: usize, size: usize| {
            let start = i * size / SIDE;
            start..((i + 1) * size / SIDE).max(start + 1)
        };
        let mut out = Thumbnail::with_capacity(SIDE * SIDE);
        for j in 0..SIDE {
            for i in 0..SIDE {
                let (mut sum, mut count) = ([0f64; 3], 0f64);
                for y in tile(j, self.height) {
                    for x in tile(i, self.width) {
                        let colour = self.colour(x, y)?;
                        for (sum, c) in sum.iter_mut().zip(colour) {
                            *sum += f64::from(c);
                        }
                        count += 1.0;
                    }
                }
                out.push(sum.map(|s| (s / count) as f32));
            }
        }
        Some(out)
    }
}

type Decoded = Result<Pixels, String>;

fn text(error: impl ToString) -> String {
    error.to_string()
}

fn png(content: &[u8]) -> Decoded {
    let limits = png::Limits {
        bytes: DECODER_BYTES_MAX,
    };
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(content), limits);
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().map_err(text)?;
    let size = reader.output_buffer_size().ok_or("it is too large")?;
    let mut bytes = vec![0; size];
    let info = reader.next_frame(&mut bytes).map_err(text)?;
    Ok(Pixels {
        width: info.width as usize,
        height: info.height as usize,
        channels: info.color_type.samples(),
        bytes,
    })
}

fn jpeg(content: &[u8]) -> Decoded {
    use zune_core::colorspace::ColorSpace;
    let options = zune_core::options::DecoderOptions::default()
        .jpeg_set_out_colorspace(ColorSpace::RGB)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX));
    let mut decoder = zune_jpeg::JpegDecoder::new_with_options(Cursor::new(content), options);
    let bytes = decoder.decode().map_err(|e| format!("{e:?}"))?;
    let (width, height) = decoder.dimensions().ok_or("it has no size")?;
    let space = decoder.output_colorspace().ok_or("it has no colours")?;
    Ok(Pixels {
        width,
        height,
        channels: space.num_components(),
        bytes,
    })
}

/// The first frame, where it stands.
fn gif(content: &[u8], kind: ImageKind) -> Decoded {
    let mut options = gif::DecodeOptions::new();
    options.set_color_output(gif::ColorOutput::RGBA);
    let room = std::num::NonZeroU64::new(4 * PIXELS_MAX).ok_or("no room")?;
    options.set_memory_limit(gif::MemoryLimit::Bytes(room));
    let mut decoder = options.read_info(Cursor::new(content)).map_err(text)?;
    let frame = decoder.read_next_frame().map_err(text)?;
    let frame = frame.ok_or("it has no frame")?;
    let (width, height) = (kind.width as usize, kind.height as usize);
    let (left, top) = (usize::from(frame.left), usize::from(frame.top));
    let (wide, high) = (usize::from(frame.width), usize::from(frame.height));
    if left + wide > width || top + high > height || frame.buffer.len() < 4 * wide * high {
        return Err("its first frame is not within it".into());
    }
    let mut bytes = vec![0; 4 * width * height];
    for (y, row) in frame
        .buffer
        .chunks_exact((4 * wide).max(1))
        .take(high)
        .enumerate()
    {
        let at = 4 * ((top + y) * width + left);
        bytes[at..at + row.len()].copy_from_slice(row);
    }
    Ok(Pixels {
        width,
        height,
        channels: 4,
        bytes,
    })
}

fn webp(content: &[u8]) -> Decoded {
    let mut decoder = image_webp::WebPDecoder::new(Cursor::new(content)).map_err(text)?;
    decoder.set_memory_limit(DECODER_BYTES_MAX);
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > PIXELS_MAX {
        return Err("its parts are larger than it says".into());
    }
    let mut bytes = vec![0; decoder.output_buffer_size().ok_or("it is too large")?];
    decoder.read_image(&mut bytes).map_err(text)?;
    Ok(Pixels {
        width: width as usize,
        height: height as usize,
        channels: if decoder.has_alpha() { 4 } else { 3 },
        bytes,
    })
}

/// Without compression, with three or four bytes for each pixel: what is written today.
fn bmp(content: &[u8], kind: ImageKind) -> Decoded {
    let number = |at: usize| -> Option<u32> {
        let bytes = content.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_le_bytes(bytes))
    };
    let (start, depth) = number(10).zip(number(28)).ok_or("its header ends early")?;
    let depth = (depth & 0xffff) as usize;
    let is_plain = matches!(number(30), Some(0)) || (depth == 32 && number(30) == Some(3));
    if number(14) < Some(40) || !is_plain || !matches!(depth, 24 | 32) {
        return Err("it is compressed or has a palette".into());
    }
    let (width, height) = (kind.width as usize, kind.height as usize);
    let from_top = number(22).is_some_and(|h| h >> 31 == 1);
    let pixel = depth / 8;
    let stride = (width * pixel).next_multiple_of(4);
    let mut bytes = Vec::with_capacity(3 * width * height);
    for y in 0..height {
        let row = if from_top { y } else { height - 1 - y };
        let at = start as usize + row * stride;
        let row = content.get(at..at + width * pixel).ok_or("it ends early")?;
        bytes.extend(row.chunks(pixel).flat_map(|p| [p[2], p[1], p[0]]));
    }
    Ok(Pixels {
        width,
        height,
        channels: 3,
        bytes,
    })
}
