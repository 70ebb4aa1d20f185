//! Situations, and what should be in them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Instant;

use ipnet::IpNet;
use meshnode_crypto::mesh_address;
use meshnode_dataplane::PeerId;
use meshnode_membership::record::AnnouncedPrefix;
use meshnode_membership::view::View;
use proptest::prelude::*;

use super::fixture::{key, mesh, node, up, view};
use super::*;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|t| net(t)).collect()
}

fn local(prefixes: &[&str], accept: &[&str]) -> Local {
    let connected = |prefix: &str| Connected {
        prefix: net(prefix),
        interface: "eth0".into(),
    };
    Local {
        accept: nets(accept),
        prefixes: nets(prefixes),
        host: Host {
            connected: vec![connected("10.1.0.0/24"), connected("203.0.113.0/24")],
            addresses: vec!["10.1.0.5".parse().unwrap(), "203.0.113.1".parse().unwrap()],
            routes: nets(&["0.0.0.0/0", "10.1.0.0/24", "203.0.113.0/24", "10.50.0.0/16"])
                .into_iter()
                .collect(),
            link_mtu: Some(1500),
            ipv6: true,
            ..Host::default()
        },
        failing_checks: BTreeSet::new(),
        remembered: BTreeSet::new(),
        guarded: BTreeSet::new(),
    }
}

/// Every path works, and nothing was chosen before.
fn compose(view: &View, local: &Local) -> Desired {
    let now = Instant::now();
    let paths = view.nodes.keys().map(|id| (*id.as_bytes(), up(now))).collect();
    let situation = Situation {
        view,
        local,
        paths: &paths,
        now,
    };
    super::compose(&situation, &mut choice::Memory::default())
}

fn states(desired: &Desired) -> Vec<(String, String, RouteState)> {
    desired
        .statuses
        .iter()
        .map(|s| (s.prefix.to_string(), s.via.clone(), s.state))
        .collect()
}

fn reason(desired: &Desired, prefix: &str) -> String {
    desired
        .statuses
        .iter()
        .find(|s| s.prefix == net(prefix))
        .and_then(|s| s.reason.as_ref())
        .map_or_else(String::new, |reason| reason.text(Instant::now()))
}

fn kernel_route<'a>(desired: &'a Desired, prefix: &str) -> Option<&'a KernelRoute> {
    desired.kernel.routes.iter().find(|r| r.prefix == net(prefix))
}

fn target(desired: &Desired, prefix: &str) -> Option<PeerId> {
    let peer = |target: &table::Target| match target {
        table::Target::Peer(id) => *id,
        other => panic!("{other:?}"),
    };
    desired
        .routes
        .iter()
        .find(|(p, _)| *p == net(prefix))
        .map(|(_, target)| peer(target))
}

#[test]
fn announced_prefix_gets_route_guard_and_peer() {
    let desired = compose(
        &view(vec![node(2, &[("10.2.0.0/16", 100)])]),
        &local(&["10.1.0.0/16"], &[]),
    );
    let route = kernel_route(&desired, "10.2.0.0/16").unwrap();
    assert_eq!(
        (route.metric, route.source_hint),
        (77, Some("10.1.0.5".parse::<IpAddr>().unwrap()))
    );
    assert!(desired.kernel.guards.contains(&net("10.2.0.0/16")));
    assert_eq!(target(&desired, "10.2.0.0/16"), Some(*key(2).as_bytes()));
    assert_eq!(
        states(&desired),
        [("10.2.0.0/16".into(), "n2".into(), RouteState::Active)]
    );
    assert!(desired.warnings.is_empty(), "{:?}", desired.warnings);
}

#[test]
fn node_addresses_and_client_pools_are_routed_too() {
    let peer = node(2, &[]);
    let desired = compose(&view(vec![peer.clone()]), &local(&[], &[]));
    let mesh_ip = IpNet::from(IpAddr::V6(peer.mesh_address)).to_string();
    for prefix in [
        mesh_ip.as_str(),
        "100.96.2.0/24",
        &peer.client_prefix_v6.to_string(),
    ] {
        assert!(kernel_route(&desired, prefix).is_some(), "{prefix}");
        assert_eq!(target(&desired, prefix), Some(*key(2).as_bytes()), "{prefix}");
        assert!(desired.peers[0].sources.contains(&net(prefix)), "{prefix}");
    }
    assert!(desired.kernel.guards.contains(&net("100.96.2.0/24")));
    assert!(desired.kernel.guards.iter().any(|g| g.contains(&net(&mesh_ip))));
    assert!(desired.statuses.is_empty());
}

#[test]
fn highest_priority_then_lowest_id_serves_a_shared_prefix() {
    let shared = [("10.2.0.0/16", 100)];
    let (low, high) = if key(2) < key(3) { (2, 3) } else { (3, 2) };
    let equal = compose(&view(vec![node(2, &shared), node(3, &shared)]), &local(&[], &[]));
    assert_eq!(target(&equal, "10.2.0.0/16"), Some(*key(low).as_bytes()));
    let raised = [node(low, &shared), node(high, &[("10.2.0.0/16", 101)])];
    let raised = compose(&view(raised.to_vec()), &local(&[], &[]));
    assert_eq!(target(&raised, "10.2.0.0/16"), Some(*key(high).as_bytes()));
    assert_eq!(raised.statuses[1].state, RouteState::Standby);
    let why = raised.statuses[1].reason.as_ref().unwrap().text(Instant::now());
    assert!(why.contains("higher priority 101"), "{why}");
}

#[test]
fn standby_owner_may_still_send_from_the_prefix() {
    let shared = [("10.2.0.0/16", 100)];
    let desired = compose(&view(vec![node(2, &shared), node(3, &shared)]), &local(&[], &[]));
    assert!(
        desired
            .peers
            .iter()
            .all(|p| p.sources.contains(&net("10.2.0.0/16")))
    );
}

#[test]
fn own_prefix_is_never_routed_to_another_node() {
    let desired = compose(
        &view(vec![node(2, &[("10.1.0.0/16", 900)])]),
        &local(&["10.1.0.0/16"], &["10.0.0.0/8"]),
    );
    assert_eq!(desired.statuses[0].state, RouteState::Standby);
    assert_eq!(reason(&desired, "10.1.0.0/16"), "also announced here");
    assert!(kernel_route(&desired, "10.1.0.0/16").is_none());
    assert!(target(&desired, "10.1.0.0/16").is_none());
    assert!(!desired.kernel.guards.contains(&net("10.1.0.0/16")));
    assert!(desired.local.contains(&net("10.1.0.0/16")));
}

#[test]
fn default_route_connected_overlap_and_host_route_need_accept() {
    let prefixes = [
        ("0.0.0.0/0", 1),
        ("10.0.0.0/8", 1),
        ("10.1.0.128/25", 1),
        ("10.50.0.0/16", 1),
        ("10.60.0.0/16", 1),
    ];
    let desired = compose(&view(vec![node(2, &prefixes)]), &local(&[], &[]));
    let rejected = |p: &str| reason(&desired, p).contains("--accept");
    for prefix in ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.128/25", "10.50.0.0/16"] {
        assert!(rejected(prefix), "{prefix}: {}", reason(&desired, prefix));
        assert!(kernel_route(&desired, prefix).is_none() && target(&desired, prefix).is_none());
        assert!(!desired.kernel.guards.contains(&net(prefix)));
        assert!(
            !desired.peers[0].sources.contains(&net(prefix)),
            "a rejected prefix is no source either"
        );
    }
    assert!(reason(&desired, "10.1.0.128/25").contains("10.1.0.0/24 on eth0"));
    assert_eq!(target(&desired, "10.60.0.0/16"), Some(*key(2).as_bytes()));
}

#[test]
fn what_lies_behind_this_node_may_have_a_guard_beneath_its_own_way() {
    let mut local = local(&["10.1.0.0/16"], &[]);
    local.guarded.insert(net("10.1.0.0/24"));
    let guards = compose(&view(vec![]), &local).kernel.guards;
    assert!(guards.contains(&net("10.1.0.0/24")), "{guards:?}");
    assert!(!guards.contains(&net("10.1.0.0/16")), "{guards:?}");
}

#[test]
fn accepted_default_route_becomes_halves_beside_the_hosts_own_and_has_no_guard() {
    let desired = compose(
        &view(vec![node(2, &[("0.0.0.0/0", 1)])]),
        &local(&["10.1.0.0/16"], &["0.0.0.0/0"]),
    );
    assert!(kernel_route(&desired, "0.0.0.0/1").is_some() && kernel_route(&desired, "128.0.0.0/1").is_some());
    assert!(kernel_route(&desired, "0.0.0.0/0").is_none());
    assert_eq!(target(&desired, "0.0.0.0/0"), Some(*key(2).as_bytes()));
    assert!(desired.kernel.guards.iter().all(|g| g.prefix_len() > 1));
}

#[test]
fn accepting_everything_by_name_does_not_accept_what_is_inside() {
    let prefixes = [("0.0.0.0/0", 1), ("10.1.0.0/24", 1)];
    let desired = compose(&view(vec![node(2, &prefixes)]), &local(&[], &["0.0.0.0/0"]));
    assert!(reason(&desired, "10.1.0.0/24").contains("overlaps"));
    assert_eq!(reason(&desired, "0.0.0.0/0"), "");
}

#[test]
fn accepted_prefix_equal_to_a_host_route_is_installed_as_halves() {
    let desired = compose(
        &view(vec![node(2, &[("10.50.0.0/16", 1)])]),
        &local(&[], &["10.50.0.0/16"]),
    );
    assert!(
        kernel_route(&desired, "10.50.0.0/17").is_some()
            && kernel_route(&desired, "10.50.128.0/17").is_some()
    );
    assert!(kernel_route(&desired, "10.50.0.0/16").is_none());
    assert!(desired.kernel.guards.contains(&net("10.50.0.0/16")));
}

#[test]
fn prefix_covering_a_peers_endpoint_is_taken() {
    let desired = compose(&view(vec![node(2, &[("198.51.100.0/24", 1)])]), &local(&[], &[]));
    assert_eq!(desired.statuses[0].state, RouteState::Active);
}

#[test]
fn withdrawn_prefix_keeps_its_guard_but_nothing_else() {
    let mut here = local(&[], &[]);
    here.remembered = nets(&["10.2.0.0/16", "10.1.0.0/16"]).into_iter().collect();
    let desired = compose(&view(vec![node(2, &[])]), &here);
    assert!(kernel_route(&desired, "10.2.0.0/16").is_none() && target(&desired, "10.2.0.0/16").is_none());
    assert!(desired.kernel.guards.contains(&net("10.2.0.0/16")));
    assert!(
        !desired.kernel.guards.contains(&net("10.1.0.0/16")),
        "it would cut the host's own subnet"
    );
}

#[test]
fn without_ipv6_v6_prefixes_are_rejected_with_the_reason() {
    let mut here = local(&[], &[]);
    here.host.ipv6 = false;
    let desired = compose(
        &view(vec![node(2, &[("fd00:2::/64", 1), ("10.2.0.0/16", 1)])]),
        &here,
    );
    assert!(reason(&desired, "fd00:2::/64").contains("IPv6 is disabled"));
    assert_eq!(target(&desired, "10.2.0.0/16"), Some(*key(2).as_bytes()));
    let mesh_ip = IpNet::from(IpAddr::V6(mesh_address(&mesh(), &key(2)))).to_string();
    assert!(target(&desired, &mesh_ip).is_some(), "probes work all the same");
}

#[test]
fn gateway_without_an_address_in_its_prefixes_is_warned() {
    let peers = view(vec![node(2, &[("10.2.0.0/16", 1)])]);
    let warnings = compose(&peers, &local(&["10.9.0.0/16"], &[])).warnings;
    assert!(warnings[0].contains("own prefixes"));
    assert!(warnings[1].contains("nothing to forward for 10.9.0.0/16"));
    assert!(compose(&peers, &local(&["10.1.0.0/16"], &[])).warnings.is_empty());
}

fn small_prefix() -> impl Strategy<Value = (IpNet, u16)> {
    (0u8..6, prop::sample::select(vec![0u8, 8, 16, 24]), 0u16..3).prop_map(|(octet, length, priority)| {
        (
            IpNet::new([10, octet, octet, 0].into(), length).unwrap().trunc(),
            priority,
        )
    })
}

fn some_view() -> impl Strategy<Value = View> {
    let one = prop::collection::btree_map(small_prefix().prop_map(|p| p.0), 0u16..3, 0..6);
    prop::collection::vec(one, 0..6).prop_map(|nodes| {
        let node = |(seed, prefixes): (usize, BTreeMap<IpNet, u16>)| {
            let mut node = node(u8::try_from(seed).unwrap() + 1, &[]);
            node.prefixes = prefixes
                .into_iter()
                .map(|(prefix, priority)| AnnouncedPrefix { prefix, priority })
                .collect();
            node
        };
        view(nodes.into_iter().enumerate().map(node).collect())
    })
}

proptest! {
    #[test]
    fn same_view_same_desired_and_one_active_a_prefix(view in some_view(), accept in any::<bool>()) {
        let here = local(&["10.1.0.0/16"], if accept { &["0.0.0.0/0", "10.0.0.0/8"] } else { &[] });
        let (one, two) = (compose(&view, &here), compose(&view, &here));
        prop_assert_eq!(&one.kernel, &two.kernel);
        prop_assert_eq!(&one.statuses, &two.statuses);
        let mut active = BTreeSet::new();
        for status in one.statuses.iter().filter(|s| s.state == RouteState::Active) {
            prop_assert!(active.insert(status.prefix), "two active for {}", status.prefix);
            prop_assert_eq!(target(&one, &status.prefix.to_string()), Some(*status.owner.as_bytes()));
        }
        let distinct: BTreeSet<IpNet> = one.routes.iter().map(|(p, _)| *p).collect();
        prop_assert_eq!(distinct.len(), one.routes.len());
    }

    #[test]
    fn every_withdrawn_prefix_is_gone(view in some_view()) {
        let here = local(&["10.1.0.0/16"], &["10.0.0.0/8"]);
        let mut after = view.clone();
        let Some(mut gone) = after.nodes.pop_first().map(|(_, n)| n) else { return Ok(()) };
        let withdrawn: Vec<IpNet> = gone.prefixes.drain(..).map(|a| a.prefix).collect();
        after.nodes.insert(gone.id, gone.clone());
        let desired = compose(&after, &here);
        for prefix in withdrawn {
            prop_assert!(desired.statuses.iter().all(|s| s.owner != gone.id || s.prefix != prefix));
            prop_assert!(!desired.routes.contains(&(prefix, (*gone.id.as_bytes()).into())));
            let peer = desired.peers.iter().find(|p| p.id == *gone.id.as_bytes()).unwrap();
            prop_assert!(!peer.sources.contains(&prefix));
        }
    }
}
