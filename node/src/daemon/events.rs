//! What happened in the data plane and in the mesh: said in the log, passed on where it matters.

use meshnode_crypto::PublicKey;
use meshnode_dataplane::{DataplaneEvent, PeerId};
use meshnode_membership::api::MembershipEvent;
use meshnode_membership::service::Membership;
use meshnode_membership::view::View;
use tokio::sync::broadcast::error::RecvError;

use crate::history::sources::{name, way};

/// Fails when the data plane cannot go on.
pub fn handle_dataplane(event: &DataplaneEvent, membership: &Membership, view: &View) -> anyhow::Result<()> {
    match event {
        DataplaneEvent::PeerUp { peer } => tracing::info!(peer = name(peer, view), "peer is up"),
        DataplaneEvent::PeerDown { peer, reason } => {
            tracing::info!(peer = name(peer, view), reason = reason.as_str(), "peer is down");
        }
        DataplaneEvent::PathChanged { peer, change } => tracing::debug!(
            peer = name(peer, view),
            from = change.from.as_str(),
            to = change.to.as_str(),
            cause = change.cause.as_str(),
            "path changed"
        ),
        DataplaneEvent::PathSwitched {
            peer,
            from,
            to,
            reason,
        } => tracing::info!(
            peer = name(peer, view),
            from = way(from.as_ref(), view),
            to = way(to.as_ref(), view),
            reason = reason.as_str(),
            "packets take another way"
        ),
        DataplaneEvent::EndpointMoved { peer, from, to } => {
            tracing::info!(peer = name(peer, view), ?from, %to, "peer's endpoint moved");
            if let Some(node) = node(peer).filter(|node| view.nodes.contains_key(node)) {
                membership.confirm_endpoint(node, *to);
            }
        }
        DataplaneEvent::LaneSilent { lane, peer, at } => {
            tracing::info!(
                peer = name(peer, view),
                lane,
                %at,
                "nothing comes from there: its packets go by lane 0; is UDP port {} open on both sides?",
                at.port()
            );
        }
        DataplaneEvent::Runs { peer, arrive: false } => tracing::warn!(
            peer = name(peer, view),
            "datagrams sent with segmentation offload do not arrive there, single ones do: sending singly. If this comes from a network card of this host, run with `gso` left out of --offload"
        ),
        DataplaneEvent::Runs { peer, arrive: true } => {
            tracing::info!(peer = name(peer, view), "segmentation offload works again");
        }
        DataplaneEvent::LocalStall { late } => tracing::warn!(?late, "this host stalled"),
        DataplaneEvent::TunGone => anyhow::bail!("the TUN interface was deleted by somebody else"),
        DataplaneEvent::LaneDied { lane, cause } => anyhow::bail!("lane {lane} died: {cause}"),
        other => tracing::debug!(?other, "data plane"),
    }
    Ok(())
}

/// Logs an event of the mesh.
pub fn say(event: Result<MembershipEvent, RecvError>, view: &View) {
    use MembershipEvent as E;
    match event {
        Ok(E::Joined { name, .. }) => tracing::debug!(name, "node is in the view"),
        Ok(E::Left { name, .. }) => tracing::debug!(name, "node is no longer in the view"),
        Ok(E::Revoked { node }) if node == view.me => {
            tracing::warn!("this node has been revoked: no other member talks to it any more");
        }
        Ok(E::Revoked { node }) => tracing::info!(node = node.short(), "node is revoked"),
        Ok(E::Conflict { node }) => tracing::warn!(
            node = node.short(),
            "two machines run with one identity: give one of them an empty state directory and a token of its own"
        ),
        Ok(E::ClockSkew { millis: Some(skew) }) => {
            tracing::warn!(
                seconds = skew / 1000,
                "the clock differs from the members': set it right (NTP)"
            );
        }
        Ok(E::ClockSkew { millis: None }) => tracing::info!("the clock agrees with the members' again"),
        Ok(E::TableFull { capacity }) => tracing::warn!(capacity, "a node was refused: the mesh is full"),
        Ok(E::StoreFailed { item, error }) => {
            tracing::warn!(
                ?item,
                error,
                "cannot write the state directory: running on from memory"
            );
        }
        Ok(E::GrantReplaced { not_after }) => tracing::info!(%not_after, "this node has a new grant"),
        Err(RecvError::Lagged(missed)) => tracing::debug!(missed, "events of the mesh went unread"),
        Err(RecvError::Closed) => {}
    }
}

fn node(peer: &PeerId) -> Option<PublicKey> {
    PublicKey::from_bytes(peer).ok()
}
