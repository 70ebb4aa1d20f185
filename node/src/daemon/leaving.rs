//! Leaving without losing a packet: the others are told, move what has another way, and only then something ends.

use std::collections::BTreeSet;
use std::time::Duration;

use ipnet::IpNet;
use meshnode_dataplane::Dataplane;
use meshnode_membership::view::View;

use super::core::Command;
use super::node::Node;

/// How long telling the others may take.
pub const TELL: Duration = Duration::from_secs(1);
/// Nothing comes any more when nothing came for this long.
const QUIET: Duration = Duration::from_millis(300);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How long it is waited for: somebody may have no other way, whatever the records say.
const LONGEST: Duration = Duration::from_millis(2_500);

/// What came of moving traffic away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// Nothing comes from the others any more.
    Quiet,
    /// Packets still come.
    Still,
    /// What this node serves has no other gateway: nobody was waited for.
    NoOtherWay,
}

/// Asks the others to send elsewhere until this process ends, and waits until they do.
pub async fn move_away(node: &Node) -> Moved {
    let asked = async {
        if let Err(error) = node.ask(Command::Leaving).await {
            tracing::info!(%error, "the others could not be asked to send elsewhere");
        }
    };
    if tokio::time::timeout(TELL, asked).await.is_err() {
        tracing::info!("not everybody could be told in time");
    }
    wait(node).await
}

/// Waits until the others, who were told, send nothing here.
pub async fn wait(node: &Node) -> Moved {
    let composed = node.now_composed();
    let own: Vec<IpNet> = composed.announced.iter().map(|a| a.prefix).collect();
    if !has_other_way(&own, &composed.view) {
        return Moved::NoOtherWay;
    }
    let members: BTreeSet<_> = composed.view.nodes.keys().map(|id| *id.as_bytes()).collect();
    let received = || received(&node.dataplane, &members);
    match tokio::time::timeout(LONGEST, until_quiet(received)).await {
        Ok(()) => Moved::Quiet,
        Err(_) => Moved::Still,
    }
}

fn received(dataplane: &Dataplane, members: &BTreeSet<[u8; 32]>) -> u64 {
    let peers = dataplane.stats().peers;
    let counted = peers.iter().filter(|(id, _)| members.contains(*id));
    counted.map(|(_, peer)| peer.rx_packets).sum()
}

/// Resolves once `count` has not changed for [`QUIET`].
async fn until_quiet(count: impl Fn() -> u64) {
    let (mut last, mut since) = (count(), tokio::time::Instant::now());
    while since.elapsed() < QUIET {
        tokio::time::sleep(LOOK).await;
        let now = count();
        if now != last {
            (last, since) = (now, tokio::time::Instant::now());
        }
    }
}

/// Whether another gateway serves any of `own`, or what is around it.
fn has_other_way(own: &[IpNet], view: &View) -> bool {
    let mut others = view.nodes.values().filter(|node| !node.serving.draining);
    others.any(|node| {
        let served = node
            .prefixes
            .iter()
            .filter(|a| !node.serving.of(&a.prefix).not_served);
        let mut served = served.map(|announced| announced.prefix);
        served.any(|prefix| own.iter().any(|own| prefix.contains(own)))
    })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::desired::fixture::{node, view};

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|t| t.parse().unwrap()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn quiet_is_when_nothing_came_for_a_while() {
        let start = tokio::time::Instant::now();
        let count = Cell::new(0);
        until_quiet(|| {
            if start.elapsed() < Duration::from_millis(700) {
                count.set(count.get() + 1);
            }
            count.get()
        })
        .await;
        let took = start.elapsed();
        assert!(
            took >= Duration::from_millis(980) && took < Duration::from_millis(1_100),
            "{took:?}"
        );
    }

    #[test]
    fn another_way_is_the_same_prefix_or_a_wider_one_of_a_node_that_stays() {
        let own = nets(&["10.1.0.0/16"]);
        let other = |prefix| view(vec![node(2, &[(prefix, 100)])]);
        assert!(has_other_way(&own, &other("10.1.0.0/16")) && has_other_way(&own, &other("10.0.0.0/8")));
        assert!(!has_other_way(&own, &other("10.1.7.0/24")));
        let mut draining = node(2, &[("10.1.0.0/16", 100)]);
        draining.serving.draining = true;
        assert!(!has_other_way(&own, &view(vec![draining])));
    }
}
