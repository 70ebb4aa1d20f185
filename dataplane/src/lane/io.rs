//! A lane's descriptors: one epoll over the TUN queue, the sockets and the command eventfd.
//!
//! It moves bytes between them and the engine in batches. Budgets bound each turn, so that neither
//! direction starves the other nor the timers; what is left over is still readable, and epoll is
//! level-triggered.

use std::io;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn_udp::Transmit;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;

use super::command::Waker;
use super::counters::LaneCounters;
use super::engine::LaneEngine;
use super::write::TunWriter;
use crate::batch::{Datagram, SendBatch, WriteBatch};
use crate::demux::{Class, classify};
use crate::drop::DropReason;
use crate::interface::TunQueue;
use crate::offload::Frame;
use crate::offload::switch::{Offload, Offloads};
use crate::stats::Stats;
use crate::sys::VNET_HEADER;
use crate::table::CompiledTable;
use crate::underlay::{PortFeeder, ReceiveBatch, Received, Underlay, WhenFull};

/// Most bytes read from the TUN in one turn: four super-packets.
const TUN_BUDGET: usize = 4 * 65_536;

/// The largest frame: vnet header and IP packet. Bytes.
const MAX_FRAME: usize = VNET_HEADER + 65_535;

/// Sealed bytes after which a batch leaves without waiting for the end of the turn.
const FLUSH_AT: usize = 65_536;

const WAKE: u64 = 0;
const TUN: u64 = 1;
const FIRST_SOCKET: u64 = 2;

/// Most sockets of one lane: their readiness is a bit set.
pub(crate) const MAX_SOCKETS: usize = 62;

/// What is ready.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Ready {
    pub(crate) command: bool,
    pub(crate) tun: bool,
    sockets: u64,
}

impl Ready {
    /// Indices of the sockets with something to read.
    pub(crate) fn sockets(self) -> impl Iterator<Item = usize> {
        (0..MAX_SOCKETS).filter(move |socket| self.sockets & (1 << socket) != 0)
    }
}

/// The TUN interface is gone.
#[derive(Debug)]
pub(crate) struct TunGone;

/// Everything a lane reads and writes.
pub(crate) struct LaneIo {
    epoll: OwnedFd,
    waker: Arc<Waker>,
    underlay: Arc<Underlay>,
    /// QUIC's queues: lane 0 has them, other lanes' ports carry no QUIC.
    feeder: Option<PortFeeder>,
    tun: Option<TunQueue>,
    frame: Vec<u8>,
    receive: ReceiveBatch,
    pub(crate) send: SendBatch,
    write: TunWriter,
    /// Whether the last turn read more than one frame from the TUN.
    burst: bool,
    pub(crate) counters: Arc<LaneCounters>,
}

impl LaneIo {
    pub(crate) fn new(
        underlay: Arc<Underlay>,
        feeder: Option<PortFeeder>,
        waker: Arc<Waker>,
        counters: Arc<LaneCounters>,
        offloads: Offloads,
    ) -> io::Result<LaneIo> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        watch(&epoll, &*waker, WAKE)?;
        watch_sockets(&epoll, &underlay)?;
        Ok(LaneIo {
            epoll,
            waker,
            underlay,
            feeder,
            tun: None,
            frame: vec![0; MAX_FRAME],
            receive: ReceiveBatch::new(),
            send: SendBatch::with_capacity(2 * FLUSH_AT),
            write: TunWriter::new(2 * FLUSH_AT, offloads),
            burst: false,
            counters,
        })
    }

    /// What the engine fills.
    pub(crate) fn batches(&mut self) -> (&mut SendBatch, &mut WriteBatch) {
        (&mut self.send, &mut self.write.batch)
    }

    /// Waits until something is ready, or for `timeout`.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<Ready> {
        let timeout = timeout
            .map(Timespec::try_from)
            .transpose()
            .map_err(io::Error::other)?;
        let mut space = [const { MaybeUninit::uninit() }; FIRST_SOCKET as usize + MAX_SOCKETS];
        let events = match epoll::wait(&self.epoll, &mut space, timeout.as_ref()) {
            Ok((events, _)) => &*events,
            Err(Errno::INTR) => &[],
            Err(error) => return Err(error.into()),
        };
        let mut ready = Ready::default();
        for event in events {
            match event.data.u64() {
                WAKE => ready.command = true,
                TUN => ready.tun = true,
                socket => ready.sockets |= 1 << (socket - FIRST_SOCKET),
            }
        }
        if ready.command {
            self.waker.reset();
        }
        Ok(ready)
    }

    /// Takes other sockets in place of those before.
    pub(crate) fn listen(&mut self, underlay: Arc<Underlay>) -> io::Result<()> {
        for socket in self.underlay.sockets() {
            epoll::delete(&self.epoll, socket)?;
        }
        watch_sockets(&self.epoll, &underlay)?;
        self.underlay = underlay;
        Ok(())
    }

    /// Takes a TUN queue in place of the one before.
    pub(crate) fn attach(&mut self, queue: TunQueue) -> io::Result<()> {
        self.detach();
        watch(&self.epoll, &queue, TUN)?;
        for offload in [Offload::Tso, Offload::Uso] {
            let active = queue.offloads.contains(offload);
            self.counters.offloads.set_active(offload, active);
        }
        self.write.restore(&self.counters);
        self.tun = Some(queue);
        let mut stats = Stats::default();
        self.counters.offloads.add_to(&mut stats.offloads);
        self.underlay.add_to(&mut stats);
        tracing::info!(active = %stats.offloads.active, "offloads of a lane");
        Ok(())
    }

    /// Closes the TUN queue, if there is one.
    pub(crate) fn detach(&mut self) {
        // Not left to close(): `tun` holds a duplicate, which would keep epoll reporting.
        if let Some(queue) = self.tun.take()
            && let Err(error) = epoll::delete(&self.epoll, &queue)
        {
            tracing::debug!(%error, "the TUN queue was not watched");
        }
    }

    /// Reads packets from the TUN and has them sealed.
    ///
    /// In a burst, packets gather until there are enough for one large send. A lone packet leaves before we
    /// ask for the next: that question costs as much as its sealing.
    pub(crate) fn read_tun(&mut self, engine: &mut LaneEngine, now: Instant) -> Result<(), TunGone> {
        let mut budget = TUN_BUDGET;
        let mut frames = 0;
        while let Some(queue) = &self.tun {
            let length = match queue.read(&mut self.frame) {
                Ok(length) => length,
                // EAGAIN: nothing left. EIO: the interface is set down.
                Err(Errno::AGAIN | Errno::IO) => break,
                Err(_) => return Err(TunGone),
            };
            match Frame::read(&mut self.frame[..length]) {
                Ok(frame) => engine.handle_outbound(frame, now, &mut self.send, &mut self.write.batch),
                Err(reason) => self.counters.drops.count(reason),
            }
            frames += 1;
            if self.send.bytes() >= FLUSH_AT || (frames == 1 && !self.burst) {
                self.flush_send();
            }
            budget = budget.saturating_sub(length);
            if budget == 0 {
                break;
            }
        }
        self.burst = frames > 1;
        Ok(())
    }

    /// Receives one batch from a socket: tunnels' datagrams to the engine, QUIC's to the port.
    pub(crate) fn receive(
        &mut self,
        socket: usize,
        table: &CompiledTable,
        engine: &mut LaneEngine,
        now: Instant,
    ) {
        let Some(socket) = self.underlay.sockets().get(socket) else {
            return;
        };
        let filled = match socket.receive(&mut self.receive) {
            Ok(filled) => filled,
            // Nothing there, or the report of an ICMP error: the queue of those is what is readable.
            Err(_) => return socket.drain_errors(),
        };
        for datagram in self.receive.datagrams(filled) {
            match classify(datagram.payload) {
                Class::WireGuard(_) | Class::Relay => {
                    let Received {
                        source,
                        local,
                        payload,
                        ..
                    } = datagram;
                    engine.handle_inbound(
                        Datagram {
                            source,
                            local,
                            payload,
                        },
                        now,
                        &mut self.write.batch,
                        &mut self.send,
                    );
                }
                Class::Quic if let Some(feeder) = &mut self.feeder => {
                    feeder.feed(&datagram, table.is_member_address(datagram.source.ip()), now);
                }
                Class::Quic | Class::Garbage => self.counters.drops.count(DropReason::Garbage),
            }
            // What was just opened is still in the cache.
            if self.write.batch.bytes() >= FLUSH_AT {
                self.write.flush(self.tun.as_ref(), &self.counters);
            }
        }
    }

    /// Tries again, now and then, what a descriptor once refused.
    pub(crate) fn restore_offload(&mut self) {
        if self.tun.is_some() {
            self.write.restore(&self.counters);
        }
        for socket in self.underlay.sockets() {
            if let Err(error) = socket.restore_offload() {
                tracing::debug!(%error, "segmentation offload stays off");
            }
        }
    }

    /// Writes what was received to the TUN; whether that was anything. The kernel delivers it before this
    /// returns, so that an answer of this host may stand in the queue by then.
    pub(crate) fn deliver(&mut self) -> bool {
        let any = !self.write.batch.is_empty();
        self.write.flush(self.tun.as_ref(), &self.counters);
        any
    }

    /// Sends and writes what the engine left in the batches.
    pub(crate) fn flush(&mut self) {
        self.deliver();
        self.flush_send();
    }

    fn flush_send(&mut self) {
        for run in self.send.runs() {
            self.underlay.allow_fragments(&run.to, run.fragment);
            let transmit = Transmit {
                destination: run.to.remote,
                ecn: None,
                contents: run.bytes,
                segment_size: (run.count() > 1).then_some(run.segment_size),
                src_ip: run.to.local,
            };
            let lost = self.underlay.send(&transmit, WhenFull::Wait);
            (0..lost).for_each(|_| self.counters.drops.count(DropReason::UdpSendFailed));
        }
        self.send.clear();
    }
}

fn watch_sockets(epoll: &OwnedFd, underlay: &Underlay) -> io::Result<()> {
    (FIRST_SOCKET..)
        .zip(underlay.sockets())
        .try_for_each(|(token, socket)| watch(epoll, socket, token))
}

fn watch(epoll: &OwnedFd, source: impl rustix::fd::AsFd, token: u64) -> io::Result<()> {
    Ok(epoll::add(
        epoll,
        source,
        epoll::EventData::new_u64(token),
        epoll::EventFlags::IN,
    )?)
}
