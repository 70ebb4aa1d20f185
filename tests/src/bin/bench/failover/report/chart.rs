//! The chart: a line per failure and size, on a logarithmic scale, as an SVG that reads on light and on dark pages.
//!
//! The bar goes from the median to the 99th percentile, the tick is the longest gap, the triangle is the target.

use std::fmt::{self, Write};

use super::{Report, Row, Target};

const TEXT_WIDTH: f64 = 420.0;
const SCALE_WIDTH: f64 = 480.0;
/// Median and 99th percentile in figures, right of the scale.
const FIGURES_WIDTH: f64 = 130.0;
const LINE_HEIGHT: f64 = 22.0;
const HEAD: f64 = 96.0;
const MARGIN: f64 = 16.0;
const BAR_HEIGHT: f64 = 10.0;
/// The ends of the scale, in milliseconds; what is shorter or longer stands at its end.
const LEAST: f64 = 1.0;
const MOST: f64 = 30_000.0;

const STYLE: &str = "\
svg{background:#fff;font:12px system-ui,sans-serif}\
text{fill:#24292f}.soft{fill:#57606a}.head{font-size:17px;font-weight:600}.name{text-anchor:end}.at{text-anchor:middle}\
.met{fill:#0969da}.missed{fill:#cf222e}.most{stroke:#24292f}.grid{stroke:#d0d7de}.target{fill:#24292f}\
@media(prefers-color-scheme:dark){svg{background:#0d1117}text{fill:#e6edf3}.soft{fill:#8d96a0}.met{fill:#4493f8}\
.missed{fill:#f85149}.most{stroke:#e6edf3}.grid{stroke:#30363d}.target{fill:#e6edf3}}";

/// The whole drawing.
pub(super) fn draw(report: &Report) -> String {
    let mut svg = String::new();
    // Writing to a String cannot fail.
    let _infallible = drawing(report, &mut svg);
    svg
}

fn drawing(report: &Report, svg: &mut String) -> fmt::Result {
    let (width, height) = (
        TEXT_WIDTH + SCALE_WIDTH + FIGURES_WIDTH + MARGIN * 3.0,
        HEAD + LINE_HEIGHT * report.rows.len() as f64 + MARGIN,
    );
    writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\">\
         <title>Failover: how long traffic stands still</title><style>{STYLE}</style>"
    )?;
    text(svg, MARGIN, 30.0, "head", "How long traffic stands still")?;
    let machine = &report.machine;
    let where_and_when = format!("{} · {}", machine.describe(), machine.date);
    text(svg, MARGIN, 50.0, "soft", &where_and_when)?;
    let how = "bar and figures: median to 99th percentile, line: to the longest, triangle: target; a stream of 1,000 packets/s";
    text(svg, MARGIN, 66.0, "soft", how)?;
    grid(svg, height)?;
    for (number, row) in report.rows.iter().enumerate() {
        line(row, HEAD + LINE_HEIGHT * number as f64, svg)?;
    }
    writeln!(svg, "</svg>")
}

fn grid(svg: &mut String, height: f64) -> fmt::Result {
    let marks = [
        (1.0, "1 ms"),
        (10.0, "10 ms"),
        (100.0, "100 ms"),
        (1_000.0, "1 s"),
        (10_000.0, "10 s"),
    ];
    for (value, words) in marks {
        let x = place(value);
        let bottom = height - MARGIN;
        writeln!(
            svg,
            "<path class=\"grid\" d=\"M{x:.1} {:.1}V{bottom:.1}\"/>",
            HEAD - 6.0
        )?;
        text(svg, x, HEAD - 10.0, "soft at", words)?;
    }
    Ok(())
}

fn line(row: &Row, top: f64, svg: &mut String) -> fmt::Result {
    let base = top + BAR_HEIGHT;
    let name = format!("{} · {} nodes", row.failure.title, row.nodes);
    text(svg, TEXT_WIDTH, base, "name", &name)?;
    let Some(gaps) = row.gaps() else {
        return text(svg, place(LEAST) + 6.0, base, "soft", "not measured");
    };
    let (from, to, most) = (
        place(gaps.percentile(0.5)),
        place(gaps.percentile(0.99)),
        place(gaps.most()),
    );
    let (class, width) = (row.verdict(), (to - from).max(2.0));
    writeln!(
        svg,
        "<rect class=\"{class}\" x=\"{from:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{BAR_HEIGHT}\" rx=\"2\"/>\
         <path class=\"most\" d=\"M{from:.1} {middle:.1}H{most:.1}M{most:.1} {top:.1}v{BAR_HEIGHT}\"/>",
        middle = top + BAR_HEIGHT / 2.0
    )?;
    let figures = format!("{:.0} – {:.0} ms", gaps.percentile(0.5), gaps.percentile(0.99));
    let right = TEXT_WIDTH + MARGIN * 2.0 + SCALE_WIDTH;
    text(svg, right, base, "figures", &figures)?;
    if let Target::Gap { p99, .. } = row.failure.target {
        let x = place(p99);
        writeln!(svg, "<path class=\"target\" d=\"M{x:.1} {base:.1}l-4 7h8z\"/>")?;
    }
    Ok(())
}

/// Where a gap of so many milliseconds stands.
fn place(milliseconds: f64) -> f64 {
    let share = (milliseconds.clamp(LEAST, MOST) / LEAST).ln() / (MOST / LEAST).ln();
    TEXT_WIDTH + MARGIN + SCALE_WIDTH * share
}

fn text(svg: &mut String, x: f64, y: f64, class: &str, words: &str) -> fmt::Result {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    writeln!(
        svg,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{words}</text>"
    )
}
