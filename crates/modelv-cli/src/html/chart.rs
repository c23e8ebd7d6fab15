//! Lines over steps, as SVG inside of the page.

use super::Html;

/// So many points of one line are drawn.
const POINTS_MAX: usize = 600;
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 70.0;
const BOTTOM: f64 = 40.0;
const TOP: f64 = 12.0;
const RIGHT: f64 = 12.0;
/// About so many lines are ruled.
const TICKS: f64 = 5.0;

/// One line of a chart: steps and values.
pub(super) struct Line {
    /// Which run it is of; gives its colour, the same in every chart.
    pub(super) run: usize,
    /// Steps and values, in order.
    pub(super) points: Vec<(f64, f64)>,
}

/// Class of the colour and dash of a run: told apart without colours, too.
pub(super) fn class(run: usize) -> &'static str {
    const CLASSES: [&str; 24] = [
        "run c0",
        "run c1",
        "run c2",
        "run c3",
        "run c4",
        "run c5",
        "run c6",
        "run c7",
        "run c0 d1",
        "run c1 d1",
        "run c2 d1",
        "run c3 d1",
        "run c4 d1",
        "run c5 d1",
        "run c6 d1",
        "run c7 d1",
        "run c0 d2",
        "run c1 d2",
        "run c2 d2",
        "run c3 d2",
        "run c4 d2",
        "run c5 d2",
        "run c6 d2",
        "run c7 d2",
    ];
    CLASSES[run % CLASSES.len()]
}

/// Draws one chart.
pub(super) fn chart(out: &mut Html, title: &str, lines: &[Line]) {
    let all = || lines.iter().flat_map(|l| &l.points);
    let finite = || all().filter(|(x, y)| x.is_finite() && y.is_finite());
    let span = |of: fn(&(f64, f64)) -> f64| {
        let (low, high) = finite()
            .map(of)
            .fold((f64::MAX, f64::MIN), |(a, b), v| (a.min(v), b.max(v)));
        match low < high {
            true => (low, high),
            // One value alone still needs room around it.
            false if low == high => (low - 0.5, high + 0.5),
            false => (0.0, 1.0),
        }
    };
    let (x, y) = (span(|p| p.0), span(|p| p.1));
    let to_x = |v: f64| LEFT + (v - x.0) / (x.1 - x.0) * (WIDTH - LEFT - RIGHT);
    let to_y = |v: f64| HEIGHT - BOTTOM - (v - y.0) / (y.1 - y.0) * (HEIGHT - BOTTOM - TOP);
    out.raw("<svg class=\"chart\" role=\"img\" viewBox=\"0 0 760 300\"><title>");
    out.text(title).raw("</title>\n");
    for at in ticks(y) {
        out.raw("<line class=\"axis\" x1=\"").number(LEFT);
        out.raw("\" x2=\"").number(WIDTH - RIGHT);
        out.raw("\" y1=\"").number(to_y(at));
        out.raw("\" y2=\"").number(to_y(at)).raw("\"/>");
        out.raw("<text text-anchor=\"end\" x=\"").number(LEFT - 6.0);
        out.raw("\" y=\"").number(to_y(at) + 4.0);
        out.raw("\">").text(&short(at)).raw("</text>\n");
    }
    for at in ticks(x) {
        out.raw("<text text-anchor=\"middle\" x=\"")
            .number(to_x(at));
        out.raw("\" y=\"").number(HEIGHT - 22.0);
        out.raw("\">").text(&short(at)).raw("</text>\n");
    }
    out.raw("<text text-anchor=\"middle\" x=\"400\" y=\"297\">step</text>\n");
    for line in lines {
        draw(out, line, &to_x, &to_y);
    }
    out.raw("</svg>\n");
}

fn draw(out: &mut Html, line: &Line, to_x: &dyn Fn(f64) -> f64, to_y: &dyn Fn(f64) -> f64) {
    let points = thin(&line.points);
    out.raw("<path class=\"")
        .raw(class(line.run))
        .raw("\" d=\"");
    let mut pen_is_up = true;
    for (x, y) in &points {
        if !(x.is_finite() && y.is_finite()) {
            pen_is_up = true;
            continue;
        }
        out.raw(if pen_is_up { "M" } else { "L" });
        out.number(to_x(*x)).raw(" ").number(to_y(*y)).raw(" ");
        pen_is_up = false;
    }
    // A line of one point is a dot.
    if let [(x, y)] = points.as_slice()
        && x.is_finite()
        && y.is_finite()
    {
        out.raw("L")
            .number(to_x(*x) + 0.1)
            .raw(" ")
            .number(to_y(*y));
    }
    out.raw("\" stroke-linecap=\"round\"/>\n");
}

/// The lowest and the highest of every part, so that no peak is lost.
fn thin(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if points.len() <= POINTS_MAX {
        return points.to_vec();
    }
    let parts = points.chunks(points.len().div_ceil(POINTS_MAX / 2));
    parts
        .flat_map(|part| {
            let by = |i: &usize, j: &usize| part[*i].1.total_cmp(&part[*j].1);
            let low = (0..part.len()).min_by(by).unwrap_or(0);
            let high = (0..part.len()).max_by(by).unwrap_or(0);
            [part[low.min(high)], part[low.max(high)]]
        })
        .collect()
}

/// Round numbers between two others.
fn ticks((low, high): (f64, f64)) -> Vec<f64> {
    let rough = (high - low) / TICKS;
    let unit = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|by| by * unit)
        .find(|step| *step >= rough);
    let Some(step) = step.filter(|s| s.is_finite() && *s > 0.0) else {
        return Vec::new();
    };
    let first = (low / step).ceil();
    (0..=10)
        .map(|i| (first + f64::from(i)) * step)
        .take_while(|at| *at <= high + step * 1e-6)
        .collect()
}

/// A number of a tick.
fn short(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-3..1e6).contains(&size) {
        return format!("{value:.2e}");
    }
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peaks_survive_and_gaps_stay() {
        let mut points: Vec<(f64, f64)> = (0..100_000).map(|i| (f64::from(i), 1.0)).collect();
        points[54_321].1 = 9.0;
        let thinned = thin(&points);
        assert!(thinned.len() <= POINTS_MAX + 2 && thinned.contains(&(54_321.0, 9.0)));
        let mut out = Html::default();
        let points = vec![(0.0, 1.0), (1.0, f64::NAN), (2.0, 3.0)];
        chart(&mut out, "<loss>", &[Line { run: 1, points }]);
        assert_eq!(out.0.matches('M').count(), 2, "{}", out.0);
        assert!(out.0.contains("<title>&lt;loss&gt;</title>") && !out.0.contains("NaN"));
        let mut empty = Html::default();
        chart(
            &mut empty,
            "none",
            &[Line {
                run: 0,
                points: vec![],
            }],
        );
        assert!(!empty.0.contains("NaN") && !empty.0.contains("inf"));
    }

    #[test]
    fn ticks_are_round() {
        for ((low, high), want) in [
            ((0.0, 49.0), "0 10 20 30 40"),
            ((0.2, 0.9612), "0.2 0.4 0.6 0.8"),
            ((-3.0, 3.0), "-2 0 2"),
        ] {
            let found: Vec<String> = ticks((low, high)).into_iter().map(short).collect();
            assert_eq!(found.join(" "), want);
        }
        assert!(ticks((1.0, 1.0 + f64::EPSILON)).len() <= 11);
        assert!(ticks((f64::MIN, f64::MAX)).len() <= 11);
    }

    #[test]
    fn ticks_are_short() {
        for (value, want) in [
            (0.5, "0.5"),
            (10.0, "10"),
            (1e-7, "1.00e-7"),
            (-0.25, "-0.25"),
        ] {
            assert_eq!(short(value), want);
        }
    }
}
