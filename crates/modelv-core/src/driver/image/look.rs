//! How different two images look: a perceptual hash of their shapes, and their colours.

/// Thumbnails have so many pixels on each side.
pub(super) const SIDE: usize = 32;
/// Of the cosine transform, so many of the lowest frequencies in each direction are looked at.
const LOW: usize = 8;

/// Weaker waves are no shapes but what rounding left: an eighth of a level of grey.
const FAINT: f64 = 64.0;

/// Mean colours of the tiles of an image, from 0 to 255 each.
pub(super) type Thumbnail = Vec<[f32; 3]>;

/// How different two images look. Size and format do not matter: a smaller copy looks the same.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Look {
    /// Of 63 signs of a cosine transform of both, those that differ: 0 is the same shapes, up to about
    /// 10 likely the same picture, about 32 no relation.
    pub shapes: u32,
    /// Mean difference of the colours: 0 is the same, 1 is black against white.
    pub colours: f64,
}

impl Look {
    pub(super) fn between(old: &Thumbnail, new: &Thumbnail) -> Self {
        let pairs = old.iter().flatten().zip(new.iter().flatten());
        let sum: f64 = pairs.map(|(a, b)| f64::from((a - b).abs())).sum();
        Self {
            shapes: (hash(old) ^ hash(new)).count_ones(),
            colours: sum / (255.0 * 3.0 * (SIDE * SIDE) as f64),
        }
    }
}

/// Which of the lowest frequencies are above their median, but for the mean brightness.
fn hash(thumbnail: &Thumbnail) -> u64 {
    let luma: Vec<f64> = thumbnail
        .iter()
        .map(|[r, g, b]| f64::from(0.299 * r + 0.587 * g + 0.114 * b))
        .collect();
    let wave: Vec<Vec<f64>> = (0..LOW)
        .map(|k| {
            let step = std::f64::consts::PI / SIDE as f64 * k as f64;
            (0..SIDE).map(|x| ((x as f64 + 0.5) * step).cos()).collect()
        })
        .collect();
    let sum = |values: &mut dyn Iterator<Item = f64>, k: usize| -> f64 {
        values.zip(&wave[k]).map(|(v, w)| v * w).sum()
    };
    // First along the rows, then down the columns.
    let rows: Vec<Vec<f64>> = luma
        .chunks(SIDE)
        .map(|row| (0..LOW).map(|k| sum(&mut row.iter().copied(), k)).collect())
        .collect();
    let mut found = Vec::with_capacity(LOW * LOW);
    for v in 0..LOW {
        for u in 0..LOW {
            let sum = sum(&mut rows.iter().map(|row| row[u]), v);
            found.push(if sum.abs() < FAINT { 0.0 } else { sum });
        }
    }
    let mut sorted = found[1..].to_vec();
    sorted.sort_by(f64::total_cmp);
    let median = sorted[sorted.len() / 2];
    let bits = found[1..].iter().enumerate();
    bits.fold(0, |hash, (i, v)| hash | u64::from(*v > median) << i)
}
