//! `meshnode peers`: the other nodes, and the records that do not count.

use clap::Args;
use ipnet::IpNet;

use crate::api::types::{PeerState, PeerStatus, Peers, RejectedRecord};
use crate::output::style::{Paint, Style};
use crate::output::table::{Listing, cell, dash_if_empty, plain};
use crate::output::{Failure, duration, size};

use super::context::Context;
use super::watch::View;

/// Loss from which on a path deserves a look.
const LOSS_WARN: f64 = 0.02;
/// Loss from which on it is bad.
const LOSS_BAD: f64 = 0.2;

/// Options of `peers`.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    view: View,
}

impl Options {
    pub fn run(&self, context: &Context<'_>) -> Result<(), Failure> {
        self.view.show(context, "/v1/peers", draw)
    }
}

/// All that is known of the others.
pub fn draw(answer: &Peers, style: Style) -> String {
    let mut parts = vec![match answer.peers.is_empty() {
        true => "No other node is known.".to_owned(),
        false => long_table(&answer.peers, style).unwrap_or_else(|| blocks(&answer.peers, style)),
    }];
    if !answer.rejected.is_empty() {
        parts.push(rejected_table(&answer.rejected, style));
    }
    parts.join("\n\n")
}

/// What `status` shows of the others: on a narrow screen without the counters, then without endpoints.
pub fn short_table(peers: &[PeerStatus], style: Style) -> String {
    let full = short_table_without(&[], peers, style);
    if !full.is_too_wide() {
        return full.render();
    }
    let narrow = short_table_without(&["SENT", "RECEIVED"], peers, style);
    if !narrow.is_too_wide() {
        return narrow.render();
    }
    short_table_without(&["ENDPOINT", "SENT", "RECEIVED"], peers, style).render()
}

fn short_table_without(left_out: &[&str], peers: &[PeerStatus], style: Style) -> Listing {
    let titles = [
        "PEER", "STATE", "ENDPOINT", "RTT", "LOSS", "SENT", "RECEIVED", "SERVES",
    ];
    let shown: Vec<&str> = titles
        .into_iter()
        .filter(|title| !left_out.contains(title))
        .collect();
    let numbers = |title: &&str| matches!(*title, "RTT" | "LOSS" | "SENT" | "RECEIVED");
    let right: Vec<usize> = (0..shown.len()).filter(|index| numbers(&shown[*index])).collect();
    let mut table = Listing::new(style, &shown).right(&right);
    for peer in peers {
        let cells = [
            (peer.name.clone(), Some(Paint::Strong)),
            state(peer),
            plain(endpoint(peer)),
            plain(rtt(peer.rtt_ms)),
            loss(peer.loss),
            plain(size::bytes(peer.tx_bytes)),
            plain(size::bytes(peer.rx_bytes)),
            plain(cidrs(peer)),
        ];
        let cells = titles
            .into_iter()
            .zip(cells)
            .filter(|(title, _)| !left_out.contains(title));
        table.row(cells.map(|(_, cell)| cell));
    }
    table
}

/// `None` if the screen is too narrow for it.
fn long_table(peers: &[PeerStatus], style: Style) -> Option<String> {
    let titles = [
        "PEER",
        "ID",
        "STATE",
        "ENDPOINT",
        "PATH",
        "RTT",
        "JITTER",
        "LOSS OUT/IN",
        "MTU",
        "HANDSHAKE",
        "ADDRESS",
        "SERVES",
    ];
    let mut table = Listing::new(style, &titles).right(&[5, 6, 7, 8]);
    for peer in peers {
        table.row([
            (peer.name.clone(), Some(Paint::Strong)),
            plain(peer.id.get(..8).unwrap_or(&peer.id)),
            state(peer),
            plain(endpoint(peer)),
            plain(&peer.path),
            plain(rtt(peer.rtt_ms)),
            plain(rtt(peer.jitter_ms)),
            both_ways(peer),
            plain(peer.mtu.map_or("-".to_owned(), |mtu| mtu.to_string())),
            plain(duration::ago(peer.last_handshake_s)),
            plain(peer.mesh_ip),
            plain(cidrs(peer)),
        ]);
    }
    (!table.is_too_wide()).then(|| table.render())
}

/// What the long table says, in the manner of `wg show`.
fn blocks(peers: &[PeerStatus], style: Style) -> String {
    peers
        .iter()
        .map(|peer| block(peer, style))
        .collect::<Vec<_>>()
        .join("\n\n")
}

fn block(peer: &PeerStatus, style: Style) -> String {
    let (state, paint) = state(peer);
    let state = style.paint(paint.unwrap_or(Paint::Dim), state);
    let line = |label: &str, text: String| {
        format!(
            "\n  {} {text}",
            style.paint(Paint::Dim, format_args!("{label:<9}"))
        )
    };
    let mut text = format!("{}  {state}", style.paint(Paint::Strong, &peer.name));
    text += &line("id", peer.id.clone());
    text += &line("endpoint", format!("{} ({})", endpoint(peer), peer.path));
    text += &line("address", peer.mesh_ip.to_string());
    text += &line("serves", cidrs(peer));
    if peer.rtt_ms.is_some() {
        text += &line(
            "path",
            format!(
                "rtt {}, jitter {}, lost out/in {}",
                rtt(peer.rtt_ms),
                rtt(peer.jitter_ms),
                both_ways(peer).0
            ),
        );
    }
    if let (Some(minute), Some(five)) = (peer.loss_1m, peer.loss_5m) {
        text += &line(
            "lost",
            format!("{} over 1 min, {} over 5 min", percent(minute), percent(five)),
        );
    }
    if let (Some(out), Some(back)) = (peer.variation_out_ms, peer.variation_in_ms) {
        text += &line(
            "varies",
            format!("{} out, {} in", duration::millis(out), duration::millis(back)),
        );
    }
    text += &line("handshake", duration::ago(peer.last_handshake_s));
    text + &line(
        "transfer",
        format!(
            "{} sent, {} received",
            size::bytes(peer.tx_bytes),
            size::bytes(peer.rx_bytes)
        ),
    )
}

fn rejected_table(rejected: &[RejectedRecord], style: Style) -> String {
    let mut table = Listing::new(style, &["REJECTED", "FROM", "REASON", "TIMES", "LAST"]).right(&[3]);
    for record in rejected {
        table.row([
            plain(record.name.as_deref().unwrap_or("-")),
            plain(source(&record.source)),
            cell(Paint::Bad, record.reason.replace('_', " ")),
            plain(record.count),
            plain(duration::ago(Some(record.last_s))),
        ]);
    }
    table.render()
}

/// Ids are cut, addresses are not.
fn source(source: &str) -> &str {
    match source.len() == 64 && source.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => &source[..8],
        false => source,
    }
}

/// The health of the path where it says more than whether the peer is up.
fn state(peer: &PeerStatus) -> (String, Option<Paint>) {
    match peer.state {
        PeerState::Up if !peer.health.is_empty() => health(&peer.health),
        PeerState::Up => cell(Paint::Good, "up"),
        PeerState::Connecting => cell(Paint::Warn, "connecting"),
        PeerState::Down => cell(Paint::Bad, "down"),
    }
}

/// The health of a path, painted.
pub fn health(word: &str) -> (String, Option<Paint>) {
    match word {
        "up" => cell(Paint::Good, word),
        "degraded" | "connecting" => cell(Paint::Warn, word),
        _ => cell(Paint::Bad, word),
    }
}

fn endpoint(peer: &PeerStatus) -> String {
    match (peer.endpoint, peer.path.as_str()) {
        (Some(endpoint), _) => endpoint.to_string(),
        (None, "direct" | "") => "-".to_owned(),
        (None, path) => path.to_owned(),
    }
}

fn rtt(milliseconds: Option<f64>) -> String {
    milliseconds.map_or("-".to_owned(), duration::millis)
}

fn cidrs(peer: &PeerStatus) -> String {
    dash_if_empty(
        peer.cidrs
            .iter()
            .map(IpNet::to_string)
            .collect::<Vec<_>>()
            .join(", "),
    )
}

pub fn loss(ratio: Option<f64>) -> (String, Option<Paint>) {
    match ratio {
        None => plain("-"),
        Some(ratio) => (percent(ratio), loss_paint(ratio)),
    }
}

fn both_ways(peer: &PeerStatus) -> (String, Option<Paint>) {
    match (peer.loss_out, peer.loss_in) {
        (None, None) => loss(peer.loss),
        (out, back) => {
            let one = |ratio: Option<f64>| ratio.map_or("-".to_owned(), percent);
            (
                format!("{} / {}", one(out), one(back)),
                loss_paint(out.unwrap_or(0.0).max(back.unwrap_or(0.0))),
            )
        }
    }
}

fn loss_paint(ratio: f64) -> Option<Paint> {
    match ratio {
        ratio if ratio >= LOSS_BAD => Some(Paint::Bad),
        ratio if ratio >= LOSS_WARN => Some(Paint::Warn),
        _ => None,
    }
}

/// `0 %`, `0.4 %`, `12 %`.
pub fn percent(ratio: f64) -> String {
    match ratio * 100.0 {
        0.0 => "0 %".to_owned(),
        percent if percent < 9.95 => format!("{percent:.1} %"),
        percent => format!("{percent:.0} %"),
    }
}
