//! A network card that corrupts what it segments: runs are lost, single datagrams are not.

use super::net::*;
use crate::lane::engine::EngineEvent;
use crate::offload::switch::Offload;
use crate::path::runs::Verdict;
use crate::tunnel::stand_in::StandIn;
use std::time::Duration;

/// A hundred packets a second in pairs; how many of them arrive in this time.
fn pairs(net: &mut Net<StandIn>, time: Duration) -> usize {
    let end = net.now + time;
    net.delivered(1);
    while net.now < end {
        let packet = packet("10.0.0.5", "10.1.0.9", &[7; 200]);
        net.outbound_together(0, &[packet.clone(), packet]);
        net.run(20 * MS);
    }
    net.run(20 * MS);
    net.delivered(1).len()
}

fn verdicts(net: &Net<StandIn>) -> Vec<Verdict> {
    let verdict = |event: &EngineEvent| match event {
        EngineEvent::Runs { verdict, .. } => Some(*verdict),
        _ => None,
    };
    net.nodes[0].events.iter().filter_map(verdict).collect()
}

#[test]
fn what_a_card_corrupts_leaves_singly_within_five_seconds_and_together_once_it_is_mended() {
    let mut net: Net<StandIn> = Net::up(2);
    assert_eq!(pairs(&mut net, Duration::from_secs(2)), 200);
    net.corrupts = true;
    pairs(&mut net, Duration::from_secs(5));
    assert_eq!(verdicts(&net), [Verdict::Lost]);
    assert_eq!(
        pairs(&mut net, Duration::from_secs(20)),
        2_000,
        "not one is lost again"
    );
    assert_eq!(net.stats(0).offloads.refused[Offload::Gso as usize], 1);
    net.corrupts = false;
    pairs(&mut net, Duration::from_secs(5));
    assert_eq!(verdicts(&net), [Verdict::Lost, Verdict::Restored]);
}

#[test]
fn loss_of_a_fifth_each_way_is_not_taken_for_corruption() {
    let mut net: Net<StandIn> = Net::up(2);
    let mut state = 1u64;
    net.lose = Box::new(move |_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33).is_multiple_of(5)
    });
    pairs(&mut net, Duration::from_secs(120));
    assert_eq!(verdicts(&net), []);
}

#[test]
fn idle_path_is_not_probed_for_it() {
    let mut net: Net<StandIn> = Net::up(2);
    net.run(Duration::from_secs(5));
    net.captured();
    net.run(Duration::from_secs(10));
    let size = crate::path::stamp::PROBE + 4 + crate::tunnel::OVERHEAD;
    assert_eq!(
        net.captured()
            .iter()
            .filter(|flight| flight.payload.len() == size)
            .count(),
        0
    );
}
