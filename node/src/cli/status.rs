//! `meshnode status`: this node, its peers, what needs a look.

use clap::Args;
use ipnet::IpNet;

use crate::api::types::{ClientStatus, LaneStatus, NodeStatus, RouteState, Status};
use crate::output::style::{Paint, Style};
use crate::output::table::{Listing, dash_if_empty, plain};
use crate::output::{Failure, duration, size};

use super::context::{Context, now};
use super::watch::View;
use super::{peers, routes};

/// A grant that ends sooner than this was not renewed in time.
const GRANT_WORRY_MS: u64 = 30 * 86_400 * 1000;

/// Options of `status`.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    view: View,
}

impl Options {
    pub fn run(&self, context: &Context<'_>) -> Result<(), Failure> {
        self.view.show(context, "/v1/status", |status: &Status, style| {
            draw(status, style, now().0)
        })
    }
}

/// The whole picture; `now_ms` in Unix milliseconds.
pub fn draw(status: &Status, style: Style, now_ms: u64) -> String {
    let mut parts = vec![head(status, style)];
    parts.push(match status.peers.is_empty() {
        true => "No other node is known yet: `meshnode invite` prints a token for one.".to_owned(),
        false => peers::short_table(&status.peers, style),
    });
    let odd: Vec<_> = status
        .routes
        .iter()
        .filter(|route| route.state != RouteState::Active)
        .cloned()
        .collect();
    if !odd.is_empty() {
        parts.push(routes::table(&odd, style));
    }
    if !status.clients.is_empty() {
        parts.push(clients_table(&status.clients, style));
    }
    let warnings: Vec<String> = status
        .warnings
        .iter()
        .cloned()
        .chain(grant_warning(&status.node, now_ms))
        .map(|warning| format!("{} {warning}", style.paint(Paint::Warn, "warning:")))
        .collect();
    if !warnings.is_empty() {
        parts.push(warnings.join("\n"));
    }
    parts.join("\n\n")
}

/// The attached devices.
pub fn clients_table(clients: &[ClientStatus], style: Style) -> String {
    let mut table = Listing::new(
        style,
        &["CLIENT", "ADDRESS", "ENDPOINT", "HANDSHAKE", "SENT", "RECEIVED"],
    )
    .right(&[4, 5]);
    for client in clients {
        table.row([
            (client.name.clone(), Some(Paint::Strong)),
            plain(client.address),
            plain(
                client
                    .endpoint
                    .map_or("-".to_owned(), |endpoint| endpoint.to_string()),
            ),
            plain(duration::ago(client.last_handshake_s)),
            plain(size::bytes(client.tx_bytes)),
            plain(size::bytes(client.rx_bytes)),
        ]);
    }
    table.render()
}

fn head(status: &Status, style: Style) -> String {
    let node = &status.node;
    let short = |id: &str| id.get(..8).unwrap_or(id).to_owned();
    let line =
        |label: &str, text: String| format!("{} {text}", style.paint(Paint::Dim, format_args!("{label:<8}")));
    let name = style.paint(Paint::Strong, &node.name);
    let mut lines = vec![
        line(
            "node",
            format!(
                "{name}, id {}, up {}, version {}",
                short(&node.id),
                duration::coarse(node.uptime_s),
                node.version
            ),
        ),
        line("mesh", format!("{}, {}", short(&status.mesh), members(status))),
        line("address", format!("{} on {}", node.mesh_ip, node.interface)),
        line("serves", dash_if_empty(joined(&node.cidrs))),
        line("listens", listens(node)),
    ];
    if node.draining {
        lines.push(line("state", style.paint(Paint::Warn, "draining")));
    }
    if node.lanes.len() > 1 {
        lines.push(line("lanes", lanes(node)));
    }
    lines.join("\n")
}

fn members(status: &Status) -> String {
    let up = status
        .peers
        .iter()
        .filter(|peer| peer.state == crate::api::types::PeerState::Up)
        .count();
    match status.peers.len() {
        0 => "1 member".to_owned(),
        others => format!("{} members, {up} of {others} peers up", others + 1),
    }
}

fn listens(node: &NodeStatus) -> String {
    let listen: Vec<String> = node.listen.iter().map(ToString::to_string).collect();
    let endpoints: Vec<String> = node.endpoints.iter().map(ToString::to_string).collect();
    match endpoints.is_empty() {
        true => listen.join(", "),
        false => format!("{}, reachable at {}", listen.join(", "), endpoints.join(", ")),
    }
}

/// How evenly the cores carry.
fn lanes(node: &NodeStatus) -> String {
    let both = |lane: &LaneStatus| size::bytes(lane.tx_bytes + lane.rx_bytes);
    let each = node
        .lanes
        .iter()
        .map(|lane| format!("{} on {}", both(lane), lane.port));
    each.collect::<Vec<_>>().join(", ")
}

fn grant_warning(node: &NodeStatus, now_ms: u64) -> Option<String> {
    let left = node.grant_expires_ms?.saturating_sub(now_ms);
    match left {
        0 => Some("this node's grant has expired: the others no longer take its records; join again with a new token".to_owned()),
        left if left < GRANT_WORRY_MS => Some(format!(
            "this node's grant ends in {} and was not renewed: no member with the right to renew it is reached",
            duration::about(left / 1000)
        )),
        _ => None,
    }
}

fn joined(cidrs: &[IpNet]) -> String {
    cidrs.iter().map(IpNet::to_string).collect::<Vec<_>>().join(", ")
}
