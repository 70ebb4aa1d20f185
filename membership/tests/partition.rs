//! Clusters that are torn apart and meet again. Whatever happened meanwhile, they agree in the end.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::time::Duration;

use common::{Mesh, Node, agree, chitchat_network, ids, prefix, refs};
use meshnode_crypto::RevocationTarget;
use meshnode_membership::record::AnnouncedPrefix;
use tokio::time::sleep;

const SOON: Duration = Duration::from_secs(30);
const HEALED: Duration = Duration::from_secs(60);
/// Past gossip's memory of the dead, which is two minutes.
const LONG: Duration = Duration::from_secs(900);

fn halves(nodes: &[Node]) -> (Vec<&Node>, Vec<&Node>) {
    nodes.iter().partition(|node| node.number % 2 == 0)
}

fn numbers(nodes: &[&Node]) -> Vec<meshnode_crypto::NodeId> {
    nodes.iter().map(|node| node.id()).collect()
}

fn announce_more(mesh: &Mesh, node: &Node) {
    let mut announcement = mesh.announcement(node);
    announcement.capabilities = 1;
    node.process().announce(announcement);
}

#[tokio::test(start_paused = true)]
async fn a_short_partition_heals() {
    let (mesh, network) = (Mesh::new(), chitchat_network(11));
    let nodes = mesh.start_all(&network, 8).await;
    agree(&refs(&nodes), &ids(&nodes), SOON).await;
    let (_, odd) = halves(&nodes);
    network.part(&numbers(&odd), 1);
    announce_more(&mesh, &nodes[1]);
    announce_more(&mesh, &nodes[2]);
    sleep(Duration::from_secs(20)).await;
    assert_ne!(
        nodes[1].view().own.as_ref().unwrap().sequence,
        nodes[0].view().nodes[&nodes[1].id()].sequence
    );
    network.heal();
    agree(&refs(&nodes), &ids(&nodes), HEALED).await;
}

#[tokio::test(start_paused = true)]
async fn halves_parted_past_the_grace_meet_again() {
    let (mesh, network) = (Mesh::new(), chitchat_network(12));
    let nodes = mesh.start_all(&network, 12).await;
    agree(&refs(&nodes), &ids(&nodes), SOON).await;
    let (_, odd) = halves(&nodes);
    network.part(&numbers(&odd), 1);
    sleep(LONG).await;
    // Liveness rumours remove nobody: records still count.
    assert_eq!(nodes[0].sees(), ids(&nodes));
    assert!(nodes[0].process().stats().members_live < 11);
    for node in &nodes {
        announce_more(&mesh, node);
    }
    sleep(Duration::from_secs(5)).await;
    network.heal();
    let took = agree(&refs(&nodes), &ids(&nodes), HEALED).await;
    assert!(took <= HEALED);
}

#[tokio::test(start_paused = true)]
async fn two_parted_nodes_meet_again() {
    let (mesh, network) = (Mesh::new(), chitchat_network(13));
    let nodes = mesh.start_all(&network, 2).await;
    agree(&refs(&nodes), &ids(&nodes), SOON).await;
    network.part(&[nodes[1].id()], 1);
    sleep(4 * LONG).await;
    announce_more(&mesh, &nodes[1]);
    sleep(Duration::from_secs(5)).await;
    network.heal();
    agree(&refs(&nodes), &ids(&nodes), HEALED).await;
}

#[tokio::test(start_paused = true)]
async fn nodes_that_joined_on_both_sides_meet() {
    let (mesh, network) = (Mesh::new(), chitchat_network(14));
    let mut nodes = mesh.start_all(&network, 6).await;
    agree(&refs(&nodes), &ids(&nodes), SOON).await;
    let (_, odd) = halves(&nodes);
    let mut parted = numbers(&odd);
    // More strangers than one message may vouch for.
    for number in 6..30 {
        if number % 2 == 1 {
            parted.push(common::key(number).public_key());
        }
    }
    network.part(&parted, 1);
    sleep(LONG).await;
    for number in 6..30u16 {
        let mut node = mesh.node(number);
        let neighbour = &nodes[usize::from(number % 2)];
        mesh.start(&network, &mut node, &[neighbour]).await;
        nodes.push(node);
    }
    sleep(SOON).await;
    assert_eq!(nodes[0].sees().len(), 18);
    assert_eq!(nodes[1].sees().len(), 18);
    network.heal();
    agree(&refs(&nodes), &ids(&nodes), HEALED).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_revoked_while_the_mesh_was_parted_is_out_everywhere() {
    let (mesh, network) = (Mesh::new(), chitchat_network(15));
    let nodes = mesh.start_all(&network, 8).await;
    agree(&refs(&nodes), &ids(&nodes), SOON).await;
    let (even, odd) = halves(&nodes);
    network.part(&numbers(&odd), 1);
    sleep(LONG).await;
    let out = nodes[3].id();
    nodes[0]
        .process()
        .revoke(RevocationTarget::Node(out), false)
        .await
        .unwrap();
    sleep(Duration::from_secs(2)).await;
    assert!(even.iter().all(|node| !node.sees().contains(&out)));
    assert!(odd.iter().all(|node| node.sees().contains(&out)));
    network.heal();
    let others: Vec<&Node> = nodes.iter().filter(|node| node.id() != out).collect();
    agree(&others, &ids(others.iter().copied()), HEALED).await;
    // It cannot come back through anybody.
    announce_more(&mesh, &nodes[3]);
    sleep(Duration::from_secs(60)).await;
    agree(&others, &ids(others.iter().copied()), Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_prefix_moved_while_parted_has_one_owner_after() {
    let (mut mesh, network) = (Mesh::new(), chitchat_network(16));
    mesh.wide_grants = true;
    let nodes = mesh.start_all(&network, 6).await;
    agree(&refs(&nodes), &ids(&nodes), SOON).await;
    network.part(&[nodes[5].id()], 1);
    sleep(LONG).await;
    // While node 5 is away node 4 takes its prefix over, with a higher priority.
    let mut announcement = mesh.announcement(&nodes[4]);
    announcement.prefixes.push(AnnouncedPrefix {
        prefix: prefix(5),
        priority: 200,
    });
    nodes[4].process().announce(announcement);
    sleep(Duration::from_secs(5)).await;
    network.heal();
    agree(&refs(&nodes), &ids(&nodes), HEALED).await;
    for node in nodes.iter().filter(|node| node.number < 4) {
        let view = node.view();
        let owners = view.nodes.values().flat_map(|seen| {
            seen.prefixes
                .iter()
                .filter(|announced| announced.prefix == prefix(5))
                .map(|announced| announced.priority)
        });
        assert_eq!(owners.max(), Some(200));
    }
}
