//! Clouds: gateways with one interface, a private address, and a 1:1 translation they know nothing of.
//!
//! ```text
//!   gateway .171.245 ─┐
//!                     ├─ cloud .0.1 ── 198.51.100.10 ── internet
//!   host    .171.247 ─┘    route entries: other VPCs via the gateway; 1:1 NAT for the gateway alone
//! ```

use anyhow::Result;

use super::vpc::{PLANS, Plan, ThreeVpcs, Vpc, realm};
use crate::world::{Host, World};

/// sz, hk and gz as clouds build them. Endpoints lie inside served prefixes, and no node knows its own public one.
///
/// # Errors
/// The hosts cannot be made.
pub fn behind_nat(world: &World) -> Result<ThreeVpcs<'_>> {
    let internet = world.host("internet")?;
    internet.forward()?;
    let vpcs: Result<Vec<Vpc>> = PLANS
        .iter()
        .take(3)
        .map(|plan| build(world, &internet, *plan))
        .collect();
    let capture = world.capture(&internet, realm())?;
    Ok(ThreeVpcs {
        world,
        internet,
        vpcs: vpcs?,
        capture,
    })
}

fn build(world: &World, internet: &Host, plan: Plan) -> Result<Vpc> {
    let cloud = world.host(&format!("{}-cloud", plan.name))?;
    let gateway = world.host(plan.name)?;
    let host = world.host(&format!("{}-host", plan.name))?;
    cloud.ip("link add vpc type bridge")?;
    cloud.ip("link set vpc up")?;
    attach(world, &cloud, &gateway, plan.gateway_addresses()[0], &plan)?;
    attach(world, &cloud, &host, plan.host_addresses()[0], &plan)?;
    cloud.address("vpc", &format!("{}/16", router_of(&plan)))?;
    connect(world, internet, &cloud, &plan)?;
    gateway.forward()?;
    Ok(Vpc {
        plan,
        gateway,
        host,
        link: None,
    })
}

fn attach(world: &World, cloud: &Host, host: &Host, address: std::net::IpAddr, plan: &Plan) -> Result<()> {
    let port = if host.name().ends_with("host") {
        "port-host"
    } else {
        "port-gateway"
    };
    world.cable((cloud, port), (host, "eth0"))?;
    cloud.ip(&format!("link set {port} master vpc"))?;
    host.address("eth0", &format!("{address}/16"))?;
    host.ip(&format!("route add default via {}", router_of(plan)))
}

/// The uplink, the 1:1 translation, and the route entries that the cloud's user made.
fn connect(world: &World, internet: &Host, cloud: &Host, plan: &Plan) -> Result<()> {
    world.cable((internet, plan.name), (cloud, "uplink"))?;
    internet.address(plan.name, &format!("{}/24", plan.outside4(1)))?;
    cloud.address("uplink", &format!("{}/24", plan.public()))?;
    cloud.ip(&format!("route add default via {}", plan.outside4(1)))?;
    cloud.forward()?;
    for setting in ["all", "vpc"] {
        cloud.sysctl(&format!("ipv4/conf/{setting}/send_redirects"), "0")?;
    }
    let gateway = plan.gateway_addresses()[0];
    for other in PLANS.iter().filter(|other| other.name != plan.name) {
        cloud.ip(&format!("route add {} via {gateway}", other.prefix()))?;
    }
    let public = plan.public();
    cloud.nft(&format!(
        "table ip cloud {{
           chain inbound {{
             type nat hook prerouting priority dstnat;
             iifname uplink ip daddr {public} dnat to {gateway}
           }}
           chain private {{
             type filter hook forward priority filter;
             oifname uplink ip saddr != {gateway} drop
           }}
           chain outbound {{
             type nat hook postrouting priority srcnat;
             oifname uplink ip saddr {gateway} snat to {public}
           }}
         }}"
    ))
}

/// The address that machines of the VPC have as default route.
fn router_of(plan: &Plan) -> String {
    format!("172.{}.0.1", plan.second)
}

impl ThreeVpcs<'_> {
    /// The internet gives the gateway of that VPC other ports from now on, as a NAT does that forgot its flows: nothing
    /// but answers passes to it. `round`, 1 to 900, chooses the ports; a second round needs [`ThreeVpcs::unbind`] first.
    ///
    /// Each round is a conntrack zone of its own, so that running flows are translated anew. Lanes keep their order.
    ///
    /// # Errors
    /// What nft said.
    pub fn rebind(&self, name: &str, round: u16) -> Result<()> {
        let public = self.vpc(name)?.plan.public();
        let base = 40_000 + 16 * round;
        let ports: Vec<String> = (0..8)
            .map(|lane| format!("{} : {}", 51_820 + lane, base + lane))
            .collect();
        let ports = ports.join(", ");
        self.internet.nft(&format!(
            "table ip rebound_{name} {{
               chain zones {{
                 type filter hook prerouting priority raw;
                 iifname {name} ct zone set {round}
                 ip daddr {public} ct zone set {round}
               }}
               chain inbound {{
                 type filter hook forward priority filter;
                 oifname {name} udp dport 51820-51827 ct state new drop
               }}
               chain outbound {{
                 type nat hook postrouting priority srcnat;
                 iifname {name} udp sport 51820-51827 snat to {public} : udp sport map {{ {ports} }}
               }}
             }}"
        ))
    }

    /// Gives it its own ports again.
    ///
    /// # Errors
    /// There was no [`ThreeVpcs::rebind`].
    pub fn unbind(&self, name: &str) -> Result<()> {
        self.internet.nft(&format!("delete table ip rebound_{name}"))
    }
}
