//! A target behind two gateways that other members ask for: a gateway that is online and forwards nothing loses the traffic,
//! and a target that is down moves nobody.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use meshnode_tests::topology::{Options, Roles, Twins, Wire};
use meshnode_tests::traffic::{Pulse, Talk};
use meshnode_tests::wait::eventually;
use meshnode_tests::{Node, in_world};
use serde_json::Value;

use crate::AMPLY;

/// TCP may wait twice as long as the outage lasted before it tries again.
const TCP: Duration = Duration::from_secs(30);

/// The same target behind both: what comes back through one says nothing of the other.
const ALIKE: [(&str, &str); 2] = [
    (
        "hk",
        "[prefix.\"172.29.0.0/16\"]\ncheck = \"icmp://172.29.0.10\"\n",
    ),
    (
        "gz",
        "[prefix.\"172.29.0.0/16\"]\ncheck = \"icmp://172.29.0.10\"\n",
    ),
];

/// Both ask the same machine; nobody listens on that port, so that it refuses, which is an answer.
const DIFFERENT: [(&str, &str); 2] = [
    (
        "hk",
        "[prefix.\"172.29.0.0/16\"]\ncheck = \"icmp://172.29.0.10\"\n",
    ),
    (
        "gz",
        "[prefix.\"172.29.0.0/16\"]\ncheck = \"tcp://172.29.0.10:9\"\n",
    ),
];

fn in_checked_world(
    config: &'static [(&'static str, &'static str)],
    body: impl FnOnce(&Twins<'_>, &mut Pulse, &mut Talk) -> Result<()>,
) -> Result<()> {
    in_world(|world| {
        let options = Options {
            config,
            ..Options::default()
        };
        let twins = Twins::with(world, Wire::Cable, &options)?;
        let (client, server) = (twins.client()?, &twins.server);
        let mut pulse = Pulse::start(client, server, twins.server_address())?;
        let mut talk = Talk::start(client, server, twins.server_address())?;
        pulse.flows(AMPLY)?;
        talk.goes_on(TCP)?;
        body(&twins, &mut pulse, &mut talk)
    })
}

fn fails(twins: &Twins<'_>, gateway: &str, wanted: bool) -> Result<()> {
    let series = format!("meshnode_check_failing{{gateway=\"{gateway}\",prefix=\"172.29.0.0/16\"}}");
    let source = twins.source()?;
    eventually(&format!("{series} is {wanted}"), AMPLY, || {
        ensure!((source.metric(&series)? > 0.5) == wanted, "it is not");
        Ok(())
    })
}

fn warns(node: &Node<'_>, words: &str) -> Result<()> {
    node.wait_status(words, AMPLY, |status| {
        warnings(status).any(|warning| warning.contains(words))
    })?;
    Ok(())
}

fn warnings(status: &Value) -> impl Iterator<Item = &str> {
    let all = status["warnings"].as_array().map_or(&[][..], Vec::as_slice);
    all.iter().filter_map(Value::as_str)
}

fn stop_forwarding(node: &Node<'_>) -> Result<()> {
    node.host().nft(
        "table inet broken {
           chain forward { type filter hook forward priority filter; oifname twin drop; }
         }",
    )
}

fn mend(node: &Node<'_>) -> Result<()> {
    node.host().nft("delete table inet broken")
}

#[test]
fn gateway_that_is_online_and_does_not_forward_is_routed_around() -> Result<()> {
    in_checked_world(&ALIKE, |twins, pulse, talk| {
        let Roles { active, standby } = twins.ready(AMPLY)?;
        for (broken, other) in [(&active, &standby), (&standby, &active)] {
            let gateway = twins.mesh.node(broken)?;
            stop_forwarding(gateway)?;
            twins.moves_to(other, AMPLY)?;
            pulse.flows(AMPLY)?;
            talk.goes_on(TCP)?;
            fails(twins, broken, true)?;
            warns(
                gateway,
                "does not answer through this gateway of 172.29.0.0/16, says sz",
            )?;
            twins.ready(AMPLY).context("its tunnel did not outlive that")?;
            mend(gateway)?;
            fails(twins, broken, false)?;
        }
        let told = twins.source()?.events(0)?;
        let of_checks: Vec<_> = told.iter().filter(|event| event["kind"] == "check").collect();
        ensure!(of_checks.len() >= 4, "twice failed and mended: {of_checks:?}");
        Ok(())
    })
}

#[test]
fn target_that_is_down_moves_nobody_and_is_an_alarm() -> Result<()> {
    in_checked_world(&DIFFERENT, |twins, pulse, talk| {
        twins.server.nft(
            "table inet deaf {
               chain input {
                 type filter hook input priority filter
                 icmp type echo-request drop
                 tcp dport 9 drop
               }
             }",
        )?;
        fails(twins, "hk", true)?;
        fails(twins, "gz", true)?;
        let source = twins.source()?;
        warns(source, "no gateway of 172.29.0.0/16 passes its check")?;
        let ignored = source.metric("meshnode_check_ignored{prefix=\"172.29.0.0/16\"}")?;
        ensure!(ignored > 0.5, "no alarm");
        pulse.flows(AMPLY)?;
        talk.goes_on(TCP)?;
        twins.server.nft("delete table inet deaf")?;
        fails(twins, "hk", false)?;
        fails(twins, "gz", false)?;
        source.wait_status("no warning", AMPLY, |status| {
            !warnings(status).any(|warning| warning.contains("check"))
        })?;
        pulse.flows(AMPLY)?;
        talk.goes_on(TCP)
    })
}
