use super::*;
use crate::table::{Peer, PeerKind, Table, Target};

fn peer(id: u8, kind: PeerKind, sources: &[&str]) -> Peer {
    Peer {
        id: [id; 32],
        kind,
        mesh_address: None,
        lanes: vec![[id; 32]],
        endpoints: vec![],
        endpoint_set: 0,
        sources: sources.iter().map(|s| s.parse().unwrap()).collect(),
        preshared_key: None,
        keepalive: None,
    }
}

const NODE: Ingress = Ingress::Peer(0);
const CLIENT: Ingress = Ingress::Peer(2);

fn table() -> CompiledTable {
    Table {
        local: vec!["10.1.0.0/16".parse().unwrap()],
        peers: vec![
            peer(1, PeerKind::Node, &["10.2.0.0/16"]),
            peer(2, PeerKind::Node, &["10.3.0.0/16"]),
            peer(3, PeerKind::Client, &["100.96.0.2/32"]),
            peer(4, PeerKind::Client, &["100.96.0.3/32"]),
        ],
        routes: vec![
            ("10.2.0.0/16".parse().unwrap(), [1; 32].into()),
            ("10.3.0.0/16".parse().unwrap(), [2; 32].into()),
        ],
        ..Table::default()
    }
    .compile()
}

fn all(plan: Plan) -> Verdict {
    match plan {
        Plan::All(verdict) => verdict,
        Plan::Spread(group) => panic!("spread over group {group}"),
    }
}

fn verdict(ingress: Ingress, source: &str, destination: &str) -> Verdict {
    let key = FlowKey {
        ingress,
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
    };
    all(plan(&key, &table()))
}

#[test]
fn stages_stand_in_the_order_of_their_phases() {
    for forwarding in [Forwarding::Mesh, Forwarding::Device] {
        assert!(stages(forwarding).is_sorted_by_key(|(phase, _)| *phase));
    }
}

#[test]
fn what_the_kernel_routes_here_goes_to_the_peer_that_serves_it() {
    assert_eq!(verdict(Ingress::Tun, "10.1.0.5", "10.2.0.9"), Verdict::Tunnel(0));
    assert_eq!(
        verdict(Ingress::Tun, "10.1.0.5", "100.96.0.2"),
        Verdict::Tunnel(2)
    );
    assert_eq!(
        verdict(Ingress::Tun, "10.1.0.5", "10.9.0.1"),
        Verdict::Drop(DropReason::NoRoute)
    );
}

#[test]
fn a_node_reaches_what_is_ours_and_our_clients_only() {
    assert_eq!(verdict(NODE, "10.2.0.9", "10.1.0.5"), Verdict::Deliver);
    assert_eq!(verdict(NODE, "10.2.0.9", "100.96.0.3"), Verdict::Tunnel(3));
    for elsewhere in [
        "10.3.0.1",
        "10.2.0.1",
        "169.254.169.254",
        "127.0.0.1",
        "224.0.0.1",
    ] {
        assert_eq!(
            verdict(NODE, "10.2.0.9", elsewhere),
            Verdict::Drop(DropReason::DestinationNotOurs)
        );
    }
}

#[test]
fn nobody_uses_a_source_of_another() {
    for (ingress, source) in [
        (NODE, "10.3.0.1"),
        (NODE, "10.1.0.1"),
        (CLIENT, "100.96.0.3"),
        (CLIENT, "10.2.0.1"),
    ] {
        assert_eq!(
            verdict(ingress, source, "10.1.0.5"),
            Verdict::Drop(DropReason::SourceNotAllowed)
        );
    }
    assert_eq!(
        verdict(Ingress::Peer(99), "10.2.0.1", "10.1.0.5"),
        Verdict::Drop(DropReason::SourceNotAllowed)
    );
}

#[test]
fn a_client_reaches_the_whole_mesh_through_its_node() {
    assert_eq!(verdict(CLIENT, "100.96.0.2", "10.1.0.5"), Verdict::Deliver);
    assert_eq!(verdict(CLIENT, "100.96.0.2", "10.3.0.5"), Verdict::Tunnel(1));
    assert_eq!(verdict(CLIENT, "100.96.0.2", "100.96.0.3"), Verdict::Tunnel(3));
    assert_eq!(
        verdict(CLIENT, "100.96.0.2", "8.8.8.8"),
        Verdict::Drop(DropReason::DestinationNotOurs)
    );
}

#[test]
fn a_balanced_prefix_is_spread_by_port_and_a_closed_one_drops() {
    let mut table = Table {
        peers: vec![peer(1, PeerKind::Node, &[]), peer(2, PeerKind::Node, &[])],
        ..Table::default()
    };
    table.routes = vec![
        (
            "10.2.0.0/16".parse().unwrap(),
            Target::Balanced(vec![[1; 32], [2; 32]]),
        ),
        ("10.2.7.0/24".parse().unwrap(), Target::Drop),
    ];
    let (table, mut cache) = (table.compile(), FlowCache::default());
    let mut to = |third: u8, port: u8| {
        let mut bytes = [
            0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 1, 0, 1, 10, 2, third, 2,
        ]
        .to_vec();
        bytes.extend([0, port, 0, 53, 0, 8, 0, 0]);
        cache.verdict(Ingress::Tun, &Packet::parse(&bytes).unwrap(), &table)
    };
    let taken: Vec<Verdict> = (0..32).map(|port| to(0, port)).collect();
    assert!(taken.contains(&Verdict::Tunnel(0)) && taken.contains(&Verdict::Tunnel(1)));
    assert_eq!(
        taken,
        (0..32).map(|port| to(0, port)).collect::<Vec<_>>(),
        "sticky"
    );
    assert_eq!(to(7, 1), Verdict::Drop(DropReason::NoGateway));
}

#[test]
fn plans_do_not_outlive_their_table() {
    let mut cache = FlowCache::default();
    let key = FlowKey {
        ingress: NODE,
        source: "10.2.0.9".parse().unwrap(),
        destination: "10.1.0.5".parse().unwrap(),
    };
    assert_eq!(all(cache.plan(&key, &table())), Verdict::Deliver);
    let empty = CompiledTable::default();
    assert_eq!(all(cache.plan(&key, &empty)), Verdict::Deliver, "replayed");
    cache.invalidate();
    assert_eq!(
        all(cache.plan(&key, &empty)),
        Verdict::Drop(DropReason::SourceNotAllowed)
    );
}

/// Peers 0 and 1; the second owns a part of what the first has.
fn device_verdict(ingress: Ingress, source: &str, destination: &str) -> Verdict {
    let table = Table {
        forwarding: Forwarding::Device,
        peers: vec![peer(1, PeerKind::Client, &[]), peer(2, PeerKind::Client, &[])],
        routes: vec![
            ("192.168.0.0/16".parse().unwrap(), [1; 32].into()),
            ("192.168.7.0/24".parse().unwrap(), [2; 32].into()),
        ],
        ..Table::default()
    };
    let key = FlowKey {
        ingress,
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
    };
    all(plan(&key, &table.compile()))
}

#[test]
fn a_device_sends_by_the_longest_prefix() {
    let to = |destination| device_verdict(Ingress::Tun, "10.0.0.1", destination);
    assert_eq!(to("192.168.1.1"), Verdict::Tunnel(0));
    assert_eq!(to("192.168.7.1"), Verdict::Tunnel(1));
    assert_eq!(to("10.0.0.2"), Verdict::Drop(DropReason::NoRoute));
}

#[test]
fn a_device_takes_a_source_only_from_the_peer_that_it_would_answer() {
    let refused = Verdict::Drop(DropReason::SourceNotAllowed);
    let from = |peer, source| device_verdict(Ingress::Peer(peer), source, "10.9.9.9");
    assert_eq!(from(0, "192.168.1.1"), Verdict::Deliver);
    assert_eq!(from(0, "192.168.7.1"), refused);
    assert_eq!(from(1, "192.168.7.1"), Verdict::Deliver);
    assert_eq!(from(1, "192.168.1.1"), refused);
    assert_eq!(from(1, "10.0.0.1"), refused);
}

#[test]
fn a_device_gives_everything_to_its_host() {
    // Where it goes from there is for the host's routes to say: nothing turns round inside.
    let verdict = device_verdict(Ingress::Peer(0), "192.168.1.1", "192.168.7.1");
    assert_eq!(verdict, Verdict::Deliver);
}
