//! Pairs that do not reach each other straight, and a third that both reach.

use anyhow::{Result, ensure};
use meshnode_tests::node::peers;
use meshnode_tests::topology::{Options, ThreeVpcs, Vpc, realm};
use meshnode_tests::traffic::{Pulse, Talk};
use meshnode_tests::{Node, Realm, eventually, in_world};

use crate::AMPLY;

/// Rules for what crosses the internet.
fn block(vpcs: &ThreeVpcs<'_>, name: &str, ways: &[(&str, &str)]) -> Result<()> {
    let rules: Vec<String> = ways
        .iter()
        .map(|(from, to)| format!("iifname {from} oifname {to} drop"))
        .collect();
    vpcs.internet.nft(&format!(
        "table inet {name} {{
           chain forward {{
             type filter hook forward priority filter
             {}
           }}
         }}",
        rules.join("\n")
    ))
}

/// Waits until packets of `node` to `peer` take this way.
fn goes(node: &Node<'_>, peer: &str, way: &str) -> Result<()> {
    node.wait_status(&format!("{peer} is reached by {way}"), AMPLY * 2, |status| {
        peers(status).any(|p| p["name"] == peer && p["path"] == way && p["state"] == "up")
    })
    .map(drop)
}

/// What may not be seen where it is only passed on: packets between these two.
fn between(one: &Vpc, other: &Vpc) -> Realm {
    let plans = [one.plan, other.plan];
    Realm {
        inner: plans
            .iter()
            .flat_map(|plan| [plan.prefix(), plan.prefix6()])
            .collect(),
        ..realm()
    }
}

#[test]
fn a_pair_that_is_cut_talks_through_the_third_until_the_cut_is_mended() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        let mesh = vpcs.mesh()?;
        let (sz, hk, gz) = (vpcs.vpc("sz")?, vpcs.vpc("hk")?, vpcs.vpc("gz")?);
        let (one, other, relay) = (mesh.node("sz")?, mesh.node("hk")?, mesh.node("gz")?);
        world.capture(&gz.gateway, between(sz, hk))?;
        let there = Pulse::start(&sz.host, &hk.host, hk.plan.host_addresses()[0])?;
        let back = Pulse::start(&hk.host, &sz.host, sz.plan.host_addresses()[1])?;
        let mut talk = Talk::start(&sz.host, &hk.host, hk.plan.host_addresses()[0])?;
        there.flows(AMPLY)?;
        block(&vpcs, "one_way", &[("sz", "hk")])?;
        goes(one, "hk", "relay:gz")?;
        goes(other, "sz", "relay:gz")?;
        there.flows(AMPLY)?;
        back.flows(AMPLY)?;
        block(&vpcs, "other_way", &[("hk", "sz")])?;
        there.flows(AMPLY)?;
        back.flows(AMPLY)?;
        talk.goes_on(AMPLY)?;
        for counted in ["meshnode_relay_sessions", "meshnode_relayed_packets_total"] {
            eventually(&format!("the relay counts {counted}"), AMPLY, || {
                ensure!(relay.metric(counted)? >= 1.0);
                Ok(())
            })?;
        }
        vpcs.internet.nft("delete table inet one_way")?;
        vpcs.internet.nft("delete table inet other_way")?;
        goes(one, "hk", "direct")?;
        goes(other, "sz", "direct")?;
        there.flows(AMPLY)?;
        back.flows(AMPLY)?;
        talk.goes_on(AMPLY)
    })
}

#[test]
fn two_that_never_reached_each_other_meet_through_who_let_them_in() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        block(&vpcs, "apart", &[("hk", "gz"), ("gz", "hk")])?;
        let mesh = vpcs.mesh_with(&Options::default())?;
        goes(mesh.node("hk")?, "gz", "relay:sz")?;
        mesh.hosts_exchange(20_000)?;
        let path = r#"meshnode_peer_path_info{peer="gz",path="relay:sz"}"#;
        ensure!(mesh.node("hk")?.metric(path)? == 1.0);
        Ok(())
    })
}
