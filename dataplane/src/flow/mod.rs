//! What happens to a flow: the first packet is planned, later ones replay the plan.
//!
//! A plan is made by stages, each in its phase, in their order; a mesh and a plain device have different ones. A
//! new table makes every plan void. Where several gateways share a prefix the plan names the group, and the packet's
//! ports decide ([`balance`]); no other packet is looked at that closely.

pub mod balance;
mod cryptokey;
mod forwarding;

use crate::drop::DropReason;
use crate::packet::Packet;
use crate::table::{CompiledTable, Forwarding, Hop};
use std::net::IpAddr;

/// The order in which stages see a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// May it be here at all?
    Admit,
    /// Does it get other addresses?
    Translate,
    /// Where does it go?
    Steer,
    /// How is it wrapped?
    Encapsulate,
}

/// Where a packet came into the lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ingress {
    /// From the TUN.
    Tun,
    /// Out of the tunnel of the peer with this index.
    Peer(u32),
}

/// What packets of one flow have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowKey {
    /// Where they come in.
    pub ingress: Ingress,
    /// Inner source.
    pub source: IpAddr,
    /// Inner destination.
    pub destination: IpAddr,
}

/// Where packets of a flow go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// To the TUN.
    Deliver,
    /// Into the tunnel of the peer with this index.
    Tunnel(u32),
    /// Nowhere.
    Drop(DropReason),
}

/// What is decided for a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// The same for all its packets.
    All(Verdict),
    /// Each goes to a peer of this group, by its ports.
    Spread(u32),
}

impl Plan {
    fn drop(reason: DropReason) -> Plan {
        Plan::All(Verdict::Drop(reason))
    }

    fn route(destination: IpAddr, table: &CompiledTable) -> Option<Plan> {
        Some(match table.route(destination)? {
            Hop::Peer(peer) => Plan::All(Verdict::Tunnel(peer)),
            Hop::Group(group) => Plan::Spread(group),
            Hop::Drop => Plan::drop(DropReason::NoGateway),
        })
    }
}

/// A stage looks at the key and returns a plan, or leaves it to the next one.
type Stage = fn(&FlowKey, &CompiledTable) -> Option<Plan>;

const MESH: [(Phase, Stage); 2] = [
    (Phase::Admit, forwarding::admit),
    (Phase::Steer, forwarding::steer),
];

const DEVICE: [(Phase, Stage); 2] = [(Phase::Admit, cryptokey::admit), (Phase::Steer, cryptokey::steer)];

fn stages(forwarding: Forwarding) -> &'static [(Phase, Stage)] {
    match forwarding {
        Forwarding::Mesh => &MESH,
        Forwarding::Device => &DEVICE,
    }
}

/// Asks the stages in order.
pub fn plan(key: &FlowKey, table: &CompiledTable) -> Plan {
    let plan = stages(table.forwarding())
        .iter()
        .find_map(|(_, stage)| stage(key, table));
    plan.unwrap_or(Plan::drop(DropReason::NoRoute))
}

/// Flows that are remembered; a collision costs one planning.
const SLOTS: usize = 1024;

/// Plans of one lane, by flow. Direct-mapped: no order to keep, nothing to evict.
#[derive(Debug)]
pub struct FlowCache {
    generation: u32,
    slots: Box<[Option<(u32, FlowKey, Plan)>]>,
}

impl Default for FlowCache {
    fn default() -> FlowCache {
        FlowCache {
            generation: 0,
            slots: vec![None; SLOTS].into_boxed_slice(),
        }
    }
}

impl FlowCache {
    /// There is a new table: all plans are void.
    pub fn invalidate(&mut self) {
        self.generation = self.generation.wrapping_add(1);
    }

    /// Where a packet goes under this table.
    pub fn verdict(&mut self, ingress: Ingress, packet: &Packet<'_>, table: &CompiledTable) -> Verdict {
        let key = FlowKey {
            ingress,
            source: packet.source,
            destination: packet.destination,
        };
        match self.plan(&key, table) {
            Plan::All(verdict) => verdict,
            Plan::Spread(group) => table
                .pick(group, balance::flow(packet))
                .map_or(Verdict::Drop(DropReason::NoRoute), Verdict::Tunnel),
        }
    }

    /// The plan of a flow under this table.
    pub fn plan(&mut self, key: &FlowKey, table: &CompiledTable) -> Plan {
        let slot = &mut self.slots[hash(key) % SLOTS];
        if let Some((generation, planned, plan)) = slot
            && *generation == self.generation
            && planned == key
        {
            return *plan;
        }
        let plan = plan(key, table);
        *slot = Some((self.generation, *key, plan));
        plan
    }
}

fn hash(key: &FlowKey) -> usize {
    let fold = |address: IpAddr| match address {
        IpAddr::V4(a) => u64::from(u32::from(a)),
        IpAddr::V6(a) => {
            let bits = u128::from(a);
            (bits >> 64) as u64 ^ bits as u64
        }
    };
    let ingress = match key.ingress {
        Ingress::Tun => u64::MAX,
        Ingress::Peer(index) => u64::from(index),
    };
    const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut h = (fold(key.source) ^ ingress).wrapping_mul(MIX);
    h = (h.rotate_left(29) ^ fold(key.destination)).wrapping_mul(MIX);
    (h >> 40) as usize
}

#[cfg(test)]
mod tests;
