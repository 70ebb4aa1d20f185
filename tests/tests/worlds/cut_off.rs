//! Partitions that heal, and links that cannot make up their minds.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use meshnode_tests::in_world;
use meshnode_tests::link::Conditions;
use meshnode_tests::topology::{Roles, SHARED, Twins, Wire};
use meshnode_tests::traffic::{Pulse, Talk};

use crate::AMPLY;

/// Long enough that everybody is down for everybody, and handshakes are tried seldom.
const PARTED: Duration = Duration::from_secs(12);
const SILENCE: Duration = Duration::from_millis(500);
/// TCP may wait twice as long as the partition lasted before it tries again.
const TCP: Duration = Duration::from_secs(40);

#[test]
fn traffic_is_back_after_a_partition() -> Result<()> {
    in_world(|world| {
        let twins = Twins::build(world, Wire::Cable)?;
        let (client, server) = (twins.client()?, &twins.server);
        let pulse = Pulse::start(client, server, twins.server_address())?;
        let mut talk = Talk::start(client, server, twins.server_address())?;
        pulse.flows(AMPLY)?;
        talk.goes_on(AMPLY)?;
        twins.vpcs.internet.nft(
            "table inet parted {
               chain forward {
                 type filter hook forward priority filter
                 iifname sz drop
                 oifname sz drop
               }
             }",
        )?;
        pulse.falls_silent(SILENCE, AMPLY)?;
        std::thread::sleep(PARTED);
        twins.vpcs.internet.nft("delete table inet parted")?;
        pulse.flows(AMPLY)?;
        talk.goes_on(TCP)?;
        twins.ready(AMPLY).map(drop)
    })
}

/// Up and down for so long each.
const PHASE: Duration = Duration::from_millis(700);
/// In all.
const FLAPS: Duration = Duration::from_secs(14);
/// Of the traffic, in that time: one in ten seconds, and the one at the end of it.
const CHANGES: usize = 2;

#[test]
fn flapping_link_moves_the_traffic_seldom() -> Result<()> {
    in_world(|world| {
        let twins = Twins::build(world, Wire::Link)?;
        let pulse = Pulse::start(twins.client()?, &twins.server, twins.server_address())?;
        pulse.flows(AMPLY)?;
        let Roles { active, .. } = twins.ready(AMPLY)?;
        let (source, link) = (twins.source()?, twins.vpcs.link(&active)?);
        let (latest, used) = (source.latest_event()?, source.process()?.processor_time()?);
        let begin = Instant::now();
        while begin.elapsed() < FLAPS {
            link.set_both(Conditions::black_hole());
            std::thread::sleep(PHASE);
            link.set_both(Conditions::default());
            std::thread::sleep(PHASE);
        }
        let changes: Vec<_> = source
            .events(latest)?
            .into_iter()
            .filter(|event| event["kind"] == "route" && event["prefix"] == SHARED)
            .collect();
        ensure!(changes.len() <= CHANGES, "{changes:?}");
        let used = source.process()?.processor_time()?.saturating_sub(used);
        ensure!(used < FLAPS / 2, "it used {used:?} of processor time");
        pulse.flows(AMPLY)?;
        twins.ready(AMPLY * 3).map(drop)
    })
}
