//! `cargo xtask demo`: the three VPCs of the README on this machine, joined by three real nodes.
//!
//! Everything stands in network namespaces and is removed at the end: after Enter, after Ctrl-C, after an error. What
//! a killed demo leaves is removed by the next one.

#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool talks to its terminal"
)]

mod doors;
mod matrix;
mod report;
mod screen;
mod signals;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use meshnode_tests::topology::{Mesh, Options, ThreeVpcs};
use meshnode_tests::{Node, World, http};

use crate::doors::Doors;
use crate::screen::Screen;

const USAGE: &str = "demo [--sweep | --fetch ADDRESS:PORT PATH]";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        [] => run(),
        ["--sweep"] => World::sweep(),
        ["--fetch", address, path] => fetch(address, path),
        _ => {
            eprintln!("usage: {USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn fetch(address: &str, path: &str) -> Result<()> {
    print!("{}", http::get_tcp(address.parse()?, path)?);
    Ok(())
}

fn run() -> Result<()> {
    let world = Arc::new(World::create()?);
    let cleaning = signals::clean_up_on_signals(world.clone())?;
    let outcome = play(&world);
    if cleaning.is_under_way() {
        signals::leave_it_to_the_cleaner();
    }
    if outcome.is_err() {
        world.print_logs();
    }
    world.tear_down();
    outcome
}

fn play(world: &World) -> Result<()> {
    let screen = Screen::new();
    screen.title();
    let vpcs = screen.step(
        "three VPCs, and an internet that knows none of their prefixes",
        || ThreeVpcs::build(world),
    )?;
    let mesh = found(&screen, &vpcs)?;
    let doors = Doors::open(&vpcs)?;
    matrix::show(&screen, &mesh)?;
    report::sources_preserved(&screen, &mesh)?;
    report::nothing_in_clear(&screen, &vpcs)?;
    report::status(&screen, &mesh)?;
    report::metrics(&screen, &mesh, &doors)?;
    if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
        doors.invite_to_try();
        std::io::stdin().read_line(&mut String::new())?;
    }
    screen.line("removing the namespaces; nothing else was touched");
    Ok(())
}

/// `init`, `invite`, `join`, each shown as a user types it.
fn found<'a>(screen: &Screen, vpcs: &ThreeVpcs<'a>) -> Result<Mesh<'a>> {
    let options = Options::default();
    let (first, others) = vpcs.vpcs.split_first().context("a world without VPCs")?;
    let prefix = first.plan.prefix();
    let founder = screen.command(first, &format!("init --cidr {prefix} && meshnode up"), || {
        vpcs.found(&options)
    })?;
    let mut nodes: Vec<Node<'a>> = vec![founder];
    for vpc in others {
        let prefix = vpc.plan.prefix();
        let token = screen.command(first, &format!("invite --cidr {prefix}"), || {
            vpcs.invite(&nodes[0], vpc, &options)
        })?;
        let shown = format!("join {} --token mesh1_… --cidr {prefix}", first.plan.public());
        nodes.push(screen.command(vpc, &shown, || vpcs.join_with(&nodes[0], vpc, &token, &options))?);
    }
    let mesh = Mesh::of(nodes, &vpcs.vpcs);
    screen.step("tunnels between all three gateways", || mesh.is_complete())?;
    Ok(mesh)
}
