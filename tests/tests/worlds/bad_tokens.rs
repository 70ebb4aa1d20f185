//! Every refusal of an admission says why, and changes nothing.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use meshnode_tests::node::Said;
use meshnode_tests::topology::{Options, ThreeVpcs, Vpc};
use meshnode_tests::{Node, in_world};

#[test]
fn broken_tokens_are_refused_with_the_reason() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        let options = Options::default();
        let hk = vpcs.vpc("hk")?;
        let founder = vpcs.found(&options)?;
        let token = vpcs.invite(&founder, hk, &options)?;
        let node = vpcs.node(hk, &options);
        node.cli(&["join", "198.51.100.10"])?.refused(2, &["token"])?;
        try_join(&node, hk, &token[..token.len() / 2])?.refused(2, &["token"])?;
        try_join(&node, hk, "mesh1_nonsense")?.refused(2, &["token"])?;
        nothing_was_kept(&node)?;
        let expired = founder.invite(&["--cidr", "172.31.0.0/16", "--ttl", "1s"])?;
        std::thread::sleep(Duration::from_millis(1100));
        try_join(&node, hk, &expired)?.refused(1, &["expired"])?;
        let wide = node.cli(&[
            "join",
            "198.51.100.10",
            "--token",
            &token,
            "--cidr",
            "172.16.0.0/12",
        ])?;
        wide.refused(1, &["172.16.0.0/12"])?;
        let bits = node.cli(&[
            "join",
            "198.51.100.10",
            "--token",
            &token,
            "--cidr",
            "172.31.1.2/16",
        ])?;
        bits.refused(2, &["172.31.0.0/16"])?;
        Ok(())
    })
}

#[test]
fn one_use_token_admits_one_of_two_that_ask_at_once() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::of(world, 4)?;
        let options = Options::default();
        let founder = vpcs.found(&options)?;
        let hk = vpcs.join(&founder, vpcs.vpc("hk")?, &options)?;
        let token = founder.invite(&["--cidr", "172.16.0.0/12"])?;
        let (gz, fr) = (vpcs.vpc("gz")?, vpcs.vpc("fr")?);
        let nodes = [
            (vpcs.node(gz, &options), "198.51.100.10"),
            (vpcs.node(fr, &options), "203.0.113.10"),
        ];
        let prefixes = [gz.plan.prefix().to_string(), fr.plan.prefix().to_string()];
        let mut processes = Vec::new();
        for ((node, seed), prefix) in nodes.iter().zip(&prefixes) {
            processes.push(node.start(&["join", seed, "--token", &token, "--cidr", prefix])?);
        }
        let loser = processes
            .iter()
            .position(|process| process.wait(Duration::from_secs(8)).is_ok());
        let loser = loser.context("both run")?;
        let log = processes[loser].log();
        ensure!(
            log.contains("used"),
            "the refusal does not say that the token was used: {log}"
        );
        nodes[1 - loser].0.meets(&["sz", "hk"])?;
        hk.meets(&["sz", nodes[1 - loser].0.name()])?;
        Ok(())
    })
}

#[test]
fn token_whose_issuer_is_down_says_so() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        let options = Options {
            invite: &["--inviter"],
            ..Options::default()
        };
        let founder = vpcs.found(&options)?;
        let hk = vpcs.join(&founder, vpcs.vpc("hk")?, &options)?;
        hk.meets(&["sz"])?;
        let gz = vpcs.vpc("gz")?;
        let token = vpcs.invite(&hk, gz, &Options::default())?;
        hk.kill()?;
        try_join(&vpcs.node(gz, &options), gz, &token)?.refused(1, &["hk"])?;
        Ok(())
    })
}

#[test]
fn token_of_another_mesh_is_refused() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        let options = Options::default();
        let _founder = vpcs.found(&options)?;
        let (hk, gz) = (vpcs.vpc("hk")?, vpcs.vpc("gz")?);
        let other = vpcs.node(hk, &options);
        other.ok(&["init", "--cidr", "172.31.0.0/16"])?;
        other.up(&[])?;
        let token = other.invite(&["--cidr", "172.20.0.0/16"])?;
        try_join(&vpcs.node(gz, &options), gz, &token)?.refused(1, &["mesh"])?;
        Ok(())
    })
}

#[test]
fn inviters_cannot_give_what_they_do_not_have() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        let founder = vpcs.found(&Options::default())?;
        let within = Options {
            invite: &["--inviter", "--delegate", "172.20.0.0/16"],
            ..Options::default()
        };
        let hk = vpcs.join(&founder, vpcs.vpc("hk")?, &within)?;
        hk.cli(&["invite", "--cidr", "10.0.0.0/8"])?
            .refused(1, &["10.0.0.0/8"])?;
        hk.invite(&["--cidr", "172.20.0.0/16"])?;
        let gz = vpcs.join(&founder, vpcs.vpc("gz")?, &Options::default())?;
        gz.cli(&["invite", "--cidr", "172.20.0.0/16"])?
            .refused(1, &["--inviter"])?;
        gz.cli(&["cidr", "add", "10.0.0.0/8"])?
            .refused(1, &["10.0.0.0/8"])?;
        Ok(())
    })
}

#[test]
fn seed_that_is_down_or_is_no_meshnode_is_named() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        let options = Options::default();
        let founder = vpcs.found(&options)?;
        let gz = vpcs.vpc("gz")?;
        let token = vpcs.invite(&founder, gz, &options)?;
        let node = vpcs.node(gz, &options);
        let hk = vpcs.vpc("hk")?;
        let _mute = hk
            .gateway
            .inside(|| std::net::UdpSocket::bind("0.0.0.0:51820"))??;
        let nobody = hk.plan.outside4(99).to_string();
        let said = node.cli(&[
            "join",
            "203.0.113.10",
            &nobody,
            "--token",
            &token,
            "--cidr",
            "172.20.0.0/16",
        ])?;
        said.refused(1, &["203.0.113.10", &nobody])?;
        Ok(())
    })
}

fn try_join(node: &Node<'_>, vpc: &Vpc, token: &str) -> Result<Said> {
    node.cli(&[
        "join",
        "198.51.100.10",
        "--token",
        token,
        "--cidr",
        &vpc.plan.prefix().to_string(),
    ])
}

fn nothing_was_kept(node: &Node<'_>) -> Result<()> {
    let kept = std::fs::read_dir(node.host().path("/var/lib/meshnode"))
        .map(|entries| entries.count())
        .unwrap_or(0);
    ensure!(
        kept == 0,
        "a refused token left {kept} files in the state directory"
    );
    Ok(())
}
