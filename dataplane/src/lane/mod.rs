//! A lane: one thread that owns one TUN queue, the sockets' reading side and one engine.
//!
//! ```text
//!        ┌─────────── wait: TUN, sockets, commands, or the engine's next timer ◄────────────┐
//!        ▼                                                                                  │
//!   new table, commands ─► sockets ─► engine ─► TUN ─► engine ─► timers ─► flush ─► events ─┘
//! ```
//!
//! Nothing is locked on the packet path: tables come as snapshots between two batches, commands over
//! a bounded queue, and events leave over another; [`link`] ties the lanes of a node together. This file and [`io`] are
//! the shell; the engine is pure.

mod checks;
pub(crate) mod command;
mod control;
pub mod counters;
pub mod engine;
mod extra;
pub mod handoff;
mod handshakes;
mod inbound;
mod inbox;
mod io;
pub(crate) mod link;
mod liveness;
mod local;
mod mtu;
mod outbound;
mod path;
mod peer;
mod pings;
mod reconcile;
mod relayed;
mod relays;
mod report;
mod runs;
mod timers;
mod tunnels;
mod write;

use std::io::Result;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::mpsc;

use crate::event::DataplaneEvent;
use crate::table::CompiledTable;
use command::Command;
use engine::LaneEngine;
pub(crate) use io::{LaneIo, MAX_SOCKETS};
use link::Link;
use pings::Pings;

/// How often what a socket refused is tried again.
const RESTORE: Duration = Duration::from_secs(60);

/// What a lane is made of.
pub(crate) struct Lane {
    pub(crate) index: u8,
    pub(crate) engine: LaneEngine,
    pub(crate) io: LaneIo,
    pub(crate) tables: Arc<ArcSwap<CompiledTable>>,
    pub(crate) commands: Receiver<Command>,
    pub(crate) events: mpsc::Sender<DataplaneEvent>,
    pub(crate) link: Link,
    pub(crate) table: Arc<CompiledTable>,
    pub(crate) pings: Pings,
}

impl Lane {
    /// Turns until it is told to stop. An error is one of the lane's own descriptors: it cannot go on.
    pub(crate) fn run(mut self) -> Result<()> {
        let mut restored = clock();
        loop {
            let now = clock();
            let ready = self.io.wait(self.patience(now))?;
            let now = clock();
            self.engine.handle_wake(now);
            self.take_table(now);
            if ready.command {
                if self.handle_commands(now)?.is_break() {
                    return Ok(());
                }
                let (send, write) = self.io.batches();
                self.link.take(&mut self.engine, now, send, write);
            }
            for socket in ready.sockets() {
                self.io.receive(socket, &self.table, &mut self.engine, now);
            }
            let answered = self.io.deliver();
            if (ready.tun || answered) && self.io.read_tun(&mut self.engine, now).is_err() {
                self.io.detach();
                self.tell_tun_gone();
            }
            if self.engine.poll_timeout().is_some_and(|(due, _)| due <= now) {
                self.engine.handle_timeout(now, &mut self.io.send);
            }
            if now.saturating_duration_since(restored) >= RESTORE {
                self.io.restore_offload();
                restored = now;
            }
            self.link.hand_over(&mut self.engine, &self.io.counters.drops);
            self.io.flush();
            self.report();
        }
    }

    /// How long there is nothing to do unless something becomes readable.
    fn patience(&self, now: Instant) -> Option<Duration> {
        self.engine
            .poll_timeout()
            .map(|(due, _)| due.saturating_duration_since(now))
    }

    fn handle_commands(&mut self, now: Instant) -> Result<ControlFlow<()>> {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::AttachTun(queue) => self.io.attach(queue)?,
                Command::DetachTun(done) => {
                    self.io.detach();
                    drop(done);
                }
                Command::Listen(underlay, done) => {
                    self.io.listen(underlay)?;
                    drop(done);
                }
                Command::Ping(peer, reply) => self.pings.ask(&mut self.engine, peer, reply, now),
                Command::LocalChange(lost) => self.engine.handle_local_change(&lost, now),
                Command::Echo(reply) => drop(reply.send(())),
                Command::Shutdown => return Ok(ControlFlow::Break(())),
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn take_table(&mut self, now: Instant) {
        let newest = self.tables.load();
        if !Arc::ptr_eq(&newest, &self.table) {
            self.table = Arc::clone(&newest);
            self.engine.handle_table(Arc::clone(&newest), now);
        }
    }
}

fn clock() -> Instant {
    #[expect(
        clippy::disallowed_methods,
        reason = "the loop is where time enters the engine"
    )]
    Instant::now()
}
