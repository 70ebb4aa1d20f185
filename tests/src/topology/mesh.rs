//! A mesh of nodes on the gateways of a world, made as a user makes one: init, invite, join.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::vpc::{ThreeVpcs, Vpc};
use crate::node::Node;
use crate::traffic::{Questions, exchange, transfer};
use crate::wait::eventually;
use crate::world::Host;

/// A mesh must carry a ping after this long.
const CARRIES: Duration = Duration::from_secs(10);
/// How long one ping waits for its answer.
const PING: Duration = Duration::from_millis(500);

/// What the nodes of a mesh are started with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// More arguments of every `invite`.
    pub invite: &'a [&'a str],
    /// More prefixes that a node serves: its name and the prefix.
    pub serve: &'a [(&'a str, &'a str)],
    /// Settings of every node: the name without `MESHNODE_`, and the value.
    pub settings: &'a [(&'a str, &'a str)],
    /// What stands in the configuration file of a node: its name and the text.
    pub config: &'a [(&'a str, &'a str)],
    /// Announce and carry IPv4 alone.
    pub only_ipv4: bool,
}

/// Where a node of [`Options::config`] has its configuration, as its host sees it.
pub const CONFIG: &str = "/run/meshnode.toml";

/// Running nodes, in the order of the world's VPCs; the first is the founder.
#[derive(Debug)]
pub struct Mesh<'a> {
    /// The nodes.
    pub nodes: Vec<Node<'a>>,
    vpcs: Vec<Vpc>,
    only_ipv4: bool,
}

impl<'a> ThreeVpcs<'a> {
    /// A mesh of sz, hk and gz, joined through sz and up.
    ///
    /// # Errors
    /// A command failed or the nodes did not meet.
    pub fn mesh(&self) -> Result<Mesh<'a>> {
        self.mesh_with(&Options::default())
    }

    /// Like [`ThreeVpcs::mesh`], with options.
    ///
    /// # Errors
    /// A command failed or the nodes did not meet.
    pub fn mesh_with(&self, options: &Options<'_>) -> Result<Mesh<'a>> {
        let founder = self.found(options)?;
        let mut nodes = vec![founder];
        for vpc in self.vpcs.iter().take(3).skip(1) {
            nodes.push(self.join(&nodes[0], vpc, options)?);
        }
        let mesh = Mesh {
            nodes,
            vpcs: self.vpcs.iter().take(3).cloned().collect(),
            only_ipv4: options.only_ipv4,
        };
        mesh.is_complete()?;
        mesh.is_routed()?;
        Ok(mesh)
    }

    /// A node for a VPC's gateway, not started.
    pub fn node(&self, vpc: &Vpc, options: &Options<'_>) -> Node<'a> {
        let mut node = Node::new(self.world, &vpc.gateway, vpc.plan.name);
        for (key, value) in options.settings {
            node.set(key, value);
        }
        node
    }

    fn configured(&self, vpc: &Vpc, options: &Options<'_>) -> Result<Node<'a>> {
        let mut node = self.node(vpc, options);
        let mut config = options.config.iter();
        if let Some((_, text)) = config.find(|(name, _)| *name == vpc.plan.name) {
            std::fs::write(vpc.gateway.path(CONFIG), text)?;
            node.set("CONFIG", CONFIG);
        }
        Ok(node)
    }

    /// `init` and `up` on the first VPC's gateway.
    ///
    /// # Errors
    /// A command failed.
    pub fn found(&self, options: &Options<'_>) -> Result<Node<'a>> {
        let vpc = self.vpcs.first().context("a world without VPCs")?;
        let founder = self.configured(vpc, options)?;
        let cidrs = cidr_arguments(vpc, options);
        founder.ok(&[&["init"], strs(&cidrs).as_slice()].concat())?;
        founder.up(&[])?;
        Ok(founder)
    }

    /// `invite` at a node for what a VPC serves: the token.
    ///
    /// # Errors
    /// The node refused.
    pub fn invite(&self, inviter: &Node<'_>, vpc: &Vpc, options: &Options<'_>) -> Result<String> {
        inviter.invite(&[options.invite, strs(&cidr_arguments(vpc, options)).as_slice()].concat())
    }

    /// Invites at `seed` and joins the gateway of `vpc` through it.
    ///
    /// # Errors
    /// A command failed.
    pub fn join(&self, seed: &Node<'_>, vpc: &Vpc, options: &Options<'_>) -> Result<Node<'a>> {
        let token = self.invite(seed, vpc, options)?;
        self.join_with(seed, vpc, &token, options)
    }

    /// Joins the gateway of `vpc` through `seed` with a token that exists.
    ///
    /// # Errors
    /// The node was refused.
    pub fn join_with(
        &self,
        seed: &Node<'_>,
        vpc: &Vpc,
        token: &str,
        options: &Options<'_>,
    ) -> Result<Node<'a>> {
        let seed = self.vpc(seed.name())?.plan.public().to_string();
        let node = self.configured(vpc, options)?;
        node.join(&[&seed], token, &strs(&cidr_arguments(vpc, options)))?;
        Ok(node)
    }
}

impl<'a> Mesh<'a> {
    /// A mesh of nodes that were started one by one, in the order of their VPCs.
    pub fn of(nodes: Vec<Node<'a>>, vpcs: &[Vpc]) -> Mesh<'a> {
        Mesh {
            nodes,
            vpcs: vpcs.to_vec(),
            only_ipv4: false,
        }
    }

    /// The VPCs of its nodes.
    pub fn vpcs(&self) -> &[Vpc] {
        &self.vpcs
    }

    /// The node of that name.
    ///
    /// # Errors
    /// There is none.
    pub fn node(&self, name: &str) -> Result<&Node<'a>> {
        self.nodes
            .iter()
            .find(|node| node.name() == name)
            .with_context(|| format!("there is no node {name}"))
    }

    /// Waits until every node has every other up.
    ///
    /// # Errors
    /// They do not meet in time.
    pub fn is_complete(&self) -> Result<()> {
        for node in &self.nodes {
            let others: Vec<&str> = self
                .nodes
                .iter()
                .map(Node::name)
                .filter(|name| *name != node.name())
                .collect();
            node.meets(&others)?;
        }
        Ok(())
    }

    /// Waits until the kernel of every gateway routes every other VPC to the mesh. Before that nothing keeps packets of a
    /// prefix that was never heard of from leaving in clear.
    ///
    /// # Errors
    /// It does not in time.
    pub fn is_routed(&self) -> Result<()> {
        for (from, to) in self.pairs() {
            let prefixes = to.plan.cidrs();
            for (family, prefix) in ["-4", "-6"].iter().zip(&prefixes).take(self.families()) {
                let what = format!("{} has a route to {prefix}", from.plan.name);
                eventually(&what, CARRIES, || {
                    let words = [family, "route", "show", "proto", "77", prefix.as_str()];
                    let routes = from.gateway.run("ip", &words)?;
                    ensure!(routes.contains("dev mesh0"), "only: {routes}");
                    Ok(())
                })?;
            }
        }
        Ok(())
    }

    /// Each machine of each VPC reaches both machines of every other VPC, in both families.
    ///
    /// # Errors
    /// A ping stays unanswered.
    pub fn everyone_pings_everyone(&self) -> Result<()> {
        for (from, to, address) in self.ways() {
            reaches(from, address).with_context(|| format!("{} to {}", from.name(), to.name()))?;
        }
        Ok(())
    }

    /// Between the hosts of each two VPCs, both ways: TCP and UDP whose every byte is compared, and whose source is
    /// the sender's own address.
    ///
    /// # Errors
    /// Bytes or sources differ, or nothing passes.
    pub fn hosts_exchange(&self, bytes: usize) -> Result<()> {
        for (from, to) in self.pairs() {
            for family in 0..self.families() {
                let (own, address) = (
                    from.plan.host_addresses()[family],
                    to.plan.host_addresses()[family],
                );
                let tcp = transfer(&from.host, &to.host, address, bytes)?;
                ensure!(tcp.source == own, "TCP from {own} came as {}", tcp.source);
                let udp = exchange(&from.host, &to.host, address, &Questions::once(50, 1000))?;
                ensure!(udp.source == own, "UDP from {own} came as {}", udp.source);
                ensure!(udp.answered == 50, "{} of 50 datagrams came back", udp.answered);
            }
        }
        Ok(())
    }

    /// Every ordered pair of different VPCs.
    pub fn pairs(&self) -> impl Iterator<Item = (&Vpc, &Vpc)> {
        let others = |from: &Vpc, to: &Vpc| from.plan.name != to.plan.name;
        self.vpcs.iter().flat_map(move |from| {
            self.vpcs
                .iter()
                .filter(move |to| others(from, to))
                .map(move |to| (from, to))
        })
    }

    /// Adds a VPC whose node has joined.
    pub fn add(&mut self, vpc: &Vpc, node: Node<'a>) {
        self.vpcs.push(vpc.clone());
        self.nodes.push(node);
    }

    /// Forgets a node that is gone for good, and its VPC.
    pub fn remove(&mut self, name: &str) {
        self.vpcs.retain(|vpc| vpc.plan.name != name);
        self.nodes.retain(|node| node.name() != name);
    }

    fn ways(&self) -> Vec<(&Host, &Host, IpAddr)> {
        let mut ways = Vec::new();
        for (from, to) in self.pairs() {
            for (source, _) in from.machines() {
                for (target, addresses) in to.machines() {
                    ways.extend(
                        addresses
                            .into_iter()
                            .take(self.families())
                            .map(|address| (source, target, address)),
                    );
                }
            }
        }
        ways
    }

    fn families(&self) -> usize {
        if self.only_ipv4 { 1 } else { 2 }
    }
}

/// Waits until `address` answers a ping from `host`.
///
/// # Errors
/// It does not in time.
pub fn reaches(host: &Host, address: IpAddr) -> Result<Duration> {
    eventually(&format!("{} reaches {address}", host.name()), CARRIES, || {
        host.ping(address, PING)
    })
}

fn cidr_arguments(vpc: &Vpc, options: &Options<'_>) -> Vec<String> {
    let own = vpc
        .plan
        .cidrs()
        .into_iter()
        .take(if options.only_ipv4 { 1 } else { 2 });
    let more = options.serve.iter().filter(|(name, _)| *name == vpc.plan.name);
    let all = own.chain(more.map(|(_, prefix)| (*prefix).to_owned()));
    all.flat_map(|prefix| ["--cidr".to_owned(), prefix]).collect()
}

fn strs(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}
