//! What the data plane and the mesh report, as events with the names that people know.

use std::collections::BTreeMap;

use meshnode_crypto::{NodeId, PublicKey, WgPublicKey};
use meshnode_dataplane::{Cause, DataplaneEvent, PeerId, SwitchReason};
use meshnode_membership::api::MembershipEvent;
use meshnode_membership::view::View;

use super::{Happening, Kind};

/// The first event of a run.
pub fn started(version: &str) -> Happening {
    Happening::new(Kind::Started).because("started", format!("meshnode {version} runs"))
}

/// The last event of a run that ends as planned.
pub fn stopping(cause: &str, text: &str) -> Happening {
    Happening::new(Kind::Stopping).because(cause, text)
}

/// What an event of the data plane is in the history, if anything.
pub fn of_dataplane(event: &DataplaneEvent, view: &View) -> Option<Happening> {
    use DataplaneEvent as E;
    Some(match event {
        E::PathChanged { peer, change } => Happening::new(Kind::Path)
            .peer(name(peer, view))
            .change(Some(change.from.as_str()), Some(change.to.as_str()))
            .because(change.cause.as_str(), why(change.cause)),
        E::PathSwitched {
            peer,
            from,
            to,
            reason,
        } => Happening::new(Kind::Path)
            .peer(name(peer, view))
            .change(Some(way(from.as_ref(), view)), Some(way(to.as_ref(), view)))
            .because(reason.as_str(), why_switched(*reason)),
        E::EndpointMoved { peer, from, to } => Happening::new(Kind::Endpoint)
            .peer(name(peer, view))
            .change(from.as_ref(), Some(to))
            .because("heard_from", "its packets come from there"),
        E::LaneSilent { lane, peer, at } => Happening::new(Kind::Lane)
            .peer(name(peer, view))
            .change(Some(format_args!("lane {lane}")), Some("lane 0"))
            .because(
                "silent",
                format!(
                    "nothing comes from {at}: is UDP port {} open on both sides?",
                    at.port()
                ),
            ),
        E::Runs { peer, arrive } => {
            let (to, text) = match arrive {
                true => ("on", "segmentation offload works again"),
                false => (
                    "off",
                    "what is sent with segmentation offload does not arrive there",
                ),
            };
            Happening::new(Kind::Offload)
                .peer(name(peer, view))
                .change(None::<&str>, Some(format_args!("gso {to}")))
                .because("runs", text)
        }
        E::LocalStall { late } => Happening::new(Kind::Stall).because(
            "local_stall",
            format!(
                "this host did not run for {} ms: no peer is blamed for it",
                late.as_millis()
            ),
        ),
        _ => return None,
    })
}

/// What an event of the mesh is in the history, if anything.
pub fn of_membership(event: &MembershipEvent, view: &View) -> Option<Happening> {
    use MembershipEvent as E;
    Some(match event {
        E::Joined { name, .. } => Happening::new(Kind::Joined)
            .peer(name)
            .because("record", "its record is known here"),
        E::Left { name, .. } => Happening::new(Kind::Left)
            .peer(name)
            .because("record", "it left, or its record has expired"),
        E::Revoked { node } => Happening::new(Kind::Revoked)
            .peer(node_name(node, view))
            .because("revocation", "it is expelled: nobody talks to it any more"),
        E::Conflict { node } => Happening::new(Kind::Conflict).peer(node_name(node, view)).because(
            "two_machines",
            "two machines run with its identity: give one of them an empty state directory and a token of its own",
        ),
        E::ClockSkew { millis: Some(skew) } => Happening::new(Kind::Clock)
            .change(None::<&str>, Some("differs"))
            .because(
                "clock_skew",
                format!("{} s from the members': set it right (NTP)", skew / 1000),
            ),
        E::ClockSkew { millis: None } => Happening::new(Kind::Clock)
            .change(None::<&str>, Some("agrees"))
            .because("clock_skew", "with the members' again"),
        E::GrantReplaced { not_after } => Happening::new(Kind::Grant)
            .because("renewed", format!("this node's grant holds until {not_after} now")),
        _ => return None,
    })
}

/// What a cause means for a path, for people.
pub fn why(cause: Cause) -> &'static str {
    match cause {
        Cause::New => "it was not tried yet",
        Cause::Answered => "its probes are answered",
        Cause::Silent => "nothing comes from it any more",
        Cause::NotAnswering => "it is heard, but does not answer: the way to it is broken",
        Cause::NoHandshake => "no handshake completes",
        Cause::LocalLink => "the address or interface of this host that it used is gone",
        Cause::Loss => "it loses too many packets",
        Cause::RoundTrip => "its round trip is much longer than it was",
        Cause::PeerStalled => "the peer stood still, and says so",
    }
}

/// Nodes that began or ended to withdraw from carrying traffic, between two views; this one too.
pub fn drains(before: &View, after: &View) -> Vec<Happening> {
    let known = |view: &View| -> BTreeMap<NodeId, bool> {
        let nodes = view.nodes.values().chain(&view.own);
        nodes.map(|node| (node.id, node.serving.draining)).collect()
    };
    let (old, new) = (known(before), known(after));
    let changed = new
        .iter()
        .filter(|(node, drains)| old.get(node).unwrap_or(&false) != *drains);
    changed
        .map(|(node, drains)| drained(*drains).peer(node_name(node, after)))
        .collect()
}

fn drained(drains: bool) -> Happening {
    let event = Happening::new(Kind::Drain);
    match drains {
        true => event
            .change(None::<&str>, Some("draining"))
            .because("drain", "it asks others to take other ways"),
        false => event
            .change(Some("draining"), Some("serving"))
            .because("undrain", "it carries traffic again"),
    }
}

/// The shown name, or what is known of a client.
pub fn name(peer: &PeerId, view: &View) -> String {
    match PublicKey::from_bytes(peer)
        .ok()
        .and_then(|id| view.nodes.get(&id))
    {
        Some(node) => node.name.clone(),
        None => format!("client {}", WgPublicKey::from_bytes(*peer)),
    }
}

/// Which way packets take: `direct`, or `relay:<name>`.
pub fn way(relay: Option<&PeerId>, view: &View) -> String {
    relay.map_or_else(
        || "direct".to_owned(),
        |relay| format!("relay:{}", name(relay, view)),
    )
}

fn why_switched(reason: SwitchReason) -> &'static str {
    match reason {
        SwitchReason::DirectLost => "nothing proves the direct path any more",
        SwitchReason::NoDirect => "no direct path came up",
        SwitchReason::RelayBetter => "the way through the relay was better for a while",
        SwitchReason::RelayLost => "the way through the relay does not work any more",
        SwitchReason::DirectBack => "the direct path was well again for a while",
    }
}

/// The shown name, also of this node, or the beginning of its id.
fn node_name(node: &NodeId, view: &View) -> String {
    let known = view
        .nodes
        .get(node)
        .or(view.own.as_ref().filter(|own| own.id == *node));
    known.map_or_else(|| node.short(), |known| known.name.clone())
}
