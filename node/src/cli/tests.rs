//! What the commands show, drawn from answers as a node gives them, and the shape of the command line.

use clap::CommandFactory;

use super::Cli;
use crate::api::types::{
    ClientStatus, LaneStatus, NodeStatus, PeerState, PeerStatus, Peers, RejectedRecord, RouteState,
    RouteStatus, Status,
};
use crate::output::style::Style;

fn peer(name: &str, state: PeerState) -> PeerStatus {
    let up = state == PeerState::Up;
    PeerStatus {
        name: name.to_owned(),
        id: format!("{:0<64}", "c0ffee42"),
        state,
        endpoint: up.then(|| "203.0.113.9:51820".parse().unwrap()),
        path: "direct".to_owned(),
        health: if up { "up" } else { "connecting" }.to_owned(),
        health_cause: None,
        health_s: None,
        mesh_ip: "fd12:3456:789a:1:2:3:4:5".parse().unwrap(),
        cidrs: vec!["172.18.0.0/16".parse().unwrap(), "fd00:18::/64".parse().unwrap()],
        rtt_ms: up.then_some(12.437),
        jitter_ms: up.then_some(0.31),
        loss: up.then_some(0.004),
        loss_out: up.then_some(0.0),
        loss_in: up.then_some(0.004),
        loss_1m: None,
        loss_5m: None,
        variation_out_ms: None,
        variation_in_ms: None,
        mtu: up.then_some(1420),
        last_handshake_s: up.then_some(37.2),
        tx_bytes: 1_300_000,
        rx_bytes: 48_000_000_000,
        version: "0.1.0".to_owned(),
    }
}

fn lane(lane: u8, bytes: u64) -> LaneStatus {
    LaneStatus {
        lane,
        port: 51820 + u16::from(lane),
        tx_bytes: bytes,
        rx_bytes: bytes / 2,
        tx_packets: 2000,
        rx_packets: 1000,
        handed_off: 7,
    }
}

fn status() -> Status {
    let route = |prefix: &str, via: &str, state, reason: Option<&str>| RouteStatus {
        prefix: prefix.parse().unwrap(),
        via: via.to_owned(),
        state,
        reason: reason.map(str::to_owned),
        priority: Some(100),
        health: Some("up".to_owned()),
        since_s: Some(61.0),
    };
    Status {
        mesh: format!("{:a<64}", "3f9a2c1d"),
        node: NodeStatus {
            name: "gz".to_owned(),
            id: format!("{:b<64}", "8c21f0aa"),
            mesh_ip: "fd12:3456:789a:9:8:7:6:5".parse().unwrap(),
            interface: "mesh0".to_owned(),
            listen: vec!["0.0.0.0:51820".parse().unwrap(), "[::]:51820".parse().unwrap()],
            endpoints: vec!["203.0.113.7:51820".parse().unwrap()],
            cidrs: vec!["172.20.0.0/16".parse().unwrap()],
            draining: false,
            version: "0.1.0".to_owned(),
            uptime_s: 11_530,
            grant_expires_ms: Some(1_000_000_000),
            metrics: None,
            offloads: Vec::new(),
            lanes: vec![lane(0, 3 << 20), lane(1, 2 << 20)],
        },
        peers: vec![peer("sz", PeerState::Up), peer("hk", PeerState::Connecting)],
        routes: vec![
            route("172.18.0.0/16", "sz", RouteState::Active, None),
            route(
                "172.18.0.0/16",
                "hk",
                RouteState::Standby,
                Some("sz has a higher priority"),
            ),
            route(
                "0.0.0.0/0",
                "hk",
                RouteState::Rejected,
                Some("a default route needs `accept = [\"0.0.0.0/0\"]`"),
            ),
        ],
        clients: vec![ClientStatus {
            name: "phone".to_owned(),
            address: "100.96.0.2".parse().unwrap(),
            address_v6: None,
            endpoint: None,
            last_handshake_s: None,
            tx_bytes: 0,
            rx_bytes: 0,
        }],
        warnings: vec!["net.ipv4.ip_forward is 0: run sysctl -w net.ipv4.ip_forward=1".to_owned()],
    }
}

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_explains_every_option() {
    for command in Cli::command().get_subcommands() {
        assert!(command.get_about().is_some(), "{}", command.get_name());
        for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
            assert!(
                argument.get_help().is_some(),
                "{} {}",
                command.get_name(),
                argument.get_id()
            );
        }
    }
}

#[test]
fn help_names_every_command() {
    insta::assert_snapshot!(Cli::command().term_width(100).render_help());
}

#[test]
fn status_shows_the_node_its_peers_and_what_needs_a_look() {
    insta::assert_snapshot!(super::status::draw(&status(), Style::PLAIN, 0));
}

#[test]
fn status_of_a_lonely_node_says_how_to_get_company() {
    let mut lonely = status();
    lonely.peers.clear();
    lonely.routes.clear();
    lonely.clients.clear();
    lonely.warnings.clear();
    lonely.node.grant_expires_ms = None;
    insta::assert_snapshot!(super::status::draw(&lonely, Style::PLAIN, 0));
}

#[test]
fn a_grant_about_to_end_is_a_warning() {
    let mut status = status();
    status.node.grant_expires_ms = Some(86_400_000 * 3);
    assert!(super::status::draw(&status, Style::PLAIN, 0).contains("grant ends in 3d"));
    assert!(super::status::draw(&status, Style::PLAIN, 86_400_000 * 4).contains("grant has expired"));
}

#[test]
fn peers_shows_every_path_and_the_rejected_records() {
    let answer = Peers {
        node: "gz".to_owned(),
        id: "8c21".to_owned(),
        peers: status().peers,
        rejected: vec![
            RejectedRecord {
                name: Some("mallory".to_owned()),
                source: format!("{:d<64}", "deadbeef"),
                reason: "prefix_outside_grant".to_owned(),
                count: 17,
                last_s: 3.0,
            },
            RejectedRecord {
                name: None,
                source: "203.0.113.66:51820".to_owned(),
                reason: "malformed".to_owned(),
                count: 1,
                last_s: 4000.0,
            },
        ],
    };
    insta::assert_snapshot!(super::peers::draw(&answer, Style::PLAIN));
}

#[test]
fn status_json_keeps_its_names() {
    let json = serde_json::to_value(status()).unwrap();
    let names =
        |value: &serde_json::Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    let has = |found: Vec<String>, wanted: &str| {
        for name in wanted.split_whitespace() {
            assert!(
                found.iter().any(|found| found == name),
                "{name} is missing from {found:?}"
            );
        }
    };
    has(names(&json), "mesh node peers routes clients");
    has(
        names(&json["node"]),
        "name id mesh_ip interface listen endpoints cidrs version uptime_s",
    );
    has(
        names(&json["peers"][0]),
        "name id state endpoint path mesh_ip cidrs rtt_ms jitter_ms loss mtu last_handshake_s tx_bytes rx_bytes",
    );
    has(names(&json["routes"][0]), "prefix via state reason");
    has(
        names(&json["clients"][0]),
        "name address endpoint last_handshake_s tx_bytes rx_bytes",
    );
    assert_eq!(json["peers"][0]["state"], "up");
    assert_eq!(json["routes"][2]["state"], "rejected");
}
