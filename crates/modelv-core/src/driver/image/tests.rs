//! Images made here, byte by byte where no encoder is at hand.

use super::super::Labels;
use super::super::{Change, Driver, diff, examine, merge};
use super::*;

type Colour = fn(u32, u32) -> [u8; 3];

fn ramp(x: u32, y: u32) -> [u8; 3] {
    let wave = (f64::from(x) / 9.0).sin() + (f64::from(y) / 5.0).cos();
    [(wave * 60.0 + 128.0) as u8, (x * 2) as u8, (y * 2) as u8]
}

fn brighter(x: u32, y: u32) -> [u8; 3] {
    ramp(x, y).map(|c| c.saturating_add(25))
}

fn other(x: u32, y: u32) -> [u8; 3] {
    [
        if (x / 13 + y / 7).is_multiple_of(2) {
            250
        } else {
            10
        },
        90,
        (x ^ y) as u8,
    ]
}

fn pixels(width: u32, height: u32, of: Colour) -> Vec<u8> {
    let all = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    all.flat_map(|(x, y)| of(x * 100 / width, y * 80 / height))
        .collect()
}

pub(crate) fn png(width: u32, height: u32, rgb: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, width, height);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(rgb).unwrap();
    drop(writer);
    out
}

fn bmp(width: u32, height: u32, rgb: &[u8]) -> Vec<u8> {
    let stride = (3 * width as usize).next_multiple_of(4);
    let mut out = b"BM\0\0\0\0\0\0\0\0".to_vec();
    for n in [54, 40, width, height] {
        out.extend(n.to_le_bytes());
    }
    out.extend([1, 0, 24, 0]);
    out.resize(54, 0);
    for row in rgb.chunks(3 * width as usize).rev() {
        let start = out.len();
        out.extend(row.chunks(3).flat_map(|p| [p[2], p[1], p[0]]));
        out.resize(start + stride, 0);
    }
    out
}

/// A GIF whose codes never compress: nine bits for each pixel, and the table is cleared in time.
fn gif(width: u16, height: u16, rgb: &[u8]) -> Vec<u8> {
    let mut out = b"GIF89a".to_vec();
    out.extend([width.to_le_bytes(), height.to_le_bytes()].concat());
    out.extend([0xf7, 0, 0]);
    // The colours are of three, three and two bits.
    out.extend((0..=255u8).flat_map(|i| [i & 0xe0 | 0x10, (i << 3) & 0xe0 | 0x10, i << 6 | 0x20]));
    out.push(0x2c);
    out.extend([0; 4]);
    out.extend([width.to_le_bytes(), height.to_le_bytes()].concat());
    out.extend([0, 8]);
    let mut codes = Vec::new();
    for (i, p) in rgb.chunks(3).enumerate() {
        if i % 250 == 0 {
            codes.push(256u16);
        }
        codes.push(u16::from(p[0] & 0xe0 | (p[1] & 0xe0) >> 3 | p[2] >> 6));
    }
    codes.push(257);
    let bits = codes
        .iter()
        .flat_map(|c| (0..9).map(move |i| c >> i & 1 == 1));
    let bits: Vec<bool> = bits.collect();
    let bytes: Vec<u8> = bits
        .chunks(8)
        .map(|b| b.iter().rev().fold(0, |n, bit| n << 1 | u8::from(*bit)))
        .collect();
    for block in bytes.chunks(255) {
        out.push(u8::try_from(block.len()).unwrap());
        out.extend(block);
    }
    out.extend([0, 0x3b]);
    out
}

/// A lossless WebP.
fn webp(width: u32, height: u32, rgb: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let encoder = image_webp::WebPEncoder::new(&mut out);
    encoder
        .encode(rgb, width, height, image_webp::ColorType::Rgb8)
        .unwrap();
    out
}

/// A grey JPEG of 16 × 16 in one colour, as libjpeg writes it.
const JPEG: &str = "ffd8ffe000104a46494600010100000100010000ffdb004300080606070605080707070909080a0c140d0c0b0b0c1912130f141d1a1f1e1d1a1c1c20242e2720222c231c1c2837292c30313434341f27393d38323c2e333432ffc0000b080010001001011100ffc4001f0000010501010101010100000000000000000102030405060708090a0bffc400b5100002010303020403050504040000017d01020300041105122131410613516107227114328191a1082342b1c11552d1f02433627282090a161718191a25262728292a3435363738393a434445464748494a535455565758595a636465666768696a737475767778797a838485868788898a92939495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae1e2e3e4e5e6e7e8e9eaf1f2f3f4f5f6f7f8f9faffda0008010100003f00af451457ffd9";

fn jpeg() -> Vec<u8> {
    let hex = |i| u8::from_str_radix(&JPEG[i..i + 2], 16).unwrap();
    (0..JPEG.len() / 2 * 2).step_by(2).map(hex).collect()
}

fn change(old: &[u8], new: &[u8]) -> ImageChange {
    let found = diff(Driver::Image, Some(old), Some(new));
    match found.as_slice() {
        [Change::Image(change), Change::Bytes { .. }] => (**change).clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_header_tells_format_and_size() {
    let rgb = pixels(50, 40, ramp);
    let files = [
        (png(50, 40, &rgb), "PNG 50 × 40"),
        (bmp(50, 40, &rgb), "BMP 50 × 40"),
        (gif(50, 40, &rgb), "GIF 50 × 40"),
        (webp(50, 40, &rgb), "WebP 50 × 40"),
        (jpeg(), "JPEG 16 × 16"),
        (
            b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\x0f\x27\0\x87\x13\0".to_vec(),
            "WebP 10000 × 5000",
        ),
        (
            b"RIFF\x1e\0\0\0WEBPVP8 \x0a\0\0\0\0\0\0\x9d\x01\x2a\x40\x01\xf0\x40".to_vec(),
            "WebP 320 × 240",
        ),
    ];
    for (bytes, want) in &files {
        let kind = image_kind(bytes).unwrap();
        assert_eq!(kind.to_string(), *want);
        // Every shorter file is refused, or said the same already.
        for cut in 0..bytes.len().min(600) {
            assert!(
                image_kind(&bytes[..cut]).is_none_or(|k| k == kind),
                "{want} {cut}"
            );
        }
    }
}

#[test]
fn the_same_picture_looks_the_same_in_every_format_and_size() {
    let old = png(100, 80, &pixels(100, 80, ramp));
    let again = |change: &ImageChange| {
        let look = change.look.unwrap_or_else(|| panic!("{change:?}"));
        assert!(look.shapes <= 8 && look.colours < 0.08, "{change:?}");
    };
    again(&change(&old, &bmp(100, 80, &pixels(100, 80, ramp))));
    // A table of 256 colours makes steps of what is smooth.
    let steps = change(&old, &gif(100, 80, &pixels(100, 80, ramp)));
    assert!(steps.look.unwrap().colours < 0.08, "{steps:?}");
    again(&change(&old, &webp(100, 80, &pixels(100, 80, ramp))));
    again(&change(&old, &png(301, 222, &pixels(301, 222, ramp))));
    let same = change(&old, &webp(100, 80, &pixels(100, 80, ramp)));
    assert_eq!(
        same.look,
        Some(Look {
            shapes: 0,
            colours: 0.0
        })
    );
    let bright = change(&old, &png(100, 80, &pixels(100, 80, brighter)))
        .look
        .unwrap();
    assert!(
        bright.shapes <= 8 && (0.05..0.15).contains(&bright.colours),
        "{bright:?}"
    );
    let other = change(&old, &png(100, 80, &pixels(100, 80, other)))
        .look
        .unwrap();
    assert!(other.shapes >= 16 && other.colours > 0.2, "{other:?}");
    let jpeg = change(&jpeg(), &png(8, 8, &[0; 192])).look.unwrap();
    assert!(jpeg.shapes == 0, "{jpeg:?}");
}

#[test]
fn images_are_known_by_their_content_and_never_merged() {
    let old = png(2, 1, &[0; 6]);
    let new = png(2, 1, &[9; 6]);
    assert_eq!(examine(b"a.PNG", &old).driver, Driver::Image);
    assert_eq!(examine(b"a.jpeg", &old).driver, Driver::Image);
    assert_eq!(examine(b"a.bin", &old).driver, Driver::Binary);
    assert_eq!(examine(b"a.svg", b"<svg/>").driver, Driver::Text);
    let not = examine(b"a.png", b"\0\0not");
    assert_eq!(not.driver, Driver::Binary);
    assert_eq!(
        not.note.unwrap(),
        "a.png is not valid PNG (it does not begin as an image): compared as binary"
    );
    // What stands in for an image is a text.
    let pointer = examine(b"a.png", b"version https://git-lfs.github.com/spec/v1\n");
    assert_eq!(pointer.driver, Driver::Text);
    let labels = Labels {
        ours: "o",
        base: "b",
        theirs: "t",
    };
    let merged = merge(Driver::Image, Some(b""), &old, &new, &labels);
    assert_eq!((merged.bytes, merged.conflicts.len()), (old.clone(), 1));
    let added = diff(Driver::Image, None, Some(&old));
    let Some(Change::Image(added)) = added.first() else {
        panic!("{added:?}")
    };
    assert_eq!((added.old, added.look), (None, None));
    assert_eq!(added.new.unwrap().to_string(), "PNG 2 × 1");
}

#[test]
fn what_is_too_large_or_broken_is_said() {
    let good = png(9, 9, &pixels(9, 9, ramp));
    let mut huge = good.clone();
    huge[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]);
    let found = change(&good, &huge);
    assert_eq!(found.new.unwrap().to_string(), "PNG 65536 × 65536");
    let want = "PNG 65536 × 65536 is more than 40 million pixels: not decoded";
    assert_eq!((found.look, found.why.as_deref()), (None, Some(want)));
    let cut = change(&good, &good[..60]);
    assert!(cut.why.unwrap().starts_with("PNG 9 × 9 can't be decoded: "));
    // Any byte may be wrong: this ends, and nothing panics.
    let rgb = pixels(9, 9, ramp);
    for file in [
        &good,
        &bmp(9, 9, &rgb),
        &gif(9, 9, &rgb),
        &webp(9, 9, &rgb),
        &jpeg(),
    ] {
        for at in (0..file.len()).step_by(3) {
            let mut bad = file.clone();
            bad[at] ^= 1 << (at % 8);
            let _ = diff(Driver::Image, Some(file), Some(&bad));
            if at % 7 == 0 {
                let _ = diff(Driver::Image, Some(file), Some(&file[..at]));
            }
        }
    }
}
