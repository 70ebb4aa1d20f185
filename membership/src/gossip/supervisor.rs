//! Keeps chitchat running, and keeps what reaches it within what it survives.
//!
//! ```text
//! members ─► receive ─► quarantine? ─► guard ─► inbox ─► chitchat ─► outbox ─► members
//!                                        └─► signed values ─► actor
//! ```
//!
//! Our identity is stable across restarts. Before the first message goes through, heartbeat and version of
//! our row are raised to start counter × 2³², above all that others remember of earlier lives. When our row
//! turns out to be ahead of us all the same (a restored disk, or a member that lied to others about us),
//! the generation grows, which makes a fresh row. Chitchat panics on states that it holds impossible: then
//! it is started again on what it knew, later and later.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use chitchat::{ChitchatMessage, Deserializable};
use ipnet::Ipv6Net;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, interval, sleep};

use super::chitchat_run::{Run, RunConfig, Seed};
use super::dissemination::{Dissemination, GossipEvent, GossipStats, Values};
use super::guard::{self, GuardConfig, OwnRow, Violation};
use super::rows::{Judged, RowVouch};
use super::transport::{GOSSIP_PORT, Outbox, gossip_address};
use crate::directory::Voucher;

/// Messages that wait for the guard.
const INBOUND: usize = 256;
/// How long nothing is taken from a member that sent what no honest one sends.
const QUARANTINE: Duration = Duration::from_secs(60);
/// How long one member alone must say that our row is ahead of us before it is believed.
const ACCUSATION: Duration = Duration::from_secs(20);
/// How often the interval is compared with the number of members.
const PACE_CHECK: Duration = Duration::from_secs(30);
/// Shortest and longest pause before chitchat is started again.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// A run that lasted this long was a good one.
const GOOD_RUN: Duration = Duration::from_secs(60);

/// What gossip is about.
#[derive(Clone, Debug)]
pub(crate) struct GossipConfig {
    pub(crate) own: Ipv6Addr,
    pub(crate) cluster: String,
    pub(crate) prefix: Ipv6Net,
    pub(crate) max_rows: usize,
    pub(crate) start_counter: u64,
    /// `None`: by the number of rows.
    pub(crate) interval: Option<Duration>,
    pub(crate) grace: Duration,
}

/// Gossip by chitchat. Dropping it ends chitchat.
pub(crate) struct ChitchatGossip {
    inbound: mpsc::Sender<Inbound>,
    values: watch::Sender<Arc<Values>>,
    voucher: watch::Sender<Voucher>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    live: ArcSwap<BTreeSet<Ipv6Addr>>,
    digest: Arc<AtomicU64>,
    rows: AtomicU64,
    overrun: AtomicU64,
    restarts: AtomicU64,
}

enum Inbound {
    Message { from: Ipv6Addr, bytes: Bytes },
    Introduce(Ipv6Addr),
}

impl ChitchatGossip {
    pub(crate) fn start(
        config: GossipConfig,
        voucher: Voucher,
        outbox: Outbox,
        events: mpsc::Sender<GossipEvent>,
    ) -> Self {
        let (inbound, messages) = mpsc::channel(INBOUND);
        let (values, published) = watch::channel(Arc::new(Values::new()));
        let (voucher, vouched) = watch::channel(voucher);
        let shared = Arc::new(Shared::default());
        let supervisor = Supervisor {
            guard: GuardConfig {
                cluster: config.cluster.clone(),
                prefix: config.prefix,
                port: GOSSIP_PORT,
                max_rows: config.max_rows,
            },
            config,
            outbox,
            events,
            values: published,
            voucher: vouched,
            shared: shared.clone(),
            generation: 0,
            failures: 0,
            judged: Judged::default(),
            quarantined: BTreeMap::new(),
            accusers: BTreeMap::new(),
        };
        tokio::spawn(supervisor.run(messages));
        ChitchatGossip {
            inbound,
            values,
            voucher,
            shared,
        }
    }

    fn hand_over(&self, inbound: Inbound) {
        if self.inbound.try_send(inbound).is_err() {
            self.shared.overrun.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Dissemination for ChitchatGossip {
    fn publish(&self, values: Arc<Values>) {
        self.values.send_replace(values);
    }

    fn set_voucher(&self, voucher: Voucher) {
        self.voucher.send_replace(voucher);
    }

    fn receive(&self, from: Ipv6Addr, bytes: Bytes) {
        self.hand_over(Inbound::Message { from, bytes });
    }

    fn introduce(&self, member: Ipv6Addr) {
        self.hand_over(Inbound::Introduce(member));
    }

    fn live(&self) -> Arc<BTreeSet<Ipv6Addr>> {
        self.shared.live.load_full()
    }

    fn stats(&self) -> GossipStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        GossipStats {
            digest_bytes: read(&self.shared.digest),
            rows: read(&self.shared.rows),
            overrun: read(&self.shared.overrun),
            restarts: read(&self.shared.restarts),
        }
    }
}

struct Supervisor {
    config: GossipConfig,
    guard: GuardConfig,
    outbox: Outbox,
    events: mpsc::Sender<GossipEvent>,
    values: watch::Receiver<Arc<Values>>,
    voucher: watch::Receiver<Voucher>,
    shared: Arc<Shared>,
    generation: u64,
    failures: u32,
    judged: Judged,
    quarantined: BTreeMap<Ipv6Addr, Instant>,
    accusers: BTreeMap<Ipv6Addr, Instant>,
}

/// Why a run is over.
enum End {
    /// Nobody wants gossip any more.
    Stop,
    /// Chitchat ended by itself, which it only does by panicking.
    Died,
    /// Our row is ahead of us.
    Poisoned,
    /// Another interval fits better.
    Pace,
}

impl Supervisor {
    async fn run(mut self, mut inbound: mpsc::Receiver<Inbound>) {
        let mut seed = Seed::default();
        loop {
            let started = Instant::now();
            let end = match Run::start(self.run_config(&seed), &seed, self.outbox.clone()).await {
                Ok(mut run) => {
                    let end = self.serve(&mut run, &mut inbound).await;
                    seed = run.stop().await;
                    end
                }
                Err(error) => {
                    tracing::warn!(%error, "gossip did not start");
                    End::Died
                }
            };
            match end {
                End::Stop => return,
                End::Pace => {}
                End::Poisoned => {
                    seed = seed.without_own();
                    self.new_generation();
                }
                End::Died => seed = self.recover(seed, started).await,
            }
            self.shared.restarts.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn run_config(&self, seed: &Seed) -> RunConfig {
        RunConfig {
            own: self.config.own,
            generation: self.generation,
            cluster: self.config.cluster.clone(),
            floor: self.config.start_counter << 32,
            interval: self.config.interval.unwrap_or_else(|| pace(seed.rows.len() + 1)),
            grace: self.config.grace,
            digest_bytes: self.shared.digest.clone(),
        }
    }

    async fn serve(&mut self, run: &mut Run, inbound: &mut mpsc::Receiver<Inbound>) -> End {
        let mut look = interval(Duration::from_secs(1));
        let mut next_pace = Instant::now() + PACE_CHECK;
        self.values.mark_changed();
        loop {
            tokio::select! {
                message = inbound.recv() => match message {
                    None => return End::Stop,
                    Some(Inbound::Introduce(member)) => run.introduce(member),
                    Some(Inbound::Message { from, bytes }) => {
                        if let Some(end) = self.take(run, from, &bytes).await {
                            return end;
                        }
                    }
                },
                changed = self.values.changed() => {
                    if changed.is_err() {
                        return End::Stop;
                    }
                    let values = self.values.borrow_and_update().clone();
                    if run.publish(&values).await.is_err() {
                        return End::Poisoned;
                    }
                }
                () = run.died() => return End::Died,
                now = look.tick() => {
                    self.look(run).await;
                    if now >= next_pace {
                        next_pace = now + PACE_CHECK;
                        if self.config.interval.is_none() && run.wants_pace(pace(run.rows().await)) {
                            return End::Pace;
                        }
                    }
                }
            }
        }
    }

    async fn look(&mut self, run: &Run) {
        let (live, rows) = run.look().await;
        self.shared.rows.store(rows as u64, Ordering::Relaxed);
        self.shared.live.store(Arc::new(live));
    }

    async fn take(&mut self, run: &Run, from: Ipv6Addr, bytes: &[u8]) -> Option<End> {
        let now = Instant::now();
        self.quarantined.retain(|_, until| now < *until);
        if self.quarantined.contains_key(&from) {
            return None;
        }
        let (own, rows) = run.table().await;
        let mut vouch = RowVouch::new(
            self.voucher.borrow().clone(),
            &mut self.judged,
            rows,
            self.config.max_rows,
        );
        match guard::inspect(bytes, &self.guard, &own, &mut vouch) {
            Ok(inspected) => {
                self.accusers.remove(&from);
                let full = vouch.is_full();
                self.pass_on(run, from, inspected, full).await;
                None
            }
            Err(violation) => self.refuse(from, violation, &own, now).await,
        }
    }

    async fn pass_on(&self, run: &Run, from: Ipv6Addr, inspected: guard::Inspected<'_>, full: bool) {
        match ChitchatMessage::deserialize(&mut inspected.message.as_ref()) {
            Ok(message) => {
                if !run.deliver(gossip_address(from), message) {
                    self.shared.overrun.fetch_add(1, Ordering::Relaxed);
                }
            }
            Err(error) => tracing::warn!(%from, %error, "the guard let through what chitchat cannot read"),
        }
        let records: Vec<_> = inspected.records.into_iter().map(|(_, record)| record).collect();
        if !records.is_empty() || !inspected.revocations.is_empty() {
            self.tell(GossipEvent::Found {
                records,
                revocations: inspected.revocations,
            })
            .await;
        }
        if full {
            self.tell(GossipEvent::TableFull).await;
        }
    }

    async fn refuse(
        &mut self,
        from: Ipv6Addr,
        violation: Violation,
        own: &OwnRow,
        now: Instant,
    ) -> Option<End> {
        tracing::debug!(%from, %violation, ?own, "gossip refused");
        if violation.blames_sender() {
            self.quarantined.insert(from, now + QUARANTINE);
        }
        let full = matches!(violation, Violation::TooManyRows);
        let ahead = matches!(violation, Violation::OwnRowAhead { .. });
        self.tell(GossipEvent::Refused { from, violation }).await;
        if full {
            self.tell(GossipEvent::TableFull).await;
        }
        if !ahead {
            return None;
        }
        self.accusers.entry(from).or_insert(now);
        let insistent = self
            .accusers
            .values()
            .any(|since| now.duration_since(*since) >= ACCUSATION);
        (self.accusers.len() > 1 || insistent).then_some(End::Poisoned)
    }

    fn new_generation(&mut self) {
        self.generation += 1;
        self.accusers.clear();
        tracing::warn!(
            generation = self.generation,
            "others hold a gossip row of ours that is ahead of us; starting a fresh one"
        );
    }

    // What made chitchat panic may be among what it knew: after the third time it starts empty.
    async fn recover(&mut self, seed: Seed, started: Instant) -> Seed {
        self.failures = if started.elapsed() > GOOD_RUN {
            1
        } else {
            self.failures + 1
        };
        let pause = BACKOFF
            .0
            .saturating_mul(1 << (self.failures - 1).min(6))
            .min(BACKOFF.1);
        tracing::warn!(
            seconds = pause.as_secs(),
            failures = self.failures,
            "gossip died; starting it again"
        );
        sleep(pause).await;
        if self.failures < 3 {
            seed
        } else {
            seed.without_others()
        }
    }

    async fn tell(&self, event: GossipEvent) {
        // The actor is gone only when everything stops.
        let _ = self.events.send(event).await;
    }
}

/// Gossip's interval for so many rows.
fn pace(rows: usize) -> Duration {
    Duration::from_millis((rows as u64 * 10).clamp(1000, 5000))
}
