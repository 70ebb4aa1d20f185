//! Start: load what is kept, count this start, wire the actor to what carries its messages.

use std::net::Ipv6Addr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use meshnode_crypto::{MeshId, NodeId, mesh_address, mesh_prefix};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;

use super::actor::{Actor, Identity, Inputs, Outputs, Routes, monotonic};
use super::keeper::{Counter, Keeper};
use super::loaded::Loaded;
use super::{COMMANDS, CONFIRMATIONS, EVENTS, Membership};
use crate::api::{MembershipConfig, Now, StartError};
use crate::carrier::{Carrier, CarrierEvent};
use crate::directory::{Directory, DirectoryConfig, Voucher};
use crate::gossip::dissemination::{Dissemination, GossipEvent};
use crate::gossip::supervisor::{ChitchatGossip, GossipConfig};
use crate::gossip::transport::Outbox;
use crate::introducer::Introducer;
use crate::message::Message;
use crate::observed::ObservedEndpoints;
use crate::own::{OwnConfig, OwnRecord};
use crate::ports::{Store, WallClock};
use crate::quic::endpoint::QuicEndpoint;
use crate::quic::pool::Pool;
use crate::renewal::Renewal;
use crate::simulation::SimNetwork;

/// Messages from others that wait for the actor.
const INBOX: usize = 1024;

/// What a carrier and a dissemination are made from.
pub(crate) struct Wiring {
    pub(crate) mesh: MeshId,
    pub(crate) node: NodeId,
    pub(crate) hello: Bytes,
    pub(crate) carrier_events: mpsc::Sender<CarrierEvent>,
    pub(crate) gossip_events: mpsc::Sender<GossipEvent>,
    pub(crate) gossip: GossipConfig,
    pub(crate) voucher: Voucher,
    pub(crate) routes: Routes,
}

pub(crate) type Wired = (Arc<dyn Carrier>, Arc<dyn Dissemination>);

impl Wiring {
    /// Chitchat over `carrier`.
    pub(crate) fn chitchat(self, carrier: &Arc<dyn Carrier>) -> Arc<dyn Dissemination> {
        let (carrier, routes) = (carrier.clone(), self.routes);
        let outbox: Outbox = Arc::new(move |to: Ipv6Addr, bytes: Bytes| {
            if let Some(node) = routes.load().get(&to) {
                carrier.send(*node, Message::Gossip(bytes));
            }
        });
        Arc::new(ChitchatGossip::start(
            self.gossip,
            self.voucher,
            outbox,
            self.gossip_events,
        ))
    }
}

pub(super) async fn over_quic(
    config: MembershipConfig,
    endpoint: QuicEndpoint,
    store: Arc<dyn Store>,
    clock: Arc<dyn WallClock>,
) -> Result<Membership, StartError> {
    start(config, store, clock, |wiring| {
        let carrier: Arc<dyn Carrier> = Arc::new(Pool::start(
            endpoint,
            wiring.hello.clone(),
            wiring.carrier_events.clone(),
        ));
        let gossip = wiring.chitchat(&carrier);
        (carrier, gossip)
    })
    .await
}

pub(super) async fn in_simulation(
    network: &SimNetwork,
    config: MembershipConfig,
    store: Arc<dyn Store>,
    clock: Arc<dyn WallClock>,
) -> Result<Membership, StartError> {
    start(config, store, clock, |wiring| network.attach(wiring)).await
}

async fn start(
    config: MembershipConfig,
    store: Arc<dyn Store>,
    clock: Arc<dyn WallClock>,
    wire: impl FnOnce(Wiring) -> Wired,
) -> Result<Membership, StartError> {
    let node = config.signing_key.public_key();
    let now = Now {
        wall: clock.now(),
        monotonic: monotonic(),
    };
    let events = broadcast::Sender::new(EVENTS);
    let mut keeper = Keeper::new(store, events.clone());
    let loaded = Loaded::load(&mut keeper, &config).await?;
    keeper.save_counter(loaded.counter).await;
    let mut directory = Directory::new(
        DirectoryConfig {
            mesh: config.mesh,
            self_id: node,
            max_members: config.max_members,
        },
        now,
    );
    let good = loaded.restore(&mut directory, &config.first_records, now);
    let own = OwnRecord::new(own_config(&config, loaded.counter), loaded.chain)?;

    let (commands, command_inbox) = mpsc::channel(COMMANDS);
    let (confirmations, confirmation_inbox) = mpsc::channel(CONFIRMATIONS);
    let (announcement, announced) = watch::channel(None);
    let (carrier_events, carrier_inbox) = mpsc::channel(INBOX);
    let (gossip_events, gossip_inbox) = mpsc::channel(INBOX);
    let (view, views) = watch::channel(Arc::new(directory.view(now)));
    let routes = Routes::default();
    let (carrier, gossip) = wire(Wiring {
        mesh: config.mesh,
        node,
        hello: own.chain().0.to_bytes().into(),
        carrier_events,
        gossip_events,
        gossip: gossip_config(&config, loaded.counter),
        voucher: directory.voucher(),
        routes: routes.clone(),
    });
    let stats = Arc::new(ArcSwap::default());
    let mut rng = ChaCha20Rng::from_seed(config.entropy);
    let actor = Actor {
        introducer: Introducer::new(ChaCha20Rng::from_seed(rng.random()), now.monotonic),
        identity: Identity {
            mesh: config.mesh,
            node,
            key: config.signing_key,
            authority: config.authority,
            seeds: config.seeds,
            timing: config.timing,
        },
        out: Outputs {
            carrier,
            gossip,
            routes,
            view,
            events: events.clone(),
            stats: stats.clone(),
        },
        clock,
        rng,
        keeper,
        directory,
        own,
        observed: ObservedEndpoints::new(),
        renewal: Renewal::new(),
        ledger: loaded.ledger,
        tokens: loaded.tokens,
        counter: loaded.counter,
        vouched: Default::default(),
        good,
        offered: Default::default(),
        goodbyes: Vec::new(),
        jobs: JoinSet::new(),
        renewing: false,
        settling: Default::default(),
    };
    let inputs = Inputs {
        commands: command_inbox,
        confirmations: confirmation_inbox,
        announcement: announced,
        carrier: carrier_inbox,
        gossip: gossip_inbox,
    };
    let actor = tokio::spawn(actor.run(inputs));
    Ok(Membership {
        commands,
        confirmations,
        announcement,
        view: views,
        events,
        stats,
        actor,
    })
}

fn own_config(config: &MembershipConfig, counter: Counter) -> OwnConfig {
    OwnConfig {
        mesh: config.mesh,
        key: config.signing_key.clone(),
        version: config.version.clone(),
        generation: counter.starts,
        persisted_sequence: counter.sequence,
        timing: config.timing.clone(),
    }
}

fn gossip_config(config: &MembershipConfig, counter: Counter) -> GossipConfig {
    GossipConfig {
        own: mesh_address(&config.mesh, &config.signing_key.public_key()),
        cluster: config.mesh.to_string(),
        prefix: mesh_prefix(&config.mesh),
        max_rows: config.max_members,
        start_counter: counter.starts,
        interval: config.timing.gossip,
        grace: config.timing.gossip_grace,
    }
}
