//! A member gone bad, with a valid grant and a patched client: whatever it says, the others go on.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::net::Ipv6Addr;
use std::time::Duration;

use common::{Mesh, Node, START, agree, chitchat_network, ids, prefix, record, refs};
use meshnode_crypto::{UnixMillis, mesh_address, mesh_prefix};
use meshnode_membership::gossip::guard::encode_value;
use meshnode_membership::record::AnnouncedPrefix;
use meshnode_membership::simulation::{SimMessage, SimNetwork};
use tokio::time::sleep;

const SOON: Duration = Duration::from_secs(30);
const PORT: u16 = 1;
/// Above every counter of a first start.
const AHEAD: u64 = (1 << 32) + 1_000_000;

/// Chitchat's bytes, written by hand.
struct Forged(Vec<u8>);

impl Forged {
    fn message(kind: u8) -> Self {
        let mut bytes = 45_139u16.to_le_bytes().to_vec();
        bytes.extend([0, kind]);
        Forged(bytes)
    }

    fn syn(mesh: &Mesh, rows: &[(Ipv6Addr, u64, u64)]) -> SimMessage {
        let mut syn = Forged::message(0);
        syn.0.extend((rows.len() as u16).to_le_bytes());
        for (address, heartbeat, max_version) in rows {
            syn.id(*address);
            for counter in [*heartbeat, 0, *max_version] {
                syn.0.extend(counter.to_le_bytes());
            }
        }
        syn.text(&mesh.id.to_string());
        SimMessage::Gossip(syn.0)
    }

    /// An ACK about one row: a value under a key, then a highest version.
    fn ack(row: Ipv6Addr, value: Option<(&str, &str)>, max_version: u64) -> SimMessage {
        let mut operations = Forged(vec![0]);
        operations.id(row);
        operations.0.extend(0u64.to_le_bytes());
        operations.0.extend(0u64.to_le_bytes());
        if let Some((key, value)) = value {
            operations.0.push(1);
            operations.text(key);
            operations.text(value);
            operations.0.extend(max_version.to_le_bytes());
            operations.0.push(0);
        }
        operations.0.push(2);
        operations.0.extend(max_version.to_le_bytes());
        let mut ack = Forged::message(2);
        ack.0.push(2);
        ack.0.extend((operations.0.len() as u16).to_le_bytes());
        ack.0.extend(operations.0);
        ack.0.push(0);
        SimMessage::Gossip(ack.0)
    }

    /// An ACK of few bytes that unfold to megabytes.
    fn bomb() -> SimMessage {
        let block = zstd::bulk::compress(&vec![0; 65_535], 19).unwrap();
        let mut ack = Forged::message(2);
        for _ in 0..1000 {
            ack.0.push(1);
            ack.0.extend((block.len() as u16).to_le_bytes());
            ack.0.extend(&block);
        }
        ack.0.push(0);
        SimMessage::Gossip(ack.0)
    }

    fn id(&mut self, address: Ipv6Addr) {
        self.text("");
        self.0.extend(0u64.to_le_bytes());
        self.0.push(6);
        self.0.extend(address.octets());
        self.0.extend(PORT.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.0.extend((text.len() as u16).to_le_bytes());
        self.0.extend(text.as_bytes());
    }
}

async fn cluster(seed: u64) -> (Mesh, SimNetwork, Vec<Node>) {
    let (mesh, network) = (Mesh::new(), chitchat_network(seed));
    let nodes = mesh.start_all(&network, 6).await;
    agree(&refs(&nodes), &ids(&nodes), SOON).await;
    // Views are told faster than gossip spreads, and a lie about a row that nobody has yet is none.
    let spread = |node: &Node| node.process().stats().digest_bytes >= digest_of(6);
    let gossip = async {
        while !nodes.iter().all(spread) {
            sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(SOON, gossip).await.unwrap();
    (mesh, network, nodes)
}

/// Bytes of a digest with so many rows: a count and the rows.
fn digest_of(rows: usize) -> u64 {
    2 + 53 * rows as u64
}

fn address_of(mesh: &Mesh, node: &Node) -> Ipv6Addr {
    mesh_address(&mesh.id, &node.id())
}

fn rejected(node: &Node, reason: &str) -> u64 {
    node.process()
        .stats()
        .gossip_rejected
        .get(reason)
        .copied()
        .unwrap_or(0)
}

/// The mesh still hears a change of every node, the bad one included.
async fn goes_on(mesh: &Mesh, nodes: &[Node]) {
    for node in nodes {
        let mut announcement = mesh.announcement(node);
        announcement.capabilities += 1;
        node.process().announce(announcement);
    }
    sleep(Duration::from_secs(3)).await;
    agree(&refs(nodes), &ids(nodes), Duration::from_secs(90)).await;
}

#[tokio::test(start_paused = true)]
async fn forged_updates_about_the_receiver_change_nothing() {
    let (mesh, network, nodes) = cluster(21).await;
    let (bad, victim) = (&nodes[5], &nodes[1]);
    let own = address_of(&mesh, victim);
    for _ in 0..3 {
        network.say(
            bad.id(),
            victim.id(),
            Forged::ack(own, Some(("record", "AAAA")), AHEAD),
        );
        network.say(bad.id(), victim.id(), Forged::syn(&mesh, &[(own, AHEAD, AHEAD)]));
        sleep(Duration::from_secs(1)).await;
    }
    assert!(rejected(victim, "gossip_own_row_ahead") >= 1);
    goes_on(&mesh, &nodes).await;
}

#[tokio::test(start_paused = true)]
async fn a_row_that_others_were_lied_to_about_is_replaced() {
    let (mesh, network, nodes) = cluster(22).await;
    let (bad, victim) = (&nodes[5], &nodes[1]);
    for other in nodes
        .iter()
        .filter(|node| ![bad.id(), victim.id()].contains(&node.id()))
    {
        network.say(
            bad.id(),
            other.id(),
            Forged::ack(address_of(&mesh, victim), None, AHEAD),
        );
    }
    sleep(Duration::from_secs(60)).await;
    assert!(rejected(victim, "gossip_own_row_ahead") >= 1);
    goes_on(&mesh, &nodes).await;
    // Gossip, not only the push, brings news of it: a node that starts now hears everything.
    assert!(
        victim.process().stats().members_live >= 4,
        "{:?}",
        victim.process().stats()
    );
}

#[tokio::test(start_paused = true)]
async fn forged_values_about_others_are_refused_and_counted() {
    let (mesh, network, nodes) = cluster(23).await;
    let (bad, victim) = (&nodes[5], &nodes[2]);
    let forged = record(&mesh, bad, START, |_| {});
    let row = address_of(&mesh, victim);
    for other in &nodes[..2] {
        network.say(
            bad.id(),
            other.id(),
            Forged::ack(row, Some(("record", &encode_value(&forged))), AHEAD),
        );
    }
    sleep(Duration::from_secs(2)).await;
    assert_eq!(rejected(&nodes[0], "gossip_bad_value"), 1);
    assert_eq!(rejected(&nodes[1], "gossip_bad_value"), 1);
    goes_on(&mesh, &nodes).await;
}

#[tokio::test(start_paused = true)]
async fn invented_members_take_no_place() {
    let (mesh, network, nodes) = cluster(24).await;
    let net = mesh_prefix(&mesh.id).network().to_bits();
    let invented: Vec<_> = (0..900u128)
        .map(|n| (Ipv6Addr::from_bits(net | (n << 32) | 7), 5, 5))
        .collect();
    for node in &nodes[..5] {
        network.say(nodes[5].id(), node.id(), Forged::syn(&mesh, &invented));
    }
    sleep(Duration::from_secs(10)).await;
    assert_eq!(nodes[0].process().stats().digest_bytes, digest_of(6));
    goes_on(&mesh, &nodes).await;
}

#[tokio::test(start_paused = true)]
async fn a_message_that_expands_is_dropped_and_its_sender_left_alone() {
    let (mesh, network, nodes) = cluster(25).await;
    for _ in 0..10 {
        network.say(nodes[5].id(), nodes[0].id(), Forged::bomb());
    }
    sleep(Duration::from_secs(5)).await;
    // The first is counted, then nothing is taken from it for a minute.
    assert_eq!(
        rejected(&nodes[0], "gossip_too_many_blocks") + rejected(&nodes[0], "gossip_expands"),
        1
    );
    goes_on(&mesh, &nodes).await;
}

#[tokio::test(start_paused = true)]
async fn the_news_that_all_others_are_dead_moves_nobody() {
    let (mesh, network, nodes) = cluster(26).await;
    // Heartbeats far ahead: the honest ones that follow count for nothing.
    let rows: Vec<_> = nodes[1..5]
        .iter()
        .map(|node| (address_of(&mesh, node), 1 << 59, 0))
        .collect();
    network.say(nodes[5].id(), nodes[0].id(), Forged::syn(&mesh, &rows));
    sleep(Duration::from_secs(600)).await;
    assert_eq!(nodes[0].sees(), ids(&nodes));
    goes_on(&mesh, &nodes).await;
}

#[tokio::test(start_paused = true)]
async fn records_that_do_not_hold_are_refused_with_the_reason() {
    let (mesh, network, nodes) = cluster(27).await;
    let bad = &nodes[5];
    let stolen = mesh.announcement(&nodes[2]).lanes;
    let now = START + Duration::from_secs(1);
    let foreign = AnnouncedPrefix {
        prefix: prefix(2),
        priority: 1000,
    };
    let later = UnixMillis(now.0 + 5 * 3_600_000);
    let forgeries = [
        (
            "lane_key_unproven",
            record(&mesh, bad, now, |body| body.lanes = stolen),
        ),
        (
            "prefix_outside_grant",
            record(&mesh, bad, now, |body| body.prefixes.push(foreign)),
        ),
        (
            "from_the_future",
            record(&mesh, bad, now, |body| body.sequence = u64::MAX),
        ),
        ("from_the_future", record(&mesh, bad, later, |_| {})),
        ("too_large", vec![1; 20_000]),
        ("malformed", vec![1; 200]),
    ];
    for (reason, forged) in forgeries {
        let before = rejected(&nodes[0], reason);
        network.say(bad.id(), nodes[0].id(), SimMessage::Records(vec![forged]));
        sleep(Duration::from_secs(2)).await;
        assert_eq!(rejected(&nodes[0], reason), before + 1, "{reason}");
    }
    assert_eq!(
        nodes[0].view().nodes[&nodes[2].id()].prefixes[0].prefix,
        prefix(2)
    );
    goes_on(&mesh, &nodes).await;
}

#[tokio::test(start_paused = true)]
async fn every_flipped_bit_of_a_record_is_refused_on_the_way() {
    let (mesh, network, nodes) = cluster(28).await;
    let good = record(&mesh, &nodes[4], START, |_| {});
    let mut flipped = Vec::new();
    for byte in (0..good.len()).step_by(7) {
        let mut bytes = good.clone();
        bytes[byte] ^= 1 << (byte % 8);
        flipped.push(bytes);
    }
    let count = flipped.len() as u64;
    let total = |node: &Node| node.process().stats().gossip_rejected.values().sum::<u64>();
    let before = total(&nodes[0]);
    network.say(nodes[5].id(), nodes[0].id(), SimMessage::Records(flipped));
    sleep(Duration::from_secs(5)).await;
    assert_eq!(total(&nodes[0]) - before, count);
    goes_on(&mesh, &nodes).await;
}

#[tokio::test(start_paused = true)]
async fn old_records_replayed_bring_nothing_back() {
    let (mesh, network, nodes) = cluster(29).await;
    let old: Vec<_> = nodes
        .iter()
        .map(|node| record(&mesh, node, START, |body| body.epoch = 77))
        .collect();
    for node in &nodes[..5] {
        network.say(nodes[5].id(), node.id(), SimMessage::Records(old.clone()));
    }
    sleep(Duration::from_secs(5)).await;
    agree(&refs(&nodes), &ids(&nodes), Duration::from_secs(1)).await;
    assert!(nodes[0].view().nodes.values().all(|seen| seen.epoch != 77));
}

#[tokio::test(start_paused = true)]
async fn a_member_cannot_take_a_grant_away() {
    let (mesh, network, nodes) = cluster(30).await;
    // Node 5 offers node 1 its own grant, and an older one of node 1's.
    for chain in [&nodes[5].chain, &nodes[1].chain] {
        network.say(nodes[5].id(), nodes[1].id(), SimMessage::Grant(chain.to_bytes()));
    }
    sleep(Duration::from_secs(2)).await;
    assert_eq!(nodes[0].view().nodes[&nodes[1].id()].grant_serve, vec![prefix(1)]);
    goes_on(&mesh, &nodes).await;
}
