//! What happens to a packet from one address to another, and why. Pure.
//!
//! ```text
//!   from this host or behind it ──► the kernel's route ──► the table: gateway ──► path ──► the other end's check
//!   out of a peer's tunnel      ──► may it use the source? is the destination ours? ──► the kernel's route
//! ```
//!
//! The verdict is not worked out a second time: the same [`plan`] that the lanes ask, over the very table that they use,
//! says where the packet goes. Around it stands what the lanes do not know: which route the kernel takes before
//! ([`kernel`]), who else announces the prefix and why it lost, and whether the other end accepts the source.

mod facts;
mod kernel;
mod story;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

use ipnet::IpNet;
use meshnode_dataplane::flow::{FlowKey, Ingress, Plan, Verdict, plan};
use meshnode_dataplane::{CompiledTable, DropReason, PeerId, Stats};
use meshnode_membership::view::View;

use super::{Host, KernelDesired, Paths, RouteStatus};
use kernel::KernelRoute;
pub use story::{Arrival, Candidate, Explanation, Finding, Outcome, Relay, Way};

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// Inner source.
    pub source: IpAddr,
    /// Inner destination.
    pub destination: IpAddr,
    /// Out of whose tunnel the packet comes; `None`: from where a packet with that source would come.
    pub from: Option<PeerId>,
}

/// What is known at the moment of asking.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The mesh.
    pub view: &'a View,
    /// Prefixes that this node announces.
    pub announced: &'a [IpNet],
    /// The host without us.
    pub host: &'a Host,
    /// What we put into the kernel.
    pub kernel: &'a KernelDesired,
    /// Name of the TUN.
    pub interface: &'a str,
    /// What became of every announced prefix.
    pub routes: &'a [RouteStatus],
    /// What the lanes use.
    pub table: &'a CompiledTable,
    /// What was measured.
    pub stats: &'a Stats,
    /// How the paths are.
    pub paths: &'a Paths,
    /// Attached devices, by their keys.
    pub clients: &'a BTreeMap<PeerId, String>,
    /// This moment.
    pub now: Instant,
}

/// Tells what happens.
pub fn explain(question: &Question, facts: &Facts<'_>) -> Explanation {
    let ingress = facts.arrives_from(question);
    let mut story = Explanation::of(question, facts.arrival(ingress));
    story.candidates = facts.candidates(question.destination);
    story.prefix = facts.table.matched(question.destination);
    match ingress {
        Ingress::Tun => from_host(&mut story, facts),
        Ingress::Peer(_) => {
            story.source_check = Some(facts.check_arrived(question.source, ingress));
            forwarded(&mut story, ingress, facts);
        }
    }
    story
}

/// The kernel decides first whether we see the packet at all.
fn from_host(story: &mut Explanation, facts: &Facts<'_>) {
    let route = kernel::route(story.destination, facts);
    story.kernel = Some(route.finding(facts.interface));
    match route {
        KernelRoute::Mesh(_) => forwarded(story, Ingress::Tun, facts),
        KernelRoute::Own => story.end(Outcome::Delivered, "it is an address of this host"),
        KernelRoute::Host(..) if facts.announced.iter().any(|own| own.contains(&story.destination)) => {
            story.end(
                Outcome::Elsewhere,
                "it is in this node's own network: the kernel delivers it without meshnode",
            );
        }
        KernelRoute::Host(..) => {
            story.end(
                Outcome::Elsewhere,
                "the kernel sends it out by a route of its own: meshnode never sees it",
            );
            story.fix = facts.rejected_fix(story.destination);
        }
        KernelRoute::Guard(prefix) => {
            story.drop(
                "guard",
                format!("nobody serves it now, and the guard of {prefix} keeps it from leaving in clear"),
            );
            story.fix = Some(
                "`meshnode events` says who withdrew it; `meshnode guard clear` gives the prefix up"
                    .to_owned(),
            );
        }
        KernelRoute::None => story.drop("no_route", "the kernel has no route to it".to_owned()),
    }
}

/// What the lanes do with it.
fn forwarded(story: &mut Explanation, ingress: Ingress, facts: &Facts<'_>) {
    let key = FlowKey {
        ingress,
        source: story.source,
        destination: story.destination,
    };
    match plan(&key, facts.table) {
        Plan::All(Verdict::Deliver) => delivered(story, facts),
        Plan::All(Verdict::Tunnel(peer)) => tunnelled(story, &[peer], facts),
        Plan::Spread(group) => tunnelled(story, &facts.table.group(group), facts),
        Plan::All(Verdict::Drop(reason)) => {
            story.drop(reason.as_str(), why_dropped(reason).to_owned());
            story.fix = match (reason, &story.arrives) {
                (DropReason::DestinationNotOurs, Arrival::Peer(name)) => Some(format!(
                    "packets between other nodes do not pass here: ask on {name}"
                )),
                _ => facts.rejected_fix(story.destination),
            };
        }
    }
}

/// Out of a tunnel and for us: the kernel has it now.
fn delivered(story: &mut Explanation, facts: &Facts<'_>) {
    let route = kernel::route(story.destination, facts);
    story.kernel = Some(route.finding(facts.interface));
    match route {
        KernelRoute::Own => story.end(Outcome::Delivered, "it is an address of this host"),
        KernelRoute::Host(prefix, _) if prefix.prefix_len() > 0 => {
            story.end(
                Outcome::Delivered,
                "the kernel forwards it to the network behind this node",
            );
        }
        _ => {
            story.drop(
                "no_route",
                "this node announces the prefix, but its kernel knows no way into it".to_owned(),
            );
            story.fix = Some(format!(
                "`ip route get {}` must name an interface of this host",
                story.destination
            ));
        }
    }
}

/// Into the tunnel of one of these peers.
fn tunnelled(story: &mut Explanation, peers: &[u32], facts: &Facts<'_>) {
    let ways = peers.iter().filter_map(|peer| facts.way(*peer));
    story.gateways = ways.collect();
    let is_client = peers.iter().any(|peer| facts.is_client(*peer));
    if story.source_check.is_none() && !is_client {
        story.source_check = Some(facts.check_there(story.source));
    }
    let names: Vec<&str> = story.gateways.iter().map(|way| way.node.as_str()).collect();
    let names = names.join(" or ");
    if let Some(refused) = story.source_check.as_ref().filter(|check| !check.fine) {
        let text = format!("{names} drops it: {}", refused.text);
        story.drop(DropReason::SourceNotAllowed.as_str(), text);
        story.fix = Some(format!(
            "`meshnode cidr add` a prefix with {}, or send from an address in {}",
            story.source,
            facts.own_prefixes()
        ));
    } else if story.gateways.iter().all(|way| !way.has_session) {
        story.end(
            Outcome::Waits,
            &format!(
                "it waits for a session with {names}: 64 packets fit, later ones are dropped as no_session"
            ),
        );
    } else if !is_client && story.gateways.iter().all(|way| !way.works()) {
        let health = story
            .gateways
            .first()
            .map_or("unknown", |way| way.health.as_str());
        let text = format!("it is sent to {names}, but the path there is {health} and there is no other way");
        story.end(Outcome::Lost, &text);
    } else {
        let through = if is_client {
            "that is attached here".to_owned()
        } else {
            story.ways()
        };
        story.end(Outcome::Forwarded, &format!("it goes to {names} {through}"));
    }
}

fn why_dropped(reason: DropReason) -> &'static str {
    match reason {
        DropReason::NoRoute => "no peer serves it",
        DropReason::NoGateway => "all gateways of the prefix are gone, and an owner wants it dropped then",
        DropReason::SourceNotAllowed => {
            "that peer may not send from this source: it is in no prefix of its record"
        }
        DropReason::DestinationNotOurs => {
            "it is not for this node: a packet out of a tunnel goes to this node's prefixes and clients only"
        }
        other => other.as_str(),
    }
}
