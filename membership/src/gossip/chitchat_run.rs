//! One life of chitchat: from its start on what an earlier life knew to its end.

use std::collections::BTreeSet;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use chitchat::{
    Chitchat, ChitchatConfig, ChitchatHandle, ChitchatId, ChitchatMessage, Deserializable,
    FailureDetectorConfig, Heartbeat, NodeState, VersionedValue, spawn_chitchat,
};
use tokio::time::timeout;

use super::dissemination::Values;
use super::guard::{OwnRow, RowId};
use super::transport::{Controls, GossipTransport, Outbox, gossip_address};

/// Heartbeat intervals kept for each row; chitchat's own 1,000 would double its memory.
const SAMPLES: usize = 50;
/// How long chitchat may take to end.
const END: Duration = Duration::from_secs(1);

pub(super) struct RunConfig {
    pub(super) own: Ipv6Addr,
    pub(super) generation: u64,
    pub(super) cluster: String,
    /// The least heartbeat and version that our row begins with.
    pub(super) floor: u64,
    pub(super) interval: Duration,
    pub(super) grace: Duration,
    pub(super) digest_bytes: Arc<AtomicU64>,
}

/// What one life leaves to the next.
#[derive(Default)]
pub(super) struct Seed {
    heartbeat: u64,
    max_version: u64,
    /// Rows of others.
    pub(super) rows: Vec<(ChitchatId, NodeState)>,
}

impl Seed {
    pub(super) fn without_others(self) -> Self {
        Seed {
            rows: Vec::new(),
            ..self
        }
    }

    /// For a fresh row of ours, which owes nothing to the old one.
    pub(super) fn without_own(self) -> Self {
        Seed {
            heartbeat: 0,
            max_version: 0,
            ..self
        }
    }
}

/// Our row has a version that we did not set.
#[derive(Debug)]
pub(super) struct Poisoned;

/// A running chitchat.
pub(super) struct Run {
    handle: ChitchatHandle,
    controls: Controls,
    id: ChitchatId,
    last_version: u64,
    interval: Duration,
}

impl Run {
    pub(super) async fn start(config: RunConfig, seed: &Seed, outbox: Outbox) -> anyhow::Result<Self> {
        let (transport, controls) = GossipTransport::new(outbox, config.digest_bytes.clone());
        let id = ChitchatId::new("", config.generation, gossip_address(config.own));
        let handle = spawn_chitchat(chitchat_config(&config, &id), Vec::new(), &transport).await?;
        let last_version = {
            let chitchat = handle.chitchat();
            let mut chitchat = chitchat.lock().await;
            let version = raise(&mut chitchat, &config, seed)?;
            feed(&mut chitchat, &config, seed);
            version
        };
        controls.gate.send_replace(true);
        Ok(Run {
            handle,
            controls,
            id,
            last_version,
            interval: config.interval,
        })
    }

    /// Resolves when chitchat ended by itself.
    pub(super) async fn died(&self) {
        // How it ended makes no difference.
        drop(self.handle.termination_watcher().await);
    }

    /// Ends chitchat; gives what it knew.
    pub(super) async fn stop(self) -> Seed {
        let chitchat = self.handle.chitchat();
        if timeout(END, self.handle.shutdown()).await.is_err() {
            tracing::warn!("gossip did not end in time");
        }
        let mut chitchat = chitchat.lock().await;
        let own = chitchat.self_node_state();
        let (heartbeat, max_version) = (own.heartbeat().into(), own.max_version());
        let others = chitchat.node_states().iter().filter(|(id, _)| **id != self.id);
        let rows = others.map(|(id, state)| (id.clone(), state.clone())).collect();
        Seed {
            heartbeat,
            max_version,
            rows,
        }
    }

    pub(super) fn introduce(&self, member: Ipv6Addr) {
        // An ended chitchat is noticed by `died`.
        let _ = self.handle.gossip(gossip_address(member));
    }

    /// Whether the message found room.
    pub(super) fn deliver(&self, from: SocketAddr, message: ChitchatMessage) -> bool {
        self.controls.inbox.try_send((from, message)).is_ok()
    }

    /// Makes our row say `values` and nothing else.
    pub(super) async fn publish(&mut self, values: &Values) -> Result<(), Poisoned> {
        let chitchat = self.handle.chitchat();
        let mut chitchat = chitchat.lock().await;
        let own = chitchat.self_node_state();
        if own.max_version() != self.last_version {
            return Err(Poisoned);
        }
        let gone: Vec<String> = own
            .key_values()
            .map(|(key, _)| key.to_owned())
            .filter(|key| !values.contains_key(key))
            .collect();
        for key in gone {
            own.delete(&key);
        }
        for (key, value) in values {
            own.set(key, value);
        }
        self.last_version = own.max_version();
        Ok(())
    }

    /// Our row as it stands, and the identities of all rows.
    pub(super) async fn table(&self) -> (OwnRow, BTreeSet<RowId>) {
        let chitchat = self.handle.chitchat();
        let mut chitchat = chitchat.lock().await;
        let rows = chitchat.node_states().keys().filter_map(row_id).collect();
        let own = chitchat.self_node_state();
        let id = row_id(&self.id).expect("our own gossip address is an IPv6 one");
        (
            OwnRow {
                id,
                heartbeat: own.heartbeat().into(),
                max_version: own.max_version(),
            },
            rows,
        )
    }

    /// The nodes heard of lately, and how many rows there are.
    pub(super) async fn look(&self) -> (BTreeSet<Ipv6Addr>, usize) {
        let chitchat = self.handle.chitchat();
        let chitchat = chitchat.lock().await;
        let live = chitchat
            .live_nodes()
            .filter(|id| **id != self.id)
            .filter_map(row_id);
        (
            live.map(|row| row.address).collect(),
            chitchat.node_states().len(),
        )
    }

    pub(super) async fn rows(&self) -> usize {
        self.handle.chitchat().lock().await.node_states().len()
    }

    /// Whether `pace` differs so much from the present one that a new life is worth it.
    pub(super) fn wants_pace(&self, pace: Duration) -> bool {
        pace > self.interval.mul_f32(1.5) || pace.mul_f32(1.5) < self.interval
    }
}

fn row_id(id: &ChitchatId) -> Option<RowId> {
    match id.gossip_advertise_addr {
        SocketAddr::V6(address) => Some(RowId {
            address: *address.ip(),
            generation: id.generation_id,
        }),
        SocketAddr::V4(_) => None,
    }
}

fn chitchat_config(config: &RunConfig, id: &ChitchatId) -> ChitchatConfig {
    ChitchatConfig {
        chitchat_id: id.clone(),
        cluster_id: config.cluster.clone(),
        gossip_interval: config.interval,
        listen_addr: id.gossip_advertise_addr,
        seed_nodes: Vec::new(),
        failure_detector_config: FailureDetectorConfig {
            phi_threshold: 8.0,
            sampling_window_size: SAMPLES,
            max_interval: config.interval * 10,
            initial_interval: config.interval * 5,
            dead_node_grace_period: config.grace,
        },
        marked_for_deletion_grace_period: config.grace,
        catchup_callback: None,
        extra_liveness_predicate: None,
    }
}

// Heartbeats have no public constructor but their wire form.
fn raise(chitchat: &mut Chitchat, config: &RunConfig, seed: &Seed) -> anyhow::Result<u64> {
    let heartbeat = config.floor.max(seed.heartbeat.saturating_add(1));
    let heartbeat = Heartbeat::deserialize(&mut heartbeat.to_le_bytes().as_slice())?;
    let own = chitchat.self_node_state();
    own.try_set_heartbeat(heartbeat);
    let version = config.floor.max(seed.max_version);
    own.set_max_version(version);
    Ok(version)
}

fn feed(chitchat: &mut Chitchat, config: &RunConfig, seed: &Seed) {
    let own = gossip_address(config.own);
    let others = seed.rows.iter().filter(|(id, _)| id.gossip_advertise_addr != own);
    for (id, state) in others.filter(|(_, state)| state.max_version() > 0) {
        let values: Vec<(String, VersionedValue)> = state
            .key_values_including_deleted()
            .map(|(key, value)| (key.to_owned(), value.clone()))
            .collect();
        chitchat.reset_node_state_if_update(
            id,
            values.into_iter(),
            state.max_version(),
            state.last_gc_version(),
        );
    }
}
