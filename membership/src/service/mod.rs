//! Membership: one actor that owns all decisions, and the handle to it.
//!
//! ```text
//!   handle ── commands, announcement ──►┌───────┐──► view (watch), events (broadcast), figures
//!   QUIC ──── messages, requests ──────►│ actor │──► messages
//!   gossip ── signed values found ─────►└───────┘──► gossip values
//!                                        owns Directory, OwnRecord, Introducer, Renewal, Ledger
//! ```
//!
//! Everything comes in over bounded channels and is decided in one task, so nothing is locked and the
//! order of events is the order of decisions. After each batch of events the actor *settles*: it
//! publishes what is due, passes news on, and replaces what others hold copies of.

mod actor;
mod admit;
mod grants;
mod keeper;
mod loaded;
mod network;
mod settle;
pub(crate) mod start;

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use meshnode_crypto::{NodeId, RevocationTarget, Token};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::api::{
    Announcement, GrantFailure, GrantOutcome, GrantRequest, InviteError, InviteRequest, MembershipConfig,
    MembershipEvent, MembershipStats, RevokeError, StartError,
};
use crate::ports::{Store, WallClock};
use crate::quic::endpoint::QuicEndpoint;
use crate::simulation::SimNetwork;
use crate::view::View;

/// Commands that wait for the actor.
const COMMANDS: usize = 64;
/// Confirmed endpoints that wait for the actor; each is only a hint.
const CONFIRMATIONS: usize = 256;
/// Events that a slow subscriber may fall behind.
const EVENTS: usize = 256;

enum Command {
    Invite(InviteRequest, oneshot::Sender<Result<Token, InviteError>>),
    Grant(GrantRequest, oneshot::Sender<Result<GrantOutcome, GrantFailure>>),
    Revoke(RevocationTarget, bool, oneshot::Sender<Result<(), RevokeError>>),
    Tell(Box<Announcement>, oneshot::Sender<()>),
    Withdraw(oneshot::Sender<()>),
    Depart(oneshot::Sender<()>),
    Shutdown,
}

/// A running member. Dropping it stops membership without a word to the others.
pub struct Membership {
    commands: mpsc::Sender<Command>,
    confirmations: mpsc::Sender<(NodeId, SocketAddr)>,
    announcement: watch::Sender<Option<Announcement>>,
    view: watch::Receiver<Arc<View>>,
    events: broadcast::Sender<MembershipEvent>,
    stats: Arc<ArcSwap<MembershipStats>>,
    actor: JoinHandle<()>,
}

impl Membership {
    /// Starts membership over QUIC: loads what is stored, counts this start, looks for the others.
    pub async fn start(
        config: MembershipConfig,
        endpoint: QuicEndpoint,
        store: Arc<dyn Store>,
        clock: Arc<dyn WallClock>,
    ) -> Result<Membership, StartError> {
        start::over_quic(config, endpoint, store, clock).await
    }

    /// Starts membership in a simulated network: the same decisions and, if `network` says so, the same
    /// gossip, without sockets.
    pub async fn start_in(
        network: &SimNetwork,
        config: MembershipConfig,
        store: Arc<dyn Store>,
        clock: Arc<dyn WallClock>,
    ) -> Result<Membership, StartError> {
        start::in_simulation(network, config, store, clock).await
    }

    /// The mesh as it is known here; changes are coalesced over some milliseconds.
    pub fn view(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }

    /// What to announce from now on. Saying the same again changes nothing.
    pub fn announce(&self, announcement: Announcement) {
        self.announcement.send_if_modified(|current| {
            let changed = current.as_ref() != Some(&announcement);
            *current = Some(announcement);
            changed
        });
    }

    /// Like [`Membership::announce`]; resolves when all connected members know, or cannot be told.
    pub async fn tell(&self, announcement: Announcement) {
        self.announcement.send_replace(Some(announcement.clone()));
        self.ask(|answer| Command::Tell(Box::new(announcement), answer))
            .await;
    }

    /// The data plane proved that `node` answers at `endpoint`: dial there first.
    pub fn confirm_endpoint(&self, node: NodeId, endpoint: SocketAddr) {
        // Only a hint, and it will be given again.
        let _ = self.confirmations.try_send((node, endpoint));
    }

    /// Makes a token.
    pub async fn invite(&self, request: InviteRequest) -> Result<Token, InviteError> {
        self.ask(|answer| Command::Invite(request, answer))
            .await
            .unwrap_or(Err(InviteError::Stopped))
    }

    /// Replaces a node's grant.
    pub async fn grant(&self, request: GrantRequest) -> Result<GrantOutcome, GrantFailure> {
        self.ask(|answer| Command::Grant(request, answer))
            .await
            .unwrap_or(Err(GrantFailure::Stopped))
    }

    /// Puts a node or token out, with `descendants` also all that came in through it.
    pub async fn revoke(&self, target: RevocationTarget, descendants: bool) -> Result<(), RevokeError> {
        let asked = self
            .ask(|answer| Command::Revoke(target, descendants, answer))
            .await;
        asked.unwrap_or(Err(RevokeError::Stopped))
    }

    /// Announces no prefixes any more; resolves when all connected members know, or cannot be told.
    pub async fn withdraw(&self) {
        self.ask(Command::Withdraw).await;
    }

    /// Says that this node leaves for good; resolves when all connected members know, or cannot be told.
    pub async fn depart(&self) {
        self.ask(Command::Depart).await;
    }

    /// Figures, at most a second old.
    pub fn stats(&self) -> MembershipStats {
        MembershipStats::clone(&self.stats.load())
    }

    /// What happens from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<MembershipEvent> {
        self.events.subscribe()
    }

    /// Whether the actor still runs: a membership that is dead is not to be mistaken for a quiet one.
    pub fn is_running(&self) -> bool {
        !self.actor.is_finished()
    }

    /// Saves, closes all connections, ends.
    pub async fn shutdown(&self) {
        // Either way it is over when the actor no longer listens.
        let _ = self.commands.send(Command::Shutdown).await;
        self.commands.closed().await;
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(command(answer)).await.ok()?;
        answered.await.ok()
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.actor.abort();
    }
}
