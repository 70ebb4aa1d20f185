//! `meshnode explain SRC DST`: what happens to a packet, and why.

use clap::Args;

use crate::api::types::{Arrival, Candidate, Explanation, Finding, Outcome, Way};
use crate::output::style::{Paint, Style};
use crate::output::table::{Listing, cell, plain, screen_width};
use crate::output::{Failure, duration, wrap};

use super::context::Context;
use super::peers::{health, percent};
use super::watch;

/// Options of `explain`.
#[derive(Debug, Args)]
pub struct Options {
    /// Inner source: an address, or the name of a node
    #[arg(value_name = "SRC")]
    source: String,
    /// Inner destination: an address, or the name of a node
    #[arg(value_name = "DST")]
    destination: String,
    /// As if the packet came out of this node's tunnel [default: from where such a packet would come]
    #[arg(long, value_name = "NODE")]
    from: Option<String>,
    /// Print JSON, with every field
    #[arg(long)]
    json: bool,
}

impl Options {
    pub fn run(&self, context: &Context<'_>) -> Result<(), Failure> {
        let node = context.node()?;
        let from = self
            .from
            .as_ref()
            .map_or(String::new(), |from| format!("&from={from}"));
        let question = format!(
            "/v1/explain?source={}&destination={}{from}",
            self.source, self.destination
        );
        let answer: Explanation = context.block_on(async { Ok(node.get(&question).await?) })?;
        let style = context.console.style();
        context.console.print(match self.json {
            true => watch::json(&answer)?,
            false => draw(&answer, style, screen_width().map(usize::from)),
        })
    }
}

/// Width of the labels and the blanks around them.
const INDENT: usize = 12;

/// The story: the outcome, what led to it, and everybody who could have had the packet.
pub fn draw(answer: &Explanation, style: Style, screen: Option<usize>) -> String {
    let line = |label: &str, text: &str| {
        let label = style.paint(Paint::Dim, format_args!("{label:<8}"));
        format!("  {label}  {}", wrap::hanging(text, INDENT, screen))
    };
    let mut lines = vec![headline(answer, style), String::new()];
    lines.push(line("arrives", &arrives(&answer.arrives)));
    let mut finding = |label: &str, found: &Option<Finding>| {
        lines.extend(found.as_ref().map(|found| line(label, &found.text)));
    };
    finding("source", &answer.source_check);
    finding("kernel", &answer.kernel);
    lines.extend(
        answer
            .prefix
            .map(|prefix| line("prefix", &format!("{prefix} is the longest that is routed"))),
    );
    lines.extend(answer.gateways.iter().map(|way| line("path", &path(way))));
    lines.extend(
        answer
            .gateways
            .first()
            .and_then(|way| way.mtu)
            .map(|mtu| line("size", &size(mtu))),
    );
    lines.push(line(word(answer.outcome), &answer.text));
    lines.extend(answer.fix.as_ref().map(|fix| line("fix", fix)));
    if !answer.candidates.is_empty() {
        lines.extend([String::new(), candidates(&answer.candidates, style)]);
    }
    lines.join("\n")
}

fn headline(answer: &Explanation, style: Style) -> String {
    let names: Vec<&str> = answer.gateways.iter().map(|way| way.node.as_str()).collect();
    let to = match (answer.outcome, answer.drop_reason.as_deref()) {
        (Outcome::Forwarded, _) => style.paint(Paint::Good, format_args!("goes to {}", names.join(" or "))),
        (Outcome::Delivered, _) => style.paint(Paint::Good, "delivered here"),
        (Outcome::Lost, _) => style.paint(
            Paint::Bad,
            format_args!("lost on the way to {}", names.join(" or ")),
        ),
        (Outcome::Waits, _) => style.paint(Paint::Warn, format_args!("waits for {}", names.join(" or "))),
        (Outcome::Elsewhere, _) => style.paint(Paint::Warn, "not meshnode's"),
        (Outcome::Dropped, reason) => style.paint(
            Paint::Bad,
            format_args!("dropped: {}", reason.unwrap_or("unknown")),
        ),
    };
    format!("{} → {}  {to}", answer.source, answer.destination)
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Dropped => "dropped",
        Outcome::Waits => "waits",
        Outcome::Lost => "lost",
        _ => "so",
    }
}

fn arrives(arrival: &Arrival) -> String {
    match arrival {
        Arrival::Host => "from this host, or a host behind it".to_owned(),
        Arrival::Peer(name) => format!("out of the tunnel from {name}"),
        Arrival::Client(name) => format!("out of the tunnel of the attached device {name}"),
    }
}

/// `hk: direct to 203.0.113.9:51820, up for 3m 2s, 12.4 ms, 0 % lost, proven 0.3 s ago`.
fn path(way: &Way) -> String {
    let straight = way.endpoint.filter(|_| way.relay.is_none());
    let to = straight.map_or(String::new(), |endpoint| format!(" to {endpoint}"));
    let since = way.since_s.map_or(String::new(), |since| {
        format!(" for {}", duration::coarse(since as u64))
    });
    let mut parts = vec![
        format!("{}: {}{to}", way.node, way.path),
        format!("{}{since}", way.health),
    ];
    parts.extend(way.rtt_ms.map(duration::millis));
    parts.extend(way.loss.map(|loss| format!("{} lost", percent(loss))));
    parts.extend(way.proven_s.map(|at| format!("last answer {at:.1} s ago")));
    parts.join(", ")
}

fn size(mtu: u16) -> String {
    format!(
        "up to {mtu} bytes pass whole; larger: TCP is cut, IPv4 is fragmented, what forbids that is dropped as too_big \
         and its sender told"
    )
}

fn candidates(candidates: &[Candidate], style: Style) -> String {
    let titles = ["PREFIX", "NODE", "STATE", "PRIORITY", "PATH", "RTT", "REASON"];
    let mut table = Listing::new(style, &titles).right(&[3, 5]);
    for candidate in candidates {
        let state = match candidate.state.as_str() {
            "active" => Paint::Good,
            "rejected" => Paint::Bad,
            _ => Paint::Dim,
        };
        table.row([
            plain(candidate.prefix),
            (candidate.node.clone(), Some(Paint::Strong)),
            cell(state, &candidate.state),
            plain(
                candidate
                    .priority
                    .map_or("-".to_owned(), |priority| priority.to_string()),
            ),
            health(&candidate.health),
            plain(candidate.rtt_ms.map_or("-".to_owned(), duration::millis)),
            plain(candidate.reason.as_deref().unwrap_or_default()),
        ]);
    }
    table.render()
}
