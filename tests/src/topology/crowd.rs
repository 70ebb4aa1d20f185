//! Many machines on one internet, each alone with its node.

use std::net::Ipv4Addr;

use anyhow::{Result, ensure};

use crate::node::Node;
use crate::world::{Host, World};

/// The machine of this number, on the internet.
///
/// # Errors
/// It cannot be made, or there is one of that number.
pub fn machine(world: &World, internet: &Host, number: u8) -> Result<Host> {
    let name = format!("n{number}");
    let host = world.host(&name)?;
    let router = Ipv4Addr::new(198, 18, number, 1);
    world.cable((internet, &name), (&host, "wan"))?;
    internet.address(&name, &format!("{router}/24"))?;
    host.address("wan", &format!("{}/24", address(number)))?;
    host.ip(&format!("route add default via {router}"))?;
    Ok(host)
}

/// Its address.
pub fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, number, 10)
}

/// What its node serves.
pub fn prefix(number: u8) -> String {
    format!("10.{number}.0.0/16")
}

/// Makes machines 1 to `count` and joins their nodes through one that runs at `seed`.
///
/// # Errors
/// More than 250, or a command failed.
pub fn join<'a>(
    world: &'a World,
    internet: &Host,
    (inviter, seed): (&Node<'_>, Ipv4Addr),
    count: usize,
) -> Result<Vec<Node<'a>>> {
    ensure!(count <= 250, "a crowd has at most 250 nodes");
    if count == 0 {
        return Ok(Vec::new());
    }
    let token = inviter.invite(&["--uses", "0", "--cidr", "10.0.0.0/8"])?;
    let numbers = 1..=u8::try_from(count)?;
    numbers
        .map(|number| {
            let host = machine(world, internet, number)?;
            let node = Node::new(world, &host, host.name());
            node.join(&[&seed.to_string()], &token, &["--cidr", &prefix(number)])?;
            Ok(node)
        })
        .collect()
}
