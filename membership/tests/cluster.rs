//! Clusters of real gossip under a paused clock: who comes, goes, crashes and is parted from the others,
//! and everybody agrees in the end.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::time::Duration;

use common::{Mesh, Node, START, agree, chitchat_network, ids, logs, record, refs};
use meshnode_membership::api::MembershipEvent;
use meshnode_membership::simulation::{SimGossip, SimMessage, SimNetwork};
use tokio::time::sleep;

const SOON: Duration = Duration::from_secs(30);

#[tokio::test(start_paused = true)]
async fn three_nodes_meet() {
    logs();
    let (mesh, network) = (Mesh::new(), chitchat_network(1));
    let nodes = mesh.start_all(&network, 3).await;
    agree(&refs(&nodes), &ids(&nodes), SOON).await;
}

#[tokio::test(start_paused = true)]
async fn twenty_nodes_meet() {
    let (mesh, network) = (Mesh::new(), chitchat_network(2));
    let nodes = mesh.start_all(&network, 20).await;
    agree(&refs(&nodes), &ids(&nodes), SOON).await;
}

#[tokio::test(start_paused = true)]
async fn a_hundred_nodes_meet_and_all_restart_at_once() {
    let (mesh, network) = (Mesh::new(), chitchat_network(3));
    let mut nodes = mesh.start_all(&network, 100).await;
    agree(&refs(&nodes), &ids(&nodes), SOON).await;
    sleep(Duration::from_secs(10)).await;
    for node in &mut nodes {
        node.crash(&network);
    }
    for node in &mut nodes {
        mesh.start(&network, node, &[]).await;
    }
    agree(&refs(&nodes), &ids(&nodes), Duration::from_secs(60)).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_leaves_is_gone_at_once_and_for_good() {
    let (mesh, network) = (Mesh::new(), chitchat_network(4));
    let mut nodes = mesh.start_all(&network, 10).await;
    agree(&refs(&nodes), &ids(&nodes), SOON).await;
    let leaver = nodes.remove(7);
    leaver.process().depart().await;
    leaver.process().shutdown().await;
    agree(&refs(&nodes), &ids(&nodes), Duration::from_secs(2)).await;
    // An old record of it does not bring it back.
    let stale = record(&mesh, &leaver, START, |_| {});
    network.say(nodes[1].id(), nodes[2].id(), SimMessage::Records(vec![stale]));
    sleep(Duration::from_secs(200)).await;
    agree(&refs(&nodes), &ids(&nodes), Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_withdraws_stays_a_member_without_prefixes() {
    let (mesh, network) = (Mesh::new(), chitchat_network(5));
    let nodes = mesh.start_all(&network, 5).await;
    agree(&refs(&nodes), &ids(&nodes), SOON).await;
    nodes[3].process().withdraw().await;
    agree(&refs(&nodes), &ids(&nodes), Duration::from_secs(2)).await;
    assert!(nodes[1].view().nodes[&nodes[3].id()].prefixes.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_crashed_node_keeps_its_place_and_takes_it_again() {
    let (mesh, network) = (Mesh::new(), chitchat_network(6));
    let mut nodes = mesh.start_all(&network, 10).await;
    agree(&refs(&nodes), &ids(&nodes), SOON).await;
    // Time to write the peer cache.
    sleep(Duration::from_secs(5)).await;
    nodes[4].crash(&network);
    sleep(Duration::from_secs(600)).await;
    assert!(nodes[0].sees().contains(&nodes[4].id()));
    let (_, rest) = nodes.split_at_mut(4);
    let (crashed, _) = rest.split_first_mut().unwrap();
    mesh.start(&network, crashed, &[]).await;
    agree(&refs(&nodes), &ids(&nodes), Duration::from_secs(10)).await;
    assert_eq!(nodes[0].view().nodes[&nodes[4].id()].epoch, 2);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_nobody_refreshes_expires() {
    let (mesh, network) = (Mesh::new(), SimNetwork::new(7, SimGossip::Broadcast));
    let mut nodes = mesh.start_all(&network, 4).await;
    agree(&refs(&nodes), &ids(&nodes), SOON).await;
    let mut gone = nodes.remove(3);
    gone.crash(&network);
    sleep(Duration::from_secs(25 * 3600)).await;
    agree(&refs(&nodes), &ids(&nodes), Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_full_mesh_refuses_loudly_and_goes_on() {
    let (mut mesh, network) = (Mesh::new(), chitchat_network(8));
    mesh.max_members = 12;
    let mut nodes = mesh.start_all(&network, 12).await;
    agree(&refs(&nodes), &ids(&nodes), SOON).await;
    let mut events = nodes[0].process().subscribe();
    let mut late = mesh.node(12);
    mesh.start(&network, &mut late, &[&nodes[0]]).await;
    let full = async {
        while !matches!(
            events.recv().await,
            Ok(MembershipEvent::TableFull { capacity: 12 })
        ) {}
    };
    tokio::time::timeout(SOON, full).await.unwrap();
    announce_change(&mesh, &nodes[5]);
    sleep(Duration::from_secs(5)).await;
    agree(&refs(&nodes), &ids(&nodes), SOON).await;
    // All at the cap restart at once and meet again.
    drop(late);
    for node in &mut nodes {
        node.crash(&network);
    }
    for node in &mut nodes {
        mesh.start(&network, node, &[]).await;
    }
    agree(&refs(&nodes), &ids(&nodes), Duration::from_secs(60)).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_restored_from_an_old_backup_is_heard_again() {
    let (mesh, network) = (Mesh::new(), chitchat_network(9));
    let mut nodes = mesh.start_all(&network, 5).await;
    agree(&refs(&nodes), &ids(&nodes), SOON).await;
    for _ in 0..3 {
        nodes[2].crash(&network);
        let (_, rest) = nodes.split_at_mut(2);
        mesh.start(&network, &mut rest[0], &[]).await;
        sleep(Duration::from_secs(5)).await;
    }
    // The counter goes back by four starts.
    nodes[2].crash(&network);
    nodes[2].store = Default::default();
    let seed = mesh.node(0);
    let (_, rest) = nodes.split_at_mut(2);
    mesh.start(&network, &mut rest[0], &[&seed]).await;
    agree(&refs(&nodes), &ids(&nodes), Duration::from_secs(60)).await;
    announce_change(&mesh, &nodes[2]);
    sleep(Duration::from_secs(5)).await;
    agree(&refs(&nodes), &ids(&nodes), Duration::from_secs(60)).await;
    assert_eq!(nodes[0].view().nodes[&nodes[2].id()].capabilities, 1);
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_fails_stops_nobody() {
    let (mesh, network) = (Mesh::new(), chitchat_network(10));
    let nodes = mesh.start_all(&network, 4).await;
    agree(&refs(&nodes), &ids(&nodes), SOON).await;
    let mut events = nodes[1].process().subscribe();
    *nodes[1].store.broken.lock().unwrap() = true;
    announce_change(&mesh, &nodes[1]);
    let failed = async { while !matches!(events.recv().await, Ok(MembershipEvent::StoreFailed { .. })) {} };
    tokio::time::timeout(SOON, failed).await.unwrap();
    let told = async {
        while nodes[0].view().nodes[&nodes[1].id()].capabilities != 1 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, told).await.unwrap();
    agree(&refs(&nodes), &ids(&nodes), SOON).await;
}

fn announce_change(mesh: &Mesh, node: &Node) {
    let mut announcement = mesh.announcement(node);
    announcement.capabilities = 1;
    node.process().announce(announcement);
}
