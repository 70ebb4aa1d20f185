//! Whatever happens, in whatever order: what is delivered is right, nothing leaks, and in the end all is well.

use super::net::*;
use crate::stats::PeerState;
use crate::table::{Keys, Table};
use crate::tunnel::stand_in::StandIn;
use crate::tunnel::{Seal, WireGuard};
use proptest::prelude::*;
use std::net::SocketAddr;

const NODES: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    Send { from: usize, to: usize },
    Wait { ms: u32 },
    Block { from: usize, to: usize },
    Unblock,
    Lossy { one_in: u64 },
    NewKeys { node: usize },
    Restart { node: usize },
    Learn { node: usize },
    Forget { node: usize, peer: usize },
    Roam { node: usize, port: u16 },
}

fn step() -> impl Strategy<Value = Step> {
    let node = || 0..NODES;
    prop_oneof![
        6 => (node(), node()).prop_map(|(from, to)| Step::Send { from, to }),
        6 => (1u32..3000).prop_map(|ms| Step::Wait { ms }),
        1 => (100_000u32..400_000).prop_map(|ms| Step::Wait { ms }),
        1 => (node(), node()).prop_map(|(from, to)| Step::Block { from, to }),
        1 => Just(Step::Unblock),
        1 => (2u64..10).prop_map(|one_in| Step::Lossy { one_in }),
        1 => node().prop_map(|node| Step::NewKeys { node }),
        1 => node().prop_map(|node| Step::Restart { node }),
        3 => node().prop_map(|node| Step::Learn { node }),
        1 => (node(), node()).prop_map(|(node, peer)| Step::Forget { node, peer }),
        1 => (node(), 1000u16..1010).prop_map(|(node, port)| Step::Roam { node, port }),
    ]
}

/// What is true: the epoch of every node, and whether it still has the keys of the one before.
struct Truth {
    epochs: [u16; NODES],
    previous: [bool; NODES],
    addresses: [SocketAddr; NODES],
}

impl Truth {
    fn new() -> Truth {
        Truth {
            epochs: [0; NODES],
            previous: [false; NODES],
            addresses: std::array::from_fn(address),
        }
    }

    /// The table of a node that knows all that is true.
    fn table(&self, me: usize) -> Table {
        let mut table = table(me, NODES);
        for peer in &mut table.peers {
            let n = (0..NODES).find(|n| id(*n) == peer.id).unwrap();
            *peer = node_peer(n, self.epochs[n]);
            peer.endpoints = vec![self.addresses[n]];
        }
        self.keys(me, &mut table);
        table
    }

    fn keys(&self, me: usize, table: &mut Table) {
        let own = self.epochs[me];
        let previous = self.previous[me]
            .then(|| lane_key(me, own - 1))
            .into_iter()
            .collect();
        table.keys = Keys {
            lanes: vec![lane_key(me, own)],
            previous,
            client: None,
        };
    }
}

fn apply<S: Seal + 'static>(net: &mut Net<S>, truth: &mut Truth, step: Step, sent: &mut u32) {
    match step {
        Step::Send { from, to } if from != to => {
            *sent += 1;
            let (a, b) = (format!("10.{from}.0.1"), format!("10.{to}.0.1"));
            net.outbound(from, &packet(&a, &b, &sent.to_be_bytes()));
        }
        Step::Wait { ms } => net.run(ms * MS),
        Step::Block { from, to } => {
            let (from, to) = (truth.addresses[from], truth.addresses[to]);
            net.lose = Box::new(move |f| f.from == from && f.to == to);
        }
        Step::Unblock => net.lose = Box::new(|_| false),
        Step::Lossy { one_in } => {
            let mut state = 7u64;
            net.lose = Box::new(move |_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 40).is_multiple_of(one_in)
            });
        }
        Step::NewKeys { node } => {
            truth.epochs[node] += 1;
            truth.previous[node] = true;
            let mut table = net.nodes[node].table.clone();
            truth.keys(node, &mut table);
            net.apply(node, table);
        }
        Step::Restart { node } => {
            truth.epochs[node] += 1;
            truth.previous[node] = false;
            net.restart(node);
            net.apply(node, truth.table(node));
        }
        Step::Learn { node } => net.apply(node, truth.table(node)),
        Step::Forget { node, peer } if node != peer => {
            let mut table = net.nodes[node].table.clone();
            table.peers.retain(|p| p.id != id(peer));
            net.apply(node, table);
        }
        Step::Roam { node, port } => {
            truth.addresses[node].set_port(port);
            net.nodes[node].address = truth.addresses[node];
        }
        Step::Send { .. } | Step::Forget { .. } => {}
    }
}

fn check<S: Seal + 'static>(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let (mut net, mut truth, mut sent) = (Net::<S>::new(NODES), Truth::new(), 0);
    for step in steps {
        apply(&mut net, &mut truth, step, &mut sent);
        for n in 0..NODES {
            let engine = &net.nodes[n].engine;
            prop_assert!(
                engine.tunnels.len() <= 2 * engine.peers.len(),
                "tunnels without a peer"
            );
        }
    }
    net.lose = Box::new(|_| false);
    for n in 0..NODES {
        net.apply(n, truth.table(n));
    }
    net.run(15_000 * MS);
    let mut delivered = 0;
    for n in 0..NODES {
        for peer in net.stats(n).peers.values() {
            prop_assert_eq!(peer.state, PeerState::Up);
        }
        prop_assert_eq!(net.nodes[n].engine.tunnels.len(), NODES - 1);
        prop_assert_eq!(net.stats(n).pending_bytes, 0);
        for packet in net.delivered(n) {
            delivered += 1;
            prop_assert_eq!(packet[17], n as u8, "to the right network");
            prop_assert!(
                packet[13] != n as u8 && packet[13] < NODES as u8,
                "from the right one"
            );
        }
    }
    prop_assert!(delivered <= sent, "nothing arrives twice");
    for (from, to) in [(0, 1), (1, 2), (2, 0), (1, 0)] {
        let whole = packet(&format!("10.{from}.0.1"), &format!("10.{to}.0.1"), b"in the end");
        net.outbound(from, &whole);
        net.run(5 * MS);
        prop_assert_eq!(net.delivered(to), vec![whole]);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn all_is_well_in_the_end_in_virtual_time(steps in prop::collection::vec(step(), 1..40)) {
        check::<StandIn>(steps)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn all_is_well_in_the_end_through_real_wireguard(steps in prop::collection::vec(step(), 1..25)) {
        // Its own clock stands still meanwhile, so that sessions do not end by age.
        check::<WireGuard>(steps)?;
    }
}
