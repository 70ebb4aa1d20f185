//! The world itself, before anything is proved with it: it carries what it should, its capture sees what it
//! should, and it leaves nothing behind.

use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use meshnode_tests::topology::{ThreeVpcs, behind_nat, reaches};
use meshnode_tests::traffic::{Pulse, Questions, exchange, transfer};
use meshnode_tests::{World, eventually, in_world};

const BRIEFLY: Duration = Duration::from_millis(300);
const AMPLY: Duration = Duration::from_secs(5);
/// Set in the process that is to be killed.
const VICTIM: &str = "MESHNODE_TEST_VICTIM";

#[test]
fn plain_routing_works_before_any_mesh() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        let (sz, hk) = (vpcs.vpc("sz")?, vpcs.vpc("hk")?);
        reaches(&sz.gateway, hk.plan.public().into())?;
        reaches(&sz.gateway, hk.plan.public6().into())?;
        reaches(&sz.host, sz.plan.gateway_addresses()[0])?;
        reaches(&hk.host, hk.plan.gateway_addresses()[1])?;
        let sideways = sz.gateway.ip("route add blackhole 172.31.0.0/16");
        sideways?;
        ensure!(
            sz.host.ping(hk.plan.host_addresses()[0], BRIEFLY).is_err(),
            "an inner address is reachable"
        );
        Ok(())
    })
}

#[test]
fn capture_sees_an_inner_packet_in_clear() -> Result<()> {
    let world = World::create()?;
    let vpcs = ThreeVpcs::build(&world)?;
    let (sz, hk) = (vpcs.vpc("sz")?, vpcs.vpc("hk")?);
    let lost = sz.host.ping(hk.plan.host_addresses()[0], BRIEFLY);
    ensure!(lost.is_err(), "the internet knows an inner prefix");
    let seen = vpcs.capture.until_in_clear()?;
    ensure!(
        seen.described[0].contains("172.18.171.247 > 172.31.185.159"),
        "{seen:?}"
    );
    ensure!(
        world.check().is_err(),
        "the check at the end of a world passes in spite of it"
    );
    Ok(())
}

#[test]
fn capture_sees_test_traffic_between_endpoints() -> Result<()> {
    let world = World::create()?;
    let vpcs = ThreeVpcs::build(&world)?;
    let (sz, hk) = (vpcs.vpc("sz")?, vpcs.vpc("hk")?);
    exchange(
        &sz.gateway,
        &hk.gateway,
        hk.plan.public().into(),
        &Questions::once(1, 100),
    )?;
    let seen = vpcs.capture.until_in_clear()?;
    ensure!(seen.described[0].contains("test traffic"), "{seen:?}");
    Ok(())
}

#[test]
fn traffic_is_compared_and_its_source_is_seen() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        let sz = vpcs.vpc("sz")?;
        for family in 0..2 {
            let (own, gateway) = (
                sz.plan.host_addresses()[family],
                sz.plan.gateway_addresses()[family],
            );
            ensure!(transfer(&sz.host, &sz.gateway, gateway, 1_000_000)?.source == own);
            let exchanged = exchange(&sz.host, &sz.gateway, gateway, &Questions::once(20, 1200))?;
            ensure!(
                exchanged.source == own && exchanged.answered == 20,
                "{exchanged:?}"
            );
        }
        Ok(())
    })
}

#[test]
fn pulse_tells_silence_from_traffic() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        let sz = vpcs.vpc("sz")?;
        let pulse = Pulse::start(&sz.host, &sz.gateway, sz.plan.gateway_addresses()[0])?;
        pulse.flows(AMPLY)?;
        sz.gateway.ip("link set lan down")?;
        pulse.falls_silent(BRIEFLY, AMPLY)?;
        sz.gateway.ip("link set lan up")?;
        pulse.flows(AMPLY)?;
        ensure!(pulse.longest_silence() >= BRIEFLY);
        Ok(())
    })
}

#[test]
fn clouds_translate_gateways_one_to_one() -> Result<()> {
    in_world(|world| {
        let vpcs = behind_nat(world)?;
        let (sz, hk) = (vpcs.vpc("sz")?, vpcs.vpc("hk")?);
        let inbound = hk.gateway.inside(|| UdpSocket::bind("0.0.0.0:51820"))??;
        let target = (hk.plan.public(), 51820);
        let outbound = sz.gateway.inside(|| UdpSocket::bind("0.0.0.0:51820"))??;
        outbound.send_to(b"anyone?", target)?;
        inbound.set_read_timeout(Some(AMPLY))?;
        let (_, source) = inbound.recv_from(&mut [0; 16])?;
        ensure!(source.ip() == sz.plan.public(), "{source}");
        ensure!(
            sz.host.ping(hk.plan.public().into(), BRIEFLY).is_err(),
            "a host without a public address got out"
        );
        Ok(())
    })
}

#[test]
fn panic_leaves_nothing_behind() -> Result<()> {
    let (send, receive) = std::sync::mpsc::channel();
    let panicked = std::thread::spawn(move || {
        let world = World::create()?;
        let vpcs = ThreeVpcs::build(&world)?;
        send.send(vpcs.internet.namespace().to_owned())?;
        assert!(vpcs.vpcs.is_empty(), "this panic belongs to the test");
        anyhow::Ok(())
    });
    let namespace = receive.recv()?;
    ensure!(panicked.join().is_err());
    ensure!(!namespace_exists(&namespace), "{namespace} is still there");
    Ok(())
}

/// Runs itself once more as the owner that is killed.
#[test]
fn killed_owner_is_swept_up_after() -> Result<()> {
    if std::env::var_os(VICTIM).is_some() {
        return wait_to_be_killed();
    }
    let mut owner = Command::new(std::env::current_exe()?)
        .args(["--exact", "itself::killed_owner_is_swept_up_after", "--nocapture"])
        .env(VICTIM, "1")
        .stdout(Stdio::piped())
        .spawn()?;
    let lines = BufReader::new(owner.stdout.take().context("no output")?).lines();
    let namespace = lines
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("namespace ").map(str::to_owned));
    let namespace = namespace.context("the victim made no world")?;
    ensure!(namespace_exists(&namespace));
    owner.kill()?;
    owner.wait()?;
    eventually("the sweep", AMPLY, || {
        World::sweep()?;
        ensure!(!namespace_exists(&namespace), "{namespace} is still there");
        Ok(())
    })
}

#[allow(clippy::print_stdout, reason = "how the victim names its namespace")]
fn wait_to_be_killed() -> Result<()> {
    let world = World::create()?;
    let host = world.host("victim")?;
    println!("\nnamespace {}", host.namespace());
    loop {
        std::thread::park();
    }
}

fn namespace_exists(name: &str) -> bool {
    std::path::Path::new("/run/netns").join(name).exists()
}
