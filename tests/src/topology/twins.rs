//! Two gateways for one prefix.
//!
//! ```text
//!                                     ┌─ hk ── .0.1 ─┐
//!   sz-host ── sz ═══ internet ═══════╡              ├─ LAN 172.29.0.0/16 ── server .0.10
//!                                     └─ gz ── .0.2 ─┘
//! ```
//!
//! The server answers through the gateway by which it was asked last (it looks at the MAC address), as hosts do that
//! have a way through either.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::mesh::{Mesh, Options, reaches};
use super::vpc::{ThreeVpcs, Wire};
use crate::node::{Node, peers, routes};
use crate::world::{Host, World};

/// The prefix that both gateways serve.
pub const SHARED: &str = "172.29.0.0/16";
/// The machine behind both.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(172, 29, 0, 10);
/// The gateways, in the order of their addresses on the LAN.
pub const GATEWAYS: [&str; 2] = ["hk", "gz"];
/// What a path may be like that is to take over: losses of an earlier failure are still in its account.
const WORKS: [&str; 2] = ["up", "degraded"];
/// The gateways' interface on the LAN.
const PORT: &str = "twin";

/// The world of the picture, with its mesh.
#[derive(Debug)]
pub struct Twins<'a> {
    /// The VPCs beneath: sz is where traffic comes from.
    pub vpcs: ThreeVpcs<'a>,
    /// sz, hk and gz.
    pub mesh: Mesh<'a>,
    /// The machine behind both gateways, with interface `lan`.
    pub server: Host,
}

/// Which gateway does what, as sz sees it: names of nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roles {
    /// Has the traffic.
    pub active: String,
    /// Waits.
    pub standby: String,
}

impl<'a> Twins<'a> {
    /// The world, and a mesh that has met.
    ///
    /// # Errors
    /// The hosts cannot be made, or a command failed.
    pub fn build(world: &'a World, wire: Wire) -> Result<Twins<'a>> {
        Twins::with(world, wire, &Options::default())
    }

    /// Like [`Twins::build`]; both gateways serve [`SHARED`] besides what `options` say.
    ///
    /// # Errors
    /// The hosts cannot be made, or a command failed.
    pub fn with(world: &'a World, wire: Wire, options: &Options<'_>) -> Result<Twins<'a>> {
        let vpcs = ThreeVpcs::wired(world, 3, wire)?;
        let server = lan(world, &vpcs)?;
        let shared = GATEWAYS.map(|name| (name, SHARED));
        let serve = [options.serve, &shared].concat();
        let mesh = vpcs.mesh_with(&Options {
            serve: &serve,
            ..*options
        })?;
        let twins = Twins { vpcs, mesh, server };
        twins.ready(crate::node::MEETS)?;
        reaches(twins.client()?, twins.server_address())?;
        Ok(twins)
    }

    /// Where traffic comes from.
    ///
    /// # Errors
    /// None: sz is always there.
    pub fn client(&self) -> Result<&Host> {
        Ok(&self.vpcs.vpc("sz")?.host)
    }

    /// [`SERVER`].
    pub fn server_address(&self) -> IpAddr {
        SERVER.into()
    }

    /// The node that chooses between the gateways.
    ///
    /// # Errors
    /// None: sz is always there.
    pub fn source(&self) -> Result<&Node<'a>> {
        self.mesh.node("sz")
    }

    /// Waits until both gateways can have the traffic, and says who has it. On the path in use nothing is left of an earlier
    /// failure: the loss that was measured then would make the next one slower to be seen.
    ///
    /// # Errors
    /// They are not ready in time.
    pub fn ready(&self, within: Duration) -> Result<Roles> {
        for name in GATEWAYS {
            self.mesh
                .node(name)?
                .wait_status("sz is up", within, |status| has_path(status, "sz", &WORKS))?;
        }
        let ready = |status: &Value| {
            roles(status).filter(|roles| {
                has_path(status, &roles.active, &["up"]) && has_path(status, &roles.standby, &WORKS)
            })
        };
        let status = self
            .source()?
            .wait_status("both gateways are ready", within, |status| {
                ready(status).is_some()
            })?;
        ready(&status).context("no roles")
    }

    /// Waits until sz sends the traffic through this gateway.
    ///
    /// # Errors
    /// It does not in time.
    pub fn moves_to(&self, gateway: &str, within: Duration) -> Result<()> {
        let what = format!("{SHARED} goes through {gateway}");
        self.source()?
            .wait_status(&what, within, |status| active(status) == Some(gateway))?;
        Ok(())
    }

    /// The gateway's interface on the LAN goes down, or up again.
    ///
    /// # Errors
    /// There is no such gateway.
    pub fn set_port(&self, gateway: &str, state: &str) -> Result<()> {
        let gateway = &self.vpcs.vpc(gateway)?.gateway;
        gateway.ip(&format!("link set {PORT} {state}"))
    }
}

/// Who has the traffic to [`SHARED`], in a status of sz.
pub fn active(status: &Value) -> Option<&str> {
    in_state(status, "active")
}

fn roles(status: &Value) -> Option<Roles> {
    Some(Roles {
        active: active(status)?.to_owned(),
        standby: in_state(status, "standby")?.to_owned(),
    })
}

fn in_state<'a>(status: &'a Value, state: &str) -> Option<&'a str> {
    let mut of_prefix = routes(status).filter(|route| route["prefix"] == SHARED && route["state"] == state);
    of_prefix.next()?["via"].as_str()
}

/// A direct path to the peer is there, in one of these states of health.
fn has_path(status: &Value, name: &str, healths: &[&str]) -> bool {
    peers(status).any(|peer| {
        let health = peer["health"].as_str().unwrap_or("up");
        peer["name"] == name && peer["state"] == "up" && peer["path"] == "direct" && healths.contains(&health)
    })
}

/// The LAN: a bridge on the server, a port for each gateway.
fn lan(world: &World, vpcs: &ThreeVpcs<'_>) -> Result<Host> {
    let server = world.host("server")?;
    server.ip("link add lan type bridge")?;
    server.ip("link set lan up")?;
    server.address("lan", &format!("{SERVER}/16"))?;
    let mut asked = String::new();
    for (number, name) in (1..).zip(GATEWAYS) {
        let gateway = &vpcs.vpc(name)?.gateway;
        let mac = format!("02:00:00:00:00:{number:02x}");
        world.cable((&server, name), (gateway, PORT))?;
        server.ip(&format!("link set {name} master lan"))?;
        gateway.ip(&format!("link set {PORT} address {mac}"))?;
        gateway.address(PORT, &format!("172.29.0.{number}/16"))?;
        server.ip(&format!("rule add fwmark {number} table 10{number}"))?;
        server.ip(&format!(
            "route add default via 172.29.0.{number} table 10{number}"
        ))?;
        asked.push_str(&format!("iifname lan ether saddr {mac} ct mark set {number}\n"));
    }
    server.ip("route add default via 172.29.0.1")?;
    server.nft(&format!(
        "table inet answers {{
           chain asked {{
             type filter hook prerouting priority mangle;
             {asked}
           }}
           chain answering {{
             type route hook output priority mangle;
             meta mark set ct mark
           }}
         }}"
    ))?;
    ensure!(
        server.run("ip", &["rule"])?.contains("fwmark 0x2"),
        "the server has no rule for answers"
    );
    Ok(server)
}
