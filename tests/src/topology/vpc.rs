//! VPCs with a gateway of their own on the internet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::capture::{Capture, Realm};
use crate::link::Link;
use crate::world::{Host, World};

/// The addresses of one VPC.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// What the VPC is called; its gateway's node has the same name.
    pub name: &'static str,
    /// The second byte of the IPv4 prefix, also a part of every IPv6 address.
    pub second: u8,
    /// Last two bytes of the gateway's inner address.
    pub gateway: [u8; 2],
    /// Last two bytes of the host's inner address.
    pub host: [u8; 2],
    /// First three bytes of the outside subnet; the gateway is `.10`, the internet `.1`.
    pub outside: [u8; 3],
}

/// The VPCs of the picture, and a fourth.
pub const PLANS: [Plan; 4] = [
    Plan {
        name: "sz",
        second: 18,
        gateway: [171, 245],
        host: [171, 247],
        outside: [198, 51, 100],
    },
    Plan {
        name: "hk",
        second: 31,
        gateway: [185, 158],
        host: [185, 159],
        outside: [203, 0, 113],
    },
    Plan {
        name: "gz",
        second: 20,
        gateway: [0, 9],
        host: [0, 13],
        outside: [192, 0, 2],
    },
    Plan {
        name: "fr",
        second: 22,
        gateway: [0, 4],
        host: [0, 7],
        outside: [198, 18, 0],
    },
];

impl Plan {
    /// The inner IPv4 prefix.
    pub fn prefix(&self) -> IpNet {
        net4([172, self.second, 0, 0], 16)
    }

    /// The inner IPv6 prefix.
    pub fn prefix6(&self) -> IpNet {
        net6(self.inside6(0), 64)
    }

    /// Both inner prefixes, as arguments of `--cidr`.
    pub fn cidrs(&self) -> [String; 2] {
        [self.prefix().to_string(), self.prefix6().to_string()]
    }

    /// The gateway's inner addresses, IPv4 first.
    pub fn gateway_addresses(&self) -> [IpAddr; 2] {
        [self.inside4(self.gateway), self.inside6(0xa).into()]
    }

    /// The host's inner addresses, IPv4 first.
    pub fn host_addresses(&self) -> [IpAddr; 2] {
        [self.inside4(self.host), self.inside6(0xb).into()]
    }

    /// The gateway's address on the internet.
    pub fn public(&self) -> Ipv4Addr {
        self.outside4(10)
    }

    /// The gateway's IPv6 address on the internet.
    pub fn public6(&self) -> Ipv6Addr {
        self.outside6(0x10)
    }

    /// What encloses the endpoints of this VPC.
    pub fn outside_prefixes(&self) -> [IpNet; 2] {
        [net4(self.outside4(0).octets(), 24), net6(self.outside6(0), 64)]
    }

    /// An address of the outside subnet; 1 is the internet's router.
    pub fn outside4(&self, last: u8) -> Ipv4Addr {
        let [a, b, c] = self.outside;
        Ipv4Addr::new(a, b, c, last)
    }

    /// The IPv6 counterpart of [`Plan::outside4`].
    pub fn outside6(&self, last: u16) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, self.digits(), 0, 0, 0, 0, last)
    }

    fn inside4(&self, last: [u8; 2]) -> IpAddr {
        Ipv4Addr::new(172, self.second, last[0], last[1]).into()
    }

    fn inside6(&self, last: u16) -> Ipv6Addr {
        Ipv6Addr::new(0xfd00, 0x172, self.digits(), 0, 0, 0, 0, last)
    }

    /// 18 as the hexadecimal digits `18`: addresses are read by people.
    fn digits(&self) -> u16 {
        u16::from(self.second / 10) * 16 + u16::from(self.second % 10)
    }
}

/// A VPC: its addresses, its gateway and a host whose default route is the gateway.
#[derive(Clone, Debug)]
pub struct Vpc {
    /// The addresses.
    pub plan: Plan,
    /// The machine that runs `meshnode`, with interfaces `wan` and `lan`.
    pub gateway: Host,
    /// A machine that knows nothing of meshes, with interface `eth0`.
    pub host: Host,
    /// Its way to the internet, where that is a link: `There` is outwards.
    pub link: Option<Link>,
}

/// What a gateway's way to the internet is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wire {
    /// A virtual cable: fast, and always clear.
    #[default]
    Cable,
    /// A [`Link`]: its conditions can be changed.
    Link,
}

impl Vpc {
    /// A VPC whose gateway has a public address on `internet`.
    ///
    /// # Errors
    /// The hosts cannot be made.
    pub fn build(world: &World, internet: &Host, plan: Plan, wire: Wire) -> Result<Vpc> {
        let mut vpc = Vpc::inside(world, plan)?;
        let (inside, outside) = ((&vpc.gateway, "wan"), (internet, plan.name));
        match wire {
            Wire::Cable => world.cable(inside, outside)?,
            Wire::Link => vpc.link = Some(world.link(inside, outside)?),
        }
        internet.address(plan.name, &format!("{}/24", plan.outside4(1)))?;
        internet.address(plan.name, &format!("{}/64", plan.outside6(1)))?;
        vpc.gateway.address("wan", &format!("{}/24", plan.public()))?;
        vpc.gateway.address("wan", &format!("{}/64", plan.public6()))?;
        vpc.gateway
            .ip(&format!("route add default via {}", plan.outside4(1)))?;
        vpc.gateway
            .ip(&format!("route add default via {}", plan.outside6(1)))?;
        Ok(vpc)
    }

    /// The inner side alone: a gateway with `lan`, and the host behind it.
    fn inside(world: &World, plan: Plan) -> Result<Vpc> {
        let gateway = world.host(plan.name)?;
        let host = world.host(&format!("{}-host", plan.name))?;
        world.cable((&gateway, "lan"), (&host, "eth0"))?;
        let [gateway4, gateway6] = plan.gateway_addresses();
        let [host4, host6] = plan.host_addresses();
        gateway.address("lan", &format!("{gateway4}/16"))?;
        gateway.address("lan", &format!("{gateway6}/64"))?;
        host.address("eth0", &format!("{host4}/16"))?;
        host.address("eth0", &format!("{host6}/64"))?;
        host.ip(&format!("route add default via {gateway4}"))?;
        host.ip(&format!("route add default via {gateway6}"))?;
        gateway.forward()?;
        Ok(Vpc {
            plan,
            gateway,
            host,
            link: None,
        })
    }

    /// The machines of the VPC with their inner addresses.
    pub fn machines(&self) -> [(&Host, [IpAddr; 2]); 2] {
        [
            (&self.gateway, self.plan.gateway_addresses()),
            (&self.host, self.plan.host_addresses()),
        ]
    }
}

/// The world of the picture.
#[derive(Debug)]
pub struct ThreeVpcs<'a> {
    /// The world that owns it.
    pub world: &'a World,
    /// The router between the gateways.
    pub internet: Host,
    /// sz, hk and gz, and what was added.
    pub vpcs: Vec<Vpc>,
    /// What passes on the internet.
    pub capture: Capture,
}

impl<'a> ThreeVpcs<'a> {
    /// Builds sz, hk and gz.
    ///
    /// # Errors
    /// The hosts cannot be made.
    pub fn build(world: &'a World) -> Result<ThreeVpcs<'a>> {
        ThreeVpcs::of(world, 3)
    }

    /// Builds the first `count` VPCs of [`PLANS`].
    ///
    /// # Errors
    /// The hosts cannot be made.
    pub fn of(world: &'a World, count: usize) -> Result<ThreeVpcs<'a>> {
        ThreeVpcs::wired(world, count, Wire::Cable)
    }

    /// Like [`ThreeVpcs::of`], with such ways to the internet.
    ///
    /// # Errors
    /// The hosts cannot be made.
    pub fn wired(world: &'a World, count: usize, wire: Wire) -> Result<ThreeVpcs<'a>> {
        let internet = world.host("internet")?;
        internet.forward()?;
        let vpcs: Result<Vec<Vpc>> = PLANS
            .iter()
            .take(count)
            .map(|plan| Vpc::build(world, &internet, *plan, wire))
            .collect();
        let capture = world.capture(&internet, realm())?;
        Ok(ThreeVpcs {
            world,
            internet,
            vpcs: vpcs?,
            capture,
        })
    }

    /// The VPC of that name.
    ///
    /// # Errors
    /// It is not in this world.
    pub fn vpc(&self, name: &str) -> Result<&Vpc> {
        self.vpcs
            .iter()
            .find(|vpc| vpc.plan.name == name)
            .with_context(|| format!("there is no VPC {name}"))
    }

    /// The link of that VPC's gateway.
    ///
    /// # Errors
    /// It has a cable.
    pub fn link(&self, name: &str) -> Result<&Link> {
        let link = self.vpc(name)?.link.as_ref();
        link.with_context(|| format!("the gateway of {name} has a cable, not a link"))
    }
}

/// Whose addresses are whose in every world made of [`PLANS`]: all of `fd00::/8` is inner, so mesh addresses too.
pub fn realm() -> Realm {
    let mut inner: Vec<IpNet> = PLANS.iter().map(Plan::prefix).collect();
    inner.push(net6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0), 8));
    inner.push(net4([100, 96, 0, 0], 12));
    inner.push(net4([172, 29, 0, 0], 16));
    Realm {
        inner,
        underlay: PLANS.iter().flat_map(Plan::outside_prefixes).collect(),
    }
}

fn net4(address: [u8; 4], length: u8) -> IpNet {
    Ipv4Net::new_assert(address.into(), length).trunc().into()
}

fn net6(address: Ipv6Addr, length: u8) -> IpNet {
    Ipv6Net::new_assert(address, length).trunc().into()
}
