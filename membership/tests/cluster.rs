//! Clusters of real gossip under a paused clock: who comes, goes, crashes and is parted from the others,
//! and everybody agrees in the end.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::time::Duration;

use common::{Mesh, agree, chitchat_network, ids, logs, refs};

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
    tokio::time::sleep(Duration::from_secs(10)).await;
    for node in &mut nodes {
        node.crash(&network);
    }
    for node in &mut nodes {
        mesh.start(&network, node, &[]).await;
    }
    agree(&refs(&nodes), &ids(&nodes), Duration::from_secs(60)).await;
}
