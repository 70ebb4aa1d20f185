//! Who has no grant, over real QUIC: garbage, floods of dials and members that are not what they seem.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::{Mesh, Node, agree, ids, logs};
use meshnode_membership::api::GrantRequest;
use meshnode_membership::simulation::SimWire;
use meshnode_membership::{Membership, QuicEndpoint};
use tokio::time::sleep;

const SOON: Duration = Duration::from_secs(30);

fn address(number: u16) -> SocketAddr {
    let [high, low] = number.to_be_bytes();
    SocketAddr::from(([192, 0, high, low], 51820))
}

async fn run(mesh: &Mesh, wire: &SimWire, mut node: Node, seeds: &[u16]) -> Node {
    node.starts += 1;
    let endpoint = QuicEndpoint::new(wire.port(address(node.number)), &node.key).unwrap();
    let mut config = mesh.config(&node);
    config.seeds = seeds.iter().map(|seed| address(*seed)).collect();
    let process = Membership::start(config, endpoint, node.store.clone(), node.clock.clone())
        .await
        .unwrap();
    let mut announcement = mesh.announcement(&node);
    announcement.endpoints = vec![address(node.number)];
    process.announce(announcement);
    node.process = Some(process);
    node
}

#[tokio::test(start_paused = true)]
async fn a_node_without_a_grant_of_this_mesh_is_told_nothing() {
    logs();
    let (mesh, wire) = (Mesh::new(), SimWire::default());
    let founder = run(&mesh, &wire, mesh.node(0), &[]).await;
    let other = Mesh::of(77);
    let stranger = run(&other, &wire, other.node(9), &[0]).await;
    sleep(Duration::from_secs(60)).await;
    assert!(founder.view().nodes.is_empty());
    assert!(stranger.view().nodes.is_empty());
    assert!(stranger.process().stats().gossip_bytes_received == 0);
}

#[tokio::test(start_paused = true)]
async fn garbage_and_floods_do_not_part_members() {
    let (mesh, wire) = (Mesh::new(), SimWire::default());
    let founder = run(&mesh, &wire, mesh.node(0), &[]).await;
    for n in 0..2_000u32 {
        let garbage: Vec<u8> = (0..1200u32)
            .map(|i| (i.wrapping_mul(n) >> 3) as u8 | 0x40)
            .collect();
        wire.inject(address(60 + (n % 50) as u16), address(0), &garbage);
    }
    let other = Mesh::of(77);
    let mut strangers = Vec::new();
    for number in 9..30 {
        strangers.push(run(&other, &wire, other.node(number), &[0]).await);
    }
    let member = run(&mesh, &wire, mesh.node(1), &[0]).await;
    agree(&[&founder, &member], &ids([&founder, &member]), SOON).await;
    assert!(founder.process().stats().quic_connections < 30);
}

#[tokio::test(start_paused = true)]
async fn a_wider_grant_reaches_its_node_and_is_announced() {
    let (mesh, wire) = (Mesh::new(), SimWire::default());
    let founder = run(&mesh, &wire, mesh.node(0), &[]).await;
    let member = run(&mesh, &wire, mesh.node(1), &[0]).await;
    agree(&[&founder, &member], &ids([&founder, &member]), SOON).await;
    let wide = vec!["10.0.0.0/16".parse().unwrap()];
    let request = GrantRequest {
        node: member.id(),
        serve: wide.clone(),
        delegate: None,
    };
    let outcome = founder.process().grant(request).await.unwrap();
    assert!(outcome.delivered);
    sleep(Duration::from_secs(3)).await;
    assert_eq!(founder.view().nodes[&member.id()].grant_serve, wide);
}

#[tokio::test(start_paused = true)]
async fn a_grant_is_renewed_unattended_before_it_ends() {
    let (mut mesh, wire) = (Mesh::new(), SimWire::default());
    mesh.grant_life = Some(Duration::from_secs(300));
    let founder = run(&mesh, &wire, mesh.node(0), &[]).await;
    let member = run(&mesh, &wire, mesh.node(1), &[0]).await;
    agree(&[&founder, &member], &ids([&founder, &member]), SOON).await;
    sleep(Duration::from_secs(400)).await;
    agree(&[&founder, &member], &ids([&founder, &member]), SOON).await;
    let seen = founder.view().nodes[&member.id()].grant_not_after;
    assert!(seen > common::START + Duration::from_secs(1000), "{seen}");
}

#[tokio::test(start_paused = true)]
async fn members_tell_each_other_where_they_are_seen() {
    let (mesh, wire) = (Mesh::new(), SimWire::default());
    let founder = run(&mesh, &wire, mesh.node(0), &[]).await;
    let member = run(&mesh, &wire, mesh.node(1), &[0]).await;
    agree(&[&founder, &member], &ids([&founder, &member]), SOON).await;
    // It stops to announce its own address; the others still see where it is.
    member.process().announce(mesh.announcement(&member));
    sleep(Duration::from_secs(5)).await;
    assert!(founder.view().nodes[&member.id()].endpoints.contains(&address(1)));
}

#[tokio::test(start_paused = true)]
async fn members_that_were_cut_off_find_each_other_again() {
    let (mesh, wire) = (Mesh::new(), SimWire::default());
    let founder = run(&mesh, &wire, mesh.node(0), &[]).await;
    let member = run(&mesh, &wire, mesh.node(1), &[0]).await;
    agree(&[&founder, &member], &ids([&founder, &member]), SOON).await;
    wire.cut(address(1));
    sleep(Duration::from_secs(600)).await;
    let mut announcement = mesh.announcement(&member);
    announcement.capabilities = 1;
    announcement.endpoints = vec![address(1)];
    member.process().announce(announcement);
    sleep(Duration::from_secs(5)).await;
    wire.mend(address(1));
    agree(
        &[&founder, &member],
        &ids([&founder, &member]),
        Duration::from_secs(60),
    )
    .await;
}
