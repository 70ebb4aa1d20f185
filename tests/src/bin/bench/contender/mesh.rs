//! Two nodes of one mesh, made with meshnode's own command line.

use std::process::Command;

use anyhow::{Context, Result};
use meshnode_tests::node::{Node, binary};
use meshnode_tests::world::World;

use crate::pair::{MTU, OUTER_LEFT, Pair};

/// Keys without their `MESHNODE_`, and values.
pub(crate) type Settings = Vec<(String, String)>;

/// Starts and introduces both nodes. The MTU is the same for all contenders; what `settings` does not name has its default.
pub(crate) fn start(world: &World, mut pair: Pair, settings: &Settings) -> Result<Pair> {
    let mut nodes = [
        Node::new(world, &pair.left, "left"),
        Node::new(world, &pair.right, "right"),
    ];
    for node in &mut nodes {
        node.set("MTU", MTU);
        settings.iter().for_each(|(key, value)| node.set(key, value));
    }
    let [left, right] = nodes;
    left.ok(&["init", "--cidr", "10.1.0.0/24"])?;
    left.up(&[])?;
    let token = left.invite(&["--cidr", "10.2.0.0/24"])?;
    right.join(&[OUTER_LEFT], &token, &["--cidr", "10.2.0.0/24"])?;
    pair.daemons = vec![left.process()?, right.process()?];
    Ok(pair)
}

/// What `meshnode version` says first.
pub(crate) fn version() -> Result<String> {
    let output = Command::new(binary()?).arg("version").output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.lines().next().context("meshnode has no version")?.to_owned())
}
