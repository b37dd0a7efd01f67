//! Charts as SVG, in the colours of the book's other figures: they are read on light and on dark pages.

use std::fmt::Write as _;

/// A share of something, and what it is to be at most.
pub(crate) struct Bar {
    pub(crate) label: String,
    pub(crate) ratio: f64,
    pub(crate) bound: Option<f64>,
}

/// Points joined by a line, in one of the style's colours.
pub(crate) struct Line {
    pub(crate) name: &'static str,
    pub(crate) class: &'static str,
    pub(crate) points: Vec<(f64, f64)>,
}

const STYLE: &str = "  <style>
    text { font: 13px sans-serif; fill: #7d8590; } .s { font-size: 11px; } .h { font-weight: bold; } .e { text-anchor: end; }
    .m { text-anchor: middle; } rect.t { fill: #f7c274; stroke: #c08420; } .l { stroke: #8792a2; } .g { stroke: #8792a2; opacity: 0.3; }
    .b { stroke: #c0392b; stroke-width: 2; } polyline { fill: none; stroke-width: 2.5; } polyline.t { stroke: #c08420; }
    polyline.f { stroke: #8792a2; } polyline.n { stroke: #3c8a73; stroke-width: 1.5; stroke-dasharray: 5 4; }
    text.t { fill: #c08420; } text.f { fill: #8792a2; } text.n { fill: #3c8a73; }
  </style>
";

/// Opens a drawing, which is described by its title.
fn open(title: &str, width: f64, height: f64) -> String {
    let title = escaped(title);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         role=\"img\">\n  <title>{title}</title>\n{STYLE}  <text class=\"h\" x=\"12\" y=\"22\">{title}</text>\n"
    )
}

fn text(svg: &mut String, class: &str, [x, y]: [f64; 2], words: &str) {
    let _ = writeln!(svg, "  <text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", escaped(words));
}

fn line(svg: &mut String, class: &str, [x1, y1, x2, y2]: [f64; 4]) {
    let _ = writeln!(svg, "  <line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>");
}

fn escaped(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Bars from zero, with a line at one and a mark at what is to be reached.
pub(crate) fn bars(title: &str, bars: &[Bar]) -> String {
    const ROW: f64 = 26.0;
    const WIDE: f64 = 380.0;
    // A letter of the labels, at most, in most fonts.
    const LETTER: f64 = 7.6;
    let longest = bars.iter().map(|bar| bar.label.chars().count()).max().unwrap_or(0);
    let left = (longest as f64 * LETTER + 20.0).max(300.0);
    let most = bars.iter().map(|bar| bar.ratio).fold(1.1, f64::max);
    let at = |ratio: f64| left + ratio / most * WIDE;
    let bottom = 50.0 + ROW * bars.len() as f64;
    let mut svg = open(title, left + WIDE + 60.0, bottom + 30.0);
    for (bar, row) in bars.iter().zip(0..) {
        let y = 44.0 + ROW * f64::from(row);
        text(&mut svg, "e", [left - 10.0, y + 14.0], &bar.label);
        let width = (at(bar.ratio) - left).max(1.0);
        let _ = writeln!(
            svg,
            "  <rect class=\"t\" x=\"{left}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"18\" rx=\"2\"/>"
        );
        if let Some(bound) = bar.bound.filter(|bound| *bound <= most) {
            line(&mut svg, "b", [at(bound), y - 3.0, at(bound), y + 21.0]);
        }
        text(&mut svg, "s", [left + WIDE + 12.0, y + 13.0], &format!("{:.2}", bar.ratio));
    }
    line(&mut svg, "l", [at(1.0), 38.0, at(1.0), bottom]);
    line(&mut svg, "l", [left, 38.0, left, bottom]);
    text(&mut svg, "s m", [at(1.0), bottom + 16.0], "1");
    if bars.iter().any(|bar| bar.bound.is_some()) {
        text(&mut svg, "s e", [left - 10.0, bottom + 16.0], "red: must be reached");
    }
    svg + "</svg>\n"
}

/// Lines over axes that are both logarithmic: what grows in proportion is straight.
pub(crate) fn lines(title: &str, across: &str, lines: &[Line]) -> String {
    const BOX: [f64; 4] = [60.0, 44.0, 560.0, 324.0];
    let [left, top, right, bottom] = BOX;
    let all = || lines.iter().flat_map(|line| &line.points);
    let range = |of: fn(&(f64, f64)) -> f64| {
        let values = all().map(of);
        let (least, most) = values.fold((f64::MAX, f64::MIN), |(least, most), v| (least.min(v), most.max(v)));
        (least.max(f64::MIN_POSITIVE).ln(), most.max(least * 1.01).max(f64::MIN_POSITIVE).ln())
    };
    let (xs, ys) = (range(|point| point.0), range(|point| point.1));
    let x_at = |x: f64| left + (x.ln() - xs.0) / (xs.1 - xs.0) * (right - left);
    let y_at = |y: f64| bottom - (y.ln() - ys.0) / (ys.1 - ys.0) * (bottom - top);
    let mut svg = open(title, 720.0, 370.0);
    let mut marks: Vec<f64> = all().map(|point| point.0).collect();
    marks.sort_by(f64::total_cmp);
    marks.dedup();
    for x in marks {
        line(&mut svg, "g", [x_at(x), top, x_at(x), bottom]);
        text(&mut svg, "s m", [x_at(x), bottom + 16.0], &format!("{x}"));
    }
    for y in decades(ys.0.exp(), ys.1.exp()) {
        line(&mut svg, "g", [left, y_at(y), right, y_at(y)]);
        text(&mut svg, "s e", [left - 6.0, y_at(y) + 4.0], &format!("{y}"));
    }
    text(&mut svg, "s m", [(left + right) / 2.0, bottom + 36.0], across);
    let mut labels: Vec<(f64, &Line)> = Vec::new();
    for drawn in lines {
        let points: Vec<String> = drawn.points.iter().map(|&(x, y)| format!("{:.1},{:.1}", x_at(x), y_at(y))).collect();
        let _ = writeln!(svg, "  <polyline class=\"{}\" points=\"{}\"/>", drawn.class, points.join(" "));
        labels.extend(drawn.points.last().map(|last| (y_at(last.1), drawn)));
    }
    // A line's name stands at its end, or below the one that is there.
    labels.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut free = f64::MIN;
    for (y, drawn) in labels {
        let y = y.max(free);
        text(&mut svg, drawn.class, [right + 8.0, y + 4.0], drawn.name);
        free = y + 16.0;
    }
    svg + "</svg>\n"
}

/// 1, 2 and 5 times the powers of ten between two numbers.
fn decades(least: f64, most: f64) -> Vec<f64> {
    let powers = (least.log10().floor() as i32)..=(most.log10().ceil() as i32);
    let steps = powers.flat_map(|power| [1.0, 2.0, 5.0].map(|step| step * 10f64.powi(power)));
    steps.filter(|value| (least..=most).contains(value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_its_ratio() {
        let bar = |ratio| Bar { label: "a < b".to_string(), ratio, bound: Some(0.85) };
        let svg = bars("Title", &[bar(0.5), bar(1.0)]);
        let widths: Vec<f64> = svg
            .lines()
            .filter(|line| line.contains("<rect"))
            .map(|line| line.split("width=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap())
            .collect();
        assert!((widths[1] / widths[0] - 2.0).abs() < 0.01, "{widths:?}");
        assert!(svg.contains("a &lt; b") && svg.matches("class=\"b\"").count() == 2);
    }

    #[test]
    fn what_doubles_is_straight() {
        let points = [1.0, 2.0, 4.0, 8.0].map(|x| (x, 3.0 * x)).to_vec();
        let svg = lines("Title", "rows", &[Line { name: "ours", class: "t", points }]);
        let drawn = svg.lines().find(|line| line.contains("<polyline")).unwrap();
        let ys: Vec<f64> = drawn
            .split("points=\"")
            .nth(1)
            .unwrap()
            .trim_end_matches("\"/>")
            .split(' ')
            .map(|point| point.split(',').nth(1).unwrap().parse().unwrap())
            .collect();
        let steps: Vec<f64> = ys.windows(2).map(|pair| pair[0] - pair[1]).collect();
        assert!(steps.iter().all(|step| (step - steps[0]).abs() < 0.2 && *step > 0.0), "{ys:?}");
    }

    #[test]
    fn an_axis_has_round_numbers() {
        assert_eq!(decades(3.0, 60.0), [5.0, 10.0, 20.0, 50.0]);
    }
}
