//! Two nodes of one mesh, made with meshnode's own command line.

use std::process::Command;

use anyhow::{Context, Result};
use meshnode_tests::node::{Node, binary};
use meshnode_tests::world::World;

use crate::pair::{MTU, OUTER_LEFT, Pair};

/// Starts and introduces both nodes. All options keep their defaults but the MTU, which is the same for all contenders.
pub(crate) fn start(world: &World, mut pair: Pair) -> Result<Pair> {
    let mut nodes = [
        Node::new(world, &pair.left, "left"),
        Node::new(world, &pair.right, "right"),
    ];
    nodes.iter_mut().for_each(|node| node.set("MTU", MTU));
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
