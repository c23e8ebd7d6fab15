//! Series of numbers as lines of a terminal, in braille: eight dots a character.

/// Dots of one character, by column and row, as Unicode numbers them.
const DOTS: [[u32; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];

/// Points of one line: where, and how much.
pub(crate) type Line = Vec<(f64, f64)>;

/// Draws lines over one another: for each row of characters what each line puts there, by its number, and the
/// value that stands at its height. Points that are no numbers are left out; nothing without two of them.
pub(crate) struct Plot {
    width: usize,
    height: usize,
    /// The smallest and largest of both directions.
    pub(crate) x: (f64, f64),
    pub(crate) y: (f64, f64),
    /// Dots of each character, and the last line that put one there.
    cells: Vec<(u32, usize)>,
}

impl Plot {
    pub(crate) fn new(lines: &[Line], width: usize, height: usize) -> Option<Self> {
        let all = || {
            lines
                .iter()
                .flatten()
                .filter(|(x, y)| x.is_finite() && y.is_finite())
        };
        if all().count() < 2 || width == 0 || height == 0 {
            return None;
        }
        let range = |of: fn(&(f64, f64)) -> f64| {
            all()
                .map(of)
                .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
                    (low.min(v), high.max(v))
                })
        };
        let mut plot = Self {
            width,
            height,
            x: range(|p| p.0),
            y: range(|p| p.1),
            cells: vec![(0, 0); width * height],
        };
        for (number, line) in lines.iter().enumerate() {
            let mut last = None;
            for point in line.iter().filter(|(x, y)| x.is_finite() && y.is_finite()) {
                let here = plot.dot(*point);
                plot.join(last.unwrap_or(here), here, number);
                last = Some(here);
            }
        }
        Some(plot)
    }

    /// The place of a point in dots, from the top left.
    fn dot(&self, (x, y): (f64, f64)) -> (usize, usize) {
        let part = |value: f64, (low, high): (f64, f64), dots: usize| -> usize {
            let share = if high > low {
                (value - low) / (high - low)
            } else {
                0.5
            };
            #[expect(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a share of a few hundred dots"
            )]
            let dot = (share.clamp(0.0, 1.0) * (dots - 1) as f64).round() as usize;
            dot
        };
        let rows = self.height * 4;
        (
            part(x, self.x, self.width * 2),
            rows - 1 - part(y, self.y, rows),
        )
    }

    fn join(&mut self, from: (usize, usize), to: (usize, usize), number: usize) {
        let steps = from.0.abs_diff(to.0).max(from.1.abs_diff(to.1)).max(1);
        let between = |a: usize, b: usize, i: usize| (a * (steps - i) + b * i + steps / 2) / steps;
        for i in 0..=steps {
            let (x, y) = (between(from.0, to.0, i), between(from.1, to.1, i));
            let cell = &mut self.cells[(y / 4) * self.width + x / 2];
            *cell = (cell.0 | DOTS[x % 2][y % 4], number);
        }
    }

    /// The characters of a row, each with the line that drew it last.
    pub(crate) fn row(&self, row: usize) -> impl Iterator<Item = (char, usize)> {
        let cells = &self.cells[row * self.width..(row + 1) * self.width];
        cells.iter().map(|(dots, line)| {
            let shown = if *dots == 0 {
                ' '
            } else {
                char::from_u32(0x2800 + dots).unwrap_or(' ')
            };
            (shown, *line)
        })
    }

    pub(crate) fn height(&self) -> usize {
        self.height
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(plot: &Plot) -> Vec<String> {
        (0..plot.height())
            .map(|row| plot.row(row).map(|(c, _)| c).collect())
            .collect()
    }

    #[test]
    fn a_line_goes_from_corner_to_corner() {
        let plot = Plot::new(&[vec![(0.0, 0.0), (1.0, 1.0)]], 2, 1).unwrap();
        assert_eq!(rows(&plot), ["\u{2860}\u{280a}"]);
        let plot = Plot::new(&[vec![(0.0, 1.0), (5.0, 1.0)]], 3, 2).unwrap();
        assert_eq!(
            rows(&plot).iter().filter(|r| r.trim().is_empty()).count(),
            1
        );
    }

    #[test]
    fn what_is_no_number_is_left_out() {
        assert!(Plot::new(&[vec![(0.0, f64::NAN), (1.0, 1.0)]], 10, 4).is_none());
        let line = vec![(0.0, 0.0), (1.0, f64::INFINITY), (2.0, 2.0)];
        let plot = Plot::new(&[line, vec![(1.0, 1e300)]], 10, 4).unwrap();
        assert_eq!(plot.y, (0.0, 1e300));
        assert!(plot.row(0).any(|(_, line)| line == 1));
    }
}
