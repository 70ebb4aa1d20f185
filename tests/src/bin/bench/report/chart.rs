//! The chart: a panel per figure with a bar per contender, as an SVG that reads on light and on dark pages.
//!
//! Bars are medians, whiskers the lowest and highest round. What runs without a tunnel is written beside the title: its
//! bar would dwarf all others.

use std::fmt::{self, Write};

use super::{Report, Row};
use crate::contender::{BORINGTUN, NO_TUNNEL};
use crate::measure::metric::{Better, Metric};

const PANELS: [Metric; 6] = [
    Metric::TcpUp1,
    Metric::TcpUp4,
    Metric::Processor,
    Metric::UdpSmall,
    Metric::IdleRtt,
    Metric::Memory,
];

const COLUMNS: usize = 2;
const PANEL_WIDTH: f64 = 450.0;
/// Names of contenders stand left of the bars, figures right of them.
const NAME_WIDTH: f64 = 110.0;
const LABEL_WIDTH: f64 = 110.0;
const BAR_WIDTH: f64 = PANEL_WIDTH - NAME_WIDTH - LABEL_WIDTH - 20.0;
const TITLE_HEIGHT: f64 = 40.0;
const BAR_HEIGHT: f64 = 14.0;
const LINE_HEIGHT: f64 = 22.0;
const HEAD: f64 = 80.0;
const MARGIN: f64 = 16.0;

const STYLE: &str = "\
svg{background:#fff;font:12px system-ui,sans-serif}\
text{fill:#24292f}.soft{fill:#57606a}.head{font-size:17px;font-weight:600}.title{font-size:13px;font-weight:600}\
.name,.ours{text-anchor:end}.ours{font-weight:600}.bar{fill:#8c959f}.bar.ours{fill:#0969da}.range{stroke:#24292f;stroke-width:1}\
@media(prefers-color-scheme:dark){svg{background:#0d1117}text{fill:#e6edf3}.soft{fill:#8d96a0}.bar{fill:#6e7681}.bar.ours{fill:#4493f8}\
.range{stroke:#e6edf3}}";

/// The whole drawing.
pub(super) fn draw(report: &Report) -> String {
    let mut svg = String::new();
    // Writing to a String cannot fail.
    let _infallible = drawing(report, &mut svg);
    svg
}

fn drawing(report: &Report, svg: &mut String) -> fmt::Result {
    let bars: Vec<&Row> = report.rows.iter().filter(|row| row.name != NO_TUNNEL).collect();
    let measured = report.metrics();
    let panels: Vec<Metric> = PANELS
        .into_iter()
        .filter(|metric| measured.contains(metric))
        .collect();
    let panel_height = TITLE_HEIGHT + LINE_HEIGHT * bars.len() as f64 + MARGIN;
    let (width, height) = (
        PANEL_WIDTH * COLUMNS as f64 + MARGIN * 2.0,
        HEAD + panel_height * panels.len().div_ceil(COLUMNS) as f64 + MARGIN,
    );
    writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\">\
         <title>Userspace WireGuards, side by side</title><style>{STYLE}</style>"
    )?;
    text(svg, MARGIN, 30.0, "head", "Userspace WireGuards, side by side")?;
    let machine = &report.machine;
    let where_and_when = format!("{} · {}", machine.describe(), machine.date);
    text(svg, MARGIN, 50.0, "soft", &where_and_when)?;
    let how = format!(
        "medians (rounds: {}), whiskers from lowest to highest, in brackets the ratio to {BORINGTUN}",
        report.rounds
    );
    text(svg, MARGIN, 66.0, "soft", &how)?;
    for (number, metric) in panels.into_iter().enumerate() {
        let at = Corner {
            x: MARGIN + PANEL_WIDTH * (number % COLUMNS) as f64,
            y: HEAD + panel_height * (number / COLUMNS) as f64,
        };
        panel(report, &bars, metric, at, svg)?;
    }
    writeln!(svg, "</svg>")
}

/// Where something begins, in pixels from the top left.
#[derive(Clone, Copy)]
struct Corner {
    x: f64,
    y: f64,
}

fn panel(report: &Report, bars: &[&Row], metric: Metric, at: Corner, svg: &mut String) -> fmt::Result {
    let (title, unit) = metric.title();
    let better = match metric.better() {
        Better::Higher => "more is better",
        Better::Lower => "less is better",
    };
    text(svg, at.x, at.y + 18.0, "title", &format!("{title}, {unit}"))?;
    let bare = report.row(NO_TUNNEL).and_then(|row| row.values(metric));
    let bare = bare.map(|values| format!(" · no tunnel: {}", Metric::show(values.median())));
    let note = format!("{better}{}", bare.unwrap_or_default());
    text(svg, at.x, at.y + 33.0, "soft", &note)?;
    let highest = |row: &&Row| row.values(metric).map(|values| values.most());
    let most = bars.iter().filter_map(highest).fold(f64::MIN_POSITIVE, f64::max);
    for (number, row) in bars.iter().enumerate() {
        let line = Corner {
            x: at.x,
            y: at.y + TITLE_HEIGHT + LINE_HEIGHT * number as f64,
        };
        bar(report, row, metric, most, line, svg)?;
    }
    Ok(())
}

/// A name, a bar, its whisker, its figure and how it stands to boringtun-cli.
fn bar(report: &Report, row: &Row, metric: Metric, most: f64, at: Corner, svg: &mut String) -> fmt::Result {
    let ours = if row.name.starts_with("meshnode") {
        " ours"
    } else {
        ""
    };
    let (left, base, middle) = (
        at.x + NAME_WIDTH,
        at.y + BAR_HEIGHT - 2.0,
        at.y + BAR_HEIGHT / 2.0,
    );
    text(svg, left - 8.0, base, &format!("name{ours}"), &row.name)?;
    let Some(values) = row.values(metric) else {
        return text(svg, left, base, "soft", "not measured");
    };
    let place = |value: f64| value / most * BAR_WIDTH;
    writeln!(
        svg,
        "<rect class=\"bar{ours}\" x=\"{left}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{BAR_HEIGHT}\" rx=\"2\"/>",
        at.y,
        place(values.median()).max(1.0)
    )?;
    let (from, to) = (left + place(values.least()), left + place(values.most()));
    writeln!(
        svg,
        "<path class=\"range\" d=\"M{from:.1} {middle:.1}H{to:.1}\"/>"
    )?;
    let ratio = report.ratio(&row.name, BORINGTUN, metric);
    let ratio = ratio.filter(|_| row.name != BORINGTUN);
    let ratio = ratio.map(|ratio| format!(" ({} ×)", Metric::show(ratio)));
    let label = format!("{}{}", Metric::show(values.median()), ratio.unwrap_or_default());
    text(
        svg,
        to.max(left + place(values.median())) + 6.0,
        base,
        "value",
        &label,
    )
}

fn text(svg: &mut String, x: f64, y: f64, class: &str, words: &str) -> fmt::Result {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    writeln!(
        svg,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{words}</text>"
    )
}
