//! What a lane counts: atomics in blocks that only the lane writes, summed by whoever asks.

use crate::check::Verdicts;
use crate::drop::DropCounters;
use crate::offload::switch::{Offload, OffloadBoard, Offloads};
use crate::path::health::Cause;
use crate::path::loss::Ratios;
use crate::path::probing::Figures;
use crate::path::rtt::RoundTrips;
use crate::stats::{LaneStats, PathState, PeerHealth, PeerStats, RTT_BUCKETS, RttHistogram, Stats, Via};
use crate::table::PeerId;
use arc_swap::ArcSwap;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A number that one thread writes and others read.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed) + n, Relaxed);
    }

    pub(super) fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Durations are stored one nanosecond up, so that zero means none.
    fn set_duration(&self, duration: Option<Duration>) {
        self.set(duration.map_or(0, |d| d.as_nanos() as u64 + 1));
    }

    fn duration(&self) -> Option<Duration> {
        self.get().checked_sub(1).map(Duration::from_nanos)
    }
}

/// Set once a state was told.
const TOLD: u64 = 1 << 63;

/// One peer's block.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct PeerCounters {
    pub(super) tx_bytes: Counter,
    pub(super) rx_bytes: Counter,
    pub(super) tx_packets: Counter,
    pub(super) rx_packets: Counter,
    pub(super) probes_sent: Counter,
    pub(super) probes_lost: Counter,
    pub(super) mtu: Counter,
    /// State and cause in one number, so that nobody reads one without the other.
    state: Counter,
    since: Counter,
    proven: Counter,
    established: Counter,
    rtt: [Counter; 4],
    /// By window, there and back.
    loss: [[Counter; 2]; 3],
    variation: [Counter; 2],
    histogram: [Counter; RTT_BUCKETS],
    rtt_sum_us: Counter,
    /// Written when the endpoint moves, which is rare.
    endpoint: Mutex<Option<SocketAddr>>,
    /// Written when packets take another way.
    via: Mutex<Option<Via>>,
}

impl PeerCounters {
    /// `since`: from the lane's beginning.
    pub(super) fn set_state(&self, state: PathState, cause: Cause, since: Duration) {
        let at = |found: Option<usize>| found.map_or(0, |i| i as u64);
        let state = at(PathState::ALL.iter().position(|s| *s == state));
        let cause = at(Cause::ALL.iter().position(|c| *c == cause));
        self.since.set_duration(Some(since));
        self.state.set(state << 8 | cause | TOLD);
    }

    /// A client is up while it has a session: it answers no probes.
    pub(super) fn set_session(&self, live: bool) {
        let (state, cause) = match live {
            true => (PathState::Up, Cause::Answered),
            false => (PathState::Connecting, Cause::New),
        };
        self.set_state(state, cause, self.since.duration().unwrap_or_default());
    }

    fn state(&self) -> (PathState, Cause) {
        let told = self.state.get();
        if told & TOLD == 0 {
            return (PathState::default(), Cause::default());
        }
        let state = PathState::ALL.get((told >> 8 & 0xff) as usize);
        let cause = Cause::ALL.get((told & 0xff) as usize);
        (
            state.copied().unwrap_or_default(),
            cause.copied().unwrap_or_default(),
        )
    }

    fn health(&self, start: Instant) -> PeerHealth {
        let (state, cause) = self.state();
        PeerHealth {
            state,
            cause,
            since: start + self.since.duration().unwrap_or_default(),
            proven: self.proven(start),
            rtt: self.rtt[0].duration(),
            loss: self.loss()[0].round_trip(),
        }
    }

    /// `since_start`: when the handshake completed, from the lane's beginning.
    pub(super) fn set_established(&self, since_start: Duration) {
        self.established.set_duration(Some(since_start));
    }

    pub(super) fn set_endpoint(&self, endpoint: Option<SocketAddr>) {
        *self.endpoint.lock().unwrap_or_else(PoisonError::into_inner) = endpoint;
    }

    /// Returns what it was.
    pub(super) fn set_via(&self, via: Option<Via>) -> Option<Via> {
        std::mem::replace(&mut *self.via.lock().unwrap_or_else(PoisonError::into_inner), via)
    }

    pub(super) fn set_figures(&self, figures: &Figures) {
        for (counters, loss) in self.loss.iter().zip(&figures.loss) {
            counters[0].set(loss.outbound.to_bits());
            counters[1].set(loss.inbound.to_bits());
        }
        for (counter, variation) in self.variation.iter().zip(figures.variation) {
            counter.set_duration(variation);
        }
    }

    fn loss(&self) -> [Ratios; 3] {
        self.loss.each_ref().map(|[outbound, inbound]| Ratios {
            outbound: f64::from_bits(outbound.get()),
            inbound: f64::from_bits(inbound.get()),
        })
    }

    /// When the last answer came.
    pub(super) fn proven(&self, start: Instant) -> Option<Instant> {
        self.proven.duration().map(|proven| start + proven)
    }

    /// `since_start`: when the answer came, from the lane's beginning.
    pub(super) fn handle_round_trip(&self, rtt: Duration, trips: &RoundTrips, since_start: Duration) {
        self.proven.set_duration(Some(since_start));
        self.histogram[RttHistogram::bucket(rtt)].add(1);
        self.rtt_sum_us.add(rtt.as_micros() as u64);
        self.set_round_trips(trips);
    }

    pub(super) fn set_round_trips(&self, trips: &RoundTrips) {
        let figures = [trips.smoothed, trips.last, trips.min, trips.jitter];
        for (counter, figure) in self.rtt.iter().zip(figures) {
            counter.set_duration(figure);
        }
    }

    fn snapshot(&self, since_start: Duration) -> PeerStats {
        let (path, cause) = self.state();
        let [loss, loss_1m, loss_5m] = self.loss();
        PeerStats {
            state: path.into(),
            path,
            cause,
            via: *self.via.lock().unwrap_or_else(PoisonError::into_inner),
            endpoint: *self.endpoint.lock().unwrap_or_else(PoisonError::into_inner),
            last_handshake: self
                .established
                .duration()
                .map(|at| since_start.saturating_sub(at)),
            tx_bytes: self.tx_bytes.get(),
            rx_bytes: self.rx_bytes.get(),
            tx_packets: self.tx_packets.get(),
            rx_packets: self.rx_packets.get(),
            rtt: self.rtt[0].duration(),
            rtt_last: self.rtt[1].duration(),
            rtt_min: self.rtt[2].duration(),
            jitter: self.rtt[3].duration(),
            rtt_histogram: RttHistogram {
                counts: std::array::from_fn(|i| self.histogram[i].get()),
                sum_us: self.rtt_sum_us.get(),
            },
            loss_out: loss.outbound,
            loss_in: loss.inbound,
            loss_1m,
            loss_5m,
            variation_out: self.variation[0].duration(),
            variation_in: self.variation[1].duration(),
            probes_sent: self.probes_sent.get(),
            probes_lost: self.probes_lost.get(),
            mtu: self.mtu.get() as u16,
        }
    }
}

/// All that one lane counts.
#[derive(Debug)]
#[repr(align(128))]
pub struct LaneCounters {
    /// Dropped packets.
    pub drops: DropCounters,
    /// The offloads of this lane's TUN queue.
    pub(crate) offloads: OffloadBoard,
    pub(super) handshakes_started: Counter,
    pub(super) handshakes_completed: Counter,
    pub(super) pending_bytes: Counter,
    pub(super) tx_bytes: Counter,
    pub(super) rx_bytes: Counter,
    pub(super) tx_packets: Counter,
    pub(super) rx_packets: Counter,
    pub(super) handed_off: Counter,
    pub(super) relayed_bytes: Counter,
    pub(super) relayed_packets: Counter,
    pub(super) relay_sessions: Counter,
    pub(super) control_messages: Counter,
    pub(super) start: Instant,
    pub(super) peers: ArcSwap<BTreeMap<PeerId, Arc<PeerCounters>>>,
    pub(super) checks: ArcSwap<Verdicts>,
}

impl LaneCounters {
    /// Counters of a lane that begins at `start`.
    pub fn new(start: Instant) -> LaneCounters {
        LaneCounters {
            drops: DropCounters::default(),
            offloads: OffloadBoard::new(Offloads::ALL.without(Offload::Gso).without(Offload::Gro)),
            handshakes_started: Counter::default(),
            handshakes_completed: Counter::default(),
            pending_bytes: Counter::default(),
            tx_bytes: Counter::default(),
            rx_bytes: Counter::default(),
            tx_packets: Counter::default(),
            rx_packets: Counter::default(),
            handed_off: Counter::default(),
            relayed_bytes: Counter::default(),
            relayed_packets: Counter::default(),
            relay_sessions: Counter::default(),
            control_messages: Counter::default(),
            start,
            peers: ArcSwap::default(),
            checks: ArcSwap::default(),
        }
    }

    /// Adds what this lane counted to `stats`. Numbers add up over lanes; the path figures of a peer are lane 0's, which
    /// is the one that probes: call it first.
    pub fn add_to(&self, stats: &mut Stats, now: Instant) {
        self.drops.add_to(&mut stats.drops);
        self.offloads.add_to(&mut stats.offloads);
        stats.handshakes_started += self.handshakes_started.get();
        stats.handshakes_completed += self.handshakes_completed.get();
        stats.pending_bytes += self.pending_bytes.get();
        stats.relayed_bytes += self.relayed_bytes.get();
        stats.relayed_packets += self.relayed_packets.get();
        stats.relay_sessions += self.relay_sessions.get();
        stats.control_messages += self.control_messages.get();
        let since_start = now.saturating_duration_since(self.start);
        for (id, counters) in self.peers.load().iter() {
            let more = counters.snapshot(since_start);
            match stats.peers.get_mut(id) {
                None => drop(stats.peers.insert(*id, more)),
                Some(sum) => {
                    sum.tx_bytes += more.tx_bytes;
                    sum.rx_bytes += more.rx_bytes;
                    sum.tx_packets += more.tx_packets;
                    sum.rx_packets += more.rx_packets;
                }
            }
        }
    }

    /// How the path to each peer is; of lane 0, which is the one that probes.
    pub fn health(&self) -> BTreeMap<PeerId, PeerHealth> {
        let peers = self.peers.load();
        peers
            .iter()
            .map(|(id, counters)| (*id, counters.health(self.start)))
            .collect()
    }

    /// Whether what lies behind peers answers; of lane 0, which is the one that asks.
    pub fn checks(&self) -> Arc<Verdicts> {
        self.checks.load_full()
    }

    /// The figures of lane `lane`, which listens on `port`.
    pub fn lane(&self, lane: u8, port: u16) -> LaneStats {
        LaneStats {
            lane,
            port,
            tx_bytes: self.tx_bytes.get(),
            rx_bytes: self.rx_bytes.get(),
            tx_packets: self.tx_packets.get(),
            rx_packets: self.rx_packets.get(),
            handed_off: self.handed_off.get(),
        }
    }

    /// What this lane alone counted.
    pub fn snapshot(&self, now: Instant) -> Stats {
        let mut stats = Stats::default();
        self.add_to(&mut stats, now);
        stats
    }
}
