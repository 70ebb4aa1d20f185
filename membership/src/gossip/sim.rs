//! A seeded stand-in for chitchat: each node tells all that hear it what it says of itself, when that
//! changes and every so often, for those who were away.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use meshnode_crypto::{MeshId, NodeId, mesh_address};
use tokio::sync::watch;
use tokio::time::{interval, sleep};

use super::dissemination::{Dissemination, GossipEvent, GossipStats, Values};
use super::guard::{RECORD_KEY, decode_value};
use crate::directory::Voucher;
use crate::service::start::Wiring;
use crate::simulation::SimNetwork;

/// How often everything is said again.
const REPEAT: Duration = Duration::from_secs(5);

/// See the module documentation. Dropping it ends it.
pub(crate) struct Broadcast {
    values: watch::Sender<Arc<Values>>,
    live: Arc<ArcSwap<BTreeSet<Ipv6Addr>>>,
}

struct Speaker {
    network: SimNetwork,
    node: NodeId,
    mesh: MeshId,
    live: Arc<ArcSwap<BTreeSet<Ipv6Addr>>>,
}

impl Broadcast {
    pub(crate) fn start(network: SimNetwork, wiring: &Wiring) -> Self {
        let values = watch::Sender::new(Arc::new(Values::new()));
        let live = Arc::new(ArcSwap::default());
        let speaker = Speaker {
            network,
            node: wiring.node,
            mesh: wiring.mesh,
            live: live.clone(),
        };
        tokio::spawn(speaker.run(values.subscribe()));
        Broadcast { values, live }
    }
}

impl Dissemination for Broadcast {
    fn publish(&self, values: Arc<Values>) {
        self.values.send_replace(values);
    }

    // Receivers check everything again: no guard is needed in front of a directory.
    fn set_voucher(&self, _: Voucher) {}

    fn receive(&self, _: Ipv6Addr, _: Bytes) {}

    fn introduce(&self, _: Ipv6Addr) {}

    fn live(&self) -> Arc<BTreeSet<Ipv6Addr>> {
        self.live.load_full()
    }

    fn stats(&self) -> GossipStats {
        GossipStats::default()
    }
}

impl Speaker {
    async fn run(self, mut values: watch::Receiver<Arc<Values>>) {
        let mut again = interval(REPEAT);
        loop {
            tokio::select! {
                changed = values.changed() => if changed.is_err() { return },
                _ = again.tick() => {}
            }
            let said = values.borrow_and_update().clone();
            let listeners = self.network.listeners(&self.node);
            for listener in &listeners {
                self.tell(*listener, &said);
            }
            let heard = listeners
                .iter()
                .map(|node| mesh_address(&self.mesh, node))
                .collect();
            self.live.store(Arc::new(heard));
        }
    }

    fn tell(&self, listener: NodeId, said: &Values) {
        let Some(delay) = self.network.delay() else { return };
        let (mut records, mut revocations) = (Vec::new(), Vec::new());
        for (key, value) in said {
            let list = if key == RECORD_KEY {
                &mut records
            } else {
                &mut revocations
            };
            list.extend(decode_value(value));
        }
        let (network, node) = (self.network.clone(), self.node);
        tokio::spawn(async move {
            sleep(delay).await;
            if let Some(events) = network.gossip_events_of(&node, &listener) {
                // A listener that stopped meanwhile needs nothing.
                let _ = events.send(GossipEvent::Found { records, revocations }).await;
            }
        });
    }
}
