//! The actor: its state, its loop, its clock.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use meshnode_crypto::{GrantChain, MeshId, NodeId, Serial, SigningKey, VerifiedChain};
use rand::RngExt;
use rand_chacha::ChaCha20Rng;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::Command;
use super::keeper::{Counter, IssuedToken, Keeper};
use crate::admission::decide::Admitter;
use crate::admission::ledger::Ledger;
use crate::api::{Announcement, MembershipEvent, MembershipStats, Now, Timing};
use crate::carrier::{Carrier, CarrierEvent};
use crate::directory::Directory;
use crate::gossip::dissemination::{Dissemination, GossipEvent};
use crate::introducer::Introducer;
use crate::observed::ObservedEndpoints;
use crate::own::OwnRecord;
use crate::ports::WallClock;
use crate::renewal::Renewal;
use crate::view::View;

/// How often everything that depends on time is looked at: the wall clock may jump.
const TICK: Duration = Duration::from_millis(500);
/// Events taken in one go before settling.
const BATCH: usize = 64;
/// Work under way for others; more is refused.
pub(super) const MAX_JOBS: usize = 64;

/// Where mesh addresses lead, for gossip's outbox.
pub(super) type Routes = Arc<ArcSwap<BTreeMap<Ipv6Addr, NodeId>>>;

/// What comes in.
pub(super) struct Inputs {
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) confirmations: mpsc::Receiver<(NodeId, SocketAddr)>,
    pub(super) announcement: watch::Receiver<Option<Announcement>>,
    pub(super) carrier: mpsc::Receiver<CarrierEvent>,
    pub(super) gossip: mpsc::Receiver<GossipEvent>,
}

/// What goes out.
pub(super) struct Outputs {
    pub(super) carrier: Arc<dyn Carrier>,
    pub(super) gossip: Arc<dyn Dissemination>,
    pub(super) routes: Routes,
    pub(super) view: watch::Sender<Arc<View>>,
    pub(super) events: broadcast::Sender<MembershipEvent>,
    pub(super) stats: Arc<ArcSwap<MembershipStats>>,
}

/// Who we are.
pub(super) struct Identity {
    pub(super) mesh: MeshId,
    pub(super) node: NodeId,
    pub(super) key: SigningKey,
    pub(super) authority: Option<SigningKey>,
    pub(super) seeds: Vec<SocketAddr>,
    pub(super) timing: Timing,
}

/// A node that showed a good chain and whose record is not here yet.
pub(super) struct Vouched {
    pub(super) chain: VerifiedChain,
    pub(super) since: Instant,
}

pub(super) struct Actor {
    pub(super) identity: Identity,
    pub(super) out: Outputs,
    pub(super) clock: Arc<dyn WallClock>,
    pub(super) rng: ChaCha20Rng,
    pub(super) keeper: Keeper,
    pub(super) directory: Directory,
    pub(super) own: OwnRecord,
    pub(super) observed: ObservedEndpoints,
    pub(super) introducer: Introducer<ChaCha20Rng>,
    pub(super) renewal: Renewal,
    pub(super) ledger: Ledger,
    pub(super) tokens: Vec<IssuedToken>,
    pub(super) counter: Counter,
    pub(super) vouched: BTreeMap<NodeId, Vouched>,
    pub(super) good: BTreeMap<NodeId, Vec<SocketAddr>>,
    pub(super) offered: BTreeMap<NodeId, GrantChain>,
    pub(super) goodbyes: Vec<oneshot::Sender<()>>,
    pub(super) jobs: JoinSet<Done>,
    pub(super) renewing: bool,
    pub(super) settling: super::settle::Settling,
}

/// Work of ours that ended.
pub(super) enum Done {
    /// Nothing is to be done about it.
    Nothing,
    /// A renewal round: the chain that we got, if any.
    Renewed(Option<Vec<u8>>),
    /// Whether a node took the grant made for it.
    Delivered(NodeId, bool),
}

impl Actor {
    pub(super) async fn run(mut self, mut inputs: Inputs) {
        let mut tick = ticker();
        // A node that was just admitted must find the mesh again, whatever happens next.
        self.save_peers().await;
        self.settle().await;
        loop {
            let copies = due(self.copies_due());
            let going_on = tokio::select! {
                command = inputs.commands.recv() => self.handle_command(command).await,
                Some(event) = inputs.carrier.recv() => self.handle_carrier_events(event, &mut inputs.carrier).await,
                Some(event) = inputs.gossip.recv() => self.handle_gossip(event),
                Some((node, endpoint)) = inputs.confirmations.recv() => self.confirm(node, endpoint),
                Ok(()) = inputs.announcement.changed() => {
                    self.announced(inputs.announcement.borrow_and_update().clone())
                }
                Some(done) = self.jobs.join_next() => self.handle_done(done.unwrap_or(Done::Nothing)).await,
                () = copies => true,
                _ = tick.tick() => self.handle_tick().await,
            };
            self.settle().await;
            if !going_on {
                break;
            }
        }
        self.save_peers().await;
        self.out.carrier.close().await;
    }

    pub(super) fn now(&self) -> Now {
        Now {
            wall: self.clock.now(),
            monotonic: monotonic(),
        }
    }

    pub(super) fn serial(&mut self) -> Serial {
        Serial(self.rng.random())
    }

    pub(super) fn admitter(&self) -> Admitter<'_> {
        Admitter {
            chain: self.own.chain().1,
            directory: &self.directory,
            ledger: &self.ledger,
        }
    }

    pub(super) fn say(&self, event: MembershipEvent) {
        // Nobody need be listening.
        let _ = self.out.events.send(event);
    }

    async fn handle_command(&mut self, command: Option<Command>) -> bool {
        // An answer that nobody waits for any more is no loss.
        match command {
            None | Some(Command::Shutdown) => return false,
            Some(Command::Invite(request, answer)) => drop(answer.send(self.invite(request).await)),
            Some(Command::Grant(request, answer)) => self.grant(request, answer),
            Some(Command::Revoke(target, descendants, answer)) => {
                drop(answer.send(self.revoke(target, descendants).await));
            }
            Some(Command::Tell(announcement, answer)) => {
                self.announced(Some(*announcement));
                self.say_goodbye(answer);
            }
            Some(Command::Withdraw(answer)) => {
                self.own.withdraw();
                self.say_goodbye(answer);
            }
            Some(Command::Depart(answer)) => {
                self.own.depart();
                self.say_goodbye(answer);
            }
        }
        true
    }

    async fn handle_carrier_events(
        &mut self,
        first: CarrierEvent,
        more: &mut mpsc::Receiver<CarrierEvent>,
    ) -> bool {
        self.handle_carrier(first).await;
        for _ in 1..BATCH {
            match more.try_recv() {
                Ok(event) => self.handle_carrier(event).await,
                Err(_) => break,
            }
        }
        true
    }

    fn confirm(&mut self, node: NodeId, endpoint: SocketAddr) -> bool {
        self.found_good(node, endpoint);
        true
    }

    fn announced(&mut self, announcement: Option<Announcement>) -> bool {
        if let Some(announcement) = announcement {
            self.own.announce(announcement);
            for outside in self.own.outside_grant() {
                tracing::warn!(prefix = %outside.prefix, "not announced: this node's grant does not allow it");
            }
        }
        true
    }

    async fn handle_tick(&mut self) -> bool {
        let now = self.now();
        self.directory.handle_timeout(now);
        self.observed.handle_timeout(now.monotonic);
        self.own.observe(self.observed.endpoints());
        self.introduce(now);
        self.look_for_seeds(now);
        self.renew(now).await;
        self.forget_stale(now);
        self.update_stats();
        true
    }

    fn introduce(&mut self, now: Now) {
        if now.monotonic < self.introducer.poll_timeout() {
            return;
        }
        let known: BTreeSet<Ipv6Addr> = self
            .directory
            .members()
            .map(|record| record.mesh_address)
            .collect();
        let live = self.out.gossip.live();
        if let Some(member) = self.introducer.handle_timeout(&known, &live, now.monotonic) {
            self.out.gossip.introduce(member);
        }
    }
}

/// Monotonic time, which simulations move by hand.
pub(super) fn monotonic() -> Instant {
    tokio::time::Instant::now().into_std()
}

async fn due(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

fn ticker() -> Interval {
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick
}
