//! Many nodes on one internet, each alone on its machine.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use meshnode_tests::node::peers;
use meshnode_tests::topology::{crowd, realm};
use meshnode_tests::{Capture, Node, World, eventually};

/// All nodes of a crowd know each other after this long, on a small machine.
const MEETS: Duration = Duration::from_secs(300);

/// A mesh whose first node invited all others with one fleet token.
pub(crate) struct Crowd<'a> {
    nodes: Vec<Node<'a>>,
    pub(crate) capture: Capture,
}

impl<'a> Crowd<'a> {
    pub(crate) fn gather(world: &'a World, count: usize) -> Result<Crowd<'a>> {
        ensure!((2..=250).contains(&count), "a crowd has 2 to 250 nodes");
        let internet = world.host("internet")?;
        internet.forward()?;
        let capture = world.capture(&internet, realm())?;
        let mut nodes: Vec<Node<'a>> = Vec::new();
        let mut token = String::new();
        for number in 0..u8::try_from(count)? {
            let host = crowd::machine(world, &internet, number)?;
            let node = Node::new(world, &host, host.name());
            let prefix = crowd::prefix(number);
            if number == 0 {
                node.ok(&["init", "--cidr", &prefix])?;
                node.up(&[])?;
                token = node.invite(&["--uses", "0", "--cidr", "10.0.0.0/8"])?;
            } else {
                let seed = crowd::address(0).to_string();
                node.join(&[&seed], &token, &["--cidr", &prefix])?;
            }
            nodes.push(node);
        }
        let crowd = Crowd { nodes, capture };
        crowd.knows_each_other()?;
        Ok(crowd)
    }

    pub(crate) fn median_resident(&self) -> Result<u64> {
        let mut sizes: Vec<u64> = self
            .nodes
            .iter()
            .map(|node| node.process()?.resident())
            .collect::<Result<_>>()?;
        sizes.sort_unstable();
        sizes.get(sizes.len() / 2).copied().context("no nodes")
    }

    /// User and system time of all nodes since their starts.
    pub(crate) fn processor_time(&self) -> Result<Duration> {
        self.nodes
            .iter()
            .map(|node| node.process()?.processor_time())
            .sum()
    }

    fn knows_each_other(&self) -> Result<()> {
        for node in &self.nodes {
            eventually(&format!("{} has everybody up", node.name()), MEETS, || {
                let up = peers(&node.status()?)
                    .filter(|peer| peer["state"] == "up")
                    .count();
                ensure!(up + 1 == self.nodes.len(), "{up} peers are up");
                Ok(())
            })?;
        }
        Ok(())
    }
}
