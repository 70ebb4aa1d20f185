//! One UDP socket of the underlay: marked, with large buffers, sending and receiving in batches.
//!
//! Lanes and the QUIC side share it, so everything takes `&self`. A socket serves many peers, hence
//! an error that the kernel reports may belong to a packet of somebody else (an ICMP answer to an
//! earlier one): such a send is tried once more after the error queue is drained.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwap;
use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::batch::normalise;
use crate::error::StartError;
use crate::holder;
use crate::offload::switch::{Offload, OffloadBoard, Offloads};
use crate::sys;

/// Largest datagram, and the size of a receive buffer that holds what the kernel merges. Bytes.
const BUFFER: usize = 65_536;

/// Receive buffers of a lane. Each holds up to 64 datagrams that the kernel merged, so that more would cost memory and save
/// few calls.
const SLOTS: usize = 8;

/// Buffers offered to the kernel while little comes in: preparing all of them costs as much as a datagram.
const FEW: usize = 2;

/// Room for bursts while the lane does something else. Bytes.
const SOCKET_BUFFER: usize = 4 << 20;

/// How long a full send buffer may hold a lane up before the packet is dropped.
const SEND_PATIENCE: Duration = Duration::from_millis(2);

/// At most so many reports are read from the error queue at once; the rest wait for the next turn.
const ERROR_REPORTS: usize = 64;

/// What a sender does when the send buffer is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhenFull {
    /// Wait a little: what is behind us waits in the TUN meanwhile.
    Wait,
    /// Lose the datagram: we are on a thread that must not wait.
    Lose,
}

/// What becomes of a datagram that is larger than its path carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fragments {
    /// It is refused or lost (DF): whoever sends measures what paths carry.
    Forbidden,
    /// It is fragmented, here or on its way.
    Allowed,
}

/// A bound, marked UDP socket.
#[derive(Debug)]
pub(crate) struct Socket {
    io: UdpSocket,
    state: ArcSwap<UdpSocketState>,
    local: SocketAddr,
    fragments: Fragments,
    wanted: Offloads,
    /// Whether datagrams may be fragmented now.
    fragmenting: AtomicBool,
    pub(super) counters: SocketCounters,
}

/// What happened on a socket since it was bound.
#[derive(Debug)]
pub(crate) struct SocketCounters {
    pub(super) error_reports: AtomicU64,
    pub(super) offloads: OffloadBoard,
}

impl Socket {
    /// Binds `address` (IPv6 ones without IPv4), with `mark` on every packet unless it is 0, and those of
    /// the `wanted` offloads that the kernel has.
    pub(crate) fn bind(
        address: SocketAddr,
        mark: u32,
        fragments: Fragments,
        wanted: Offloads,
    ) -> Result<Socket, StartError> {
        let failed = |source: io::Error| bind_error(address, source);
        let socket = open(address).map_err(|errno| failed(errno.into()))?;
        if mark != 0 {
            sys::set_mark(&socket, mark).map_err(mark_error(address))?;
        }
        widen_buffers(&socket);
        rustix::net::bind(&socket, &address).map_err(|errno| failed(errno.into()))?;
        let io = UdpSocket::from(socket);
        let counters = SocketCounters {
            error_reports: AtomicU64::new(0),
            offloads: OffloadBoard::new(Offloads::NONE.with(Offload::Gso).with(Offload::Gro)),
        };
        let state = new_state(&io, fragments, wanted, &counters.offloads).map_err(failed)?;
        let local = io.local_addr().map_err(failed)?;
        Ok(Socket {
            io,
            state: ArcSwap::from_pointee(state),
            local,
            fragments,
            wanted,
            fragmenting: AtomicBool::new(fragments == Fragments::Allowed),
            counters,
        })
    }

    /// Changes the mark on every packet; 0 for none.
    pub(crate) fn set_mark(&self, mark: u32) -> Result<(), StartError> {
        sys::set_mark(&self.io, mark).map_err(mark_error(self.local))
    }

    /// The bound address, with the port that the kernel chose when none was asked for.
    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    /// How many equal segments one send may carry now: 1 when segmentation offload is off.
    pub(crate) fn max_segments(&self) -> usize {
        match self.counters.offloads.is_active(Offload::Gso) {
            true => self.state.load().max_gso_segments(),
            false => 1,
        }
    }

    /// Sends one datagram, or a run of equal segments; returns how many datagrams were lost.
    pub(crate) fn send(&self, transmit: &Transmit<'_>, when_full: WhenFull) -> u64 {
        match transmit.segment_size {
            Some(size) if self.max_segments() == 1 => self.send_singly(transmit, size, when_full),
            _ => match self.attempt(transmit) {
                Ok(()) => 0,
                Err(error) => self.recover(transmit, &error, when_full),
            },
        }
    }

    /// Fills `batch`; returns how many of its buffers hold something. `WouldBlock` when none do.
    pub(crate) fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<usize> {
        let slots = batch.slots;
        let mut buffers = batch.buffers.chunks_exact_mut(BUFFER);
        let mut slices: [IoSliceMut<'_>; SLOTS] =
            std::array::from_fn(|_| IoSliceMut::new(buffers.next().unwrap_or_default()));
        let filled = self
            .state
            .load()
            .recv((&self.io).into(), &mut slices[..slots], &mut batch.meta)?;
        batch.slots = if filled == slots { SLOTS } else { FEW };
        Ok(filled)
    }

    /// Reads what ICMP said about earlier packets. It can be forged: it is counted, nothing else.
    pub(crate) fn drain_errors(&self) {
        let state = self.state.load();
        for _ in 0..ERROR_REPORTS {
            match state.recv_transport_error((&self.io).into()) {
                Ok(Some(_)) => self.counters.error_reports.fetch_add(1, Relaxed),
                Ok(None) | Err(_) => return,
            };
        }
    }

    /// Lets datagrams be fragmented from now on, or forbids it, as it is at first. Senders on other threads share that:
    /// theirs fit anyway.
    pub(crate) fn allow_fragments(&self, allow: bool) {
        if self.fragments == Fragments::Allowed || self.fragmenting.load(Relaxed) == allow {
            return;
        }
        match sys::allow_fragments(&self.io, self.local.is_ipv4(), allow) {
            Ok(()) => self.fragmenting.store(allow, Relaxed),
            Err(error) => tracing::debug!(%error, allow, "the kernel keeps fragmentation as it was"),
        }
    }

    /// Gives segmentation offload another chance after it was refused.
    pub(crate) fn restore_offload(&self) -> io::Result<()> {
        if self.wanted.contains(Offload::Gso) && self.max_segments() == 1 {
            let state = new_state(&self.io, self.fragments, self.wanted, &self.counters.offloads)?;
            self.state.store(state.into());
            // A new state begins as a new socket does.
            let fragmenting = self.fragments == Fragments::Allowed;
            self.fragmenting.store(fragmenting, Relaxed);
        }
        Ok(())
    }

    fn attempt(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.state.load().try_send((&self.io).into(), transmit)
    }

    /// A send failed: finds out whose fault it is, and sends what can be sent.
    fn recover(&self, transmit: &Transmit<'_>, error: &io::Error, when_full: WhenFull) -> u64 {
        self.drain_errors();
        if Errno::from_io_error(error) == Some(Errno::AGAIN) {
            let waited = when_full == WhenFull::Wait && self.wait_writable().is_ok();
            if !waited {
                return segments(transmit);
            }
        }
        let Err(error) = self.attempt(transmit) else {
            return 0;
        };
        if transmit.src_ip.is_some() && self.resend_from_anywhere(transmit) {
            return 0;
        }
        match (Errno::from_io_error(&error), transmit.segment_size) {
            (Some(Errno::INVAL | Errno::IO | Errno::MSGSIZE), Some(size)) => {
                let lost = self.send_singly(transmit, size, when_full);
                let size_is_why = self.fragments == Fragments::Forbidden && self.fragmenting.load(Relaxed);
                if size_is_why || lost == segments(transmit) {
                    // It was their size: the kernel joins none that our own link does not take whole.
                    self.restore_or_say();
                } else {
                    self.note_refusal();
                }
                lost
            }
            _ => segments(transmit),
        }
    }

    /// The source address may have left this host: lets the kernel choose one.
    fn resend_from_anywhere(&self, transmit: &Transmit<'_>) -> bool {
        let sent = self
            .attempt(&Transmit {
                src_ip: None,
                ..transmit.clone()
            })
            .is_ok();
        // quinn-udp took the refusal for one of the offload and switched it off.
        if sent {
            self.restore_or_say();
        }
        sent
    }

    fn restore_or_say(&self) {
        if let Err(error) = self.restore_offload() {
            tracing::debug!(%error, "segmentation offload stays off");
        }
    }

    /// Segmentation offload is refused, and off in quinn-udp's state by now.
    fn note_refusal(&self) {
        self.counters.offloads.set_active(Offload::Gso, false);
        if self.counters.offloads.count_refusal(Offload::Gso) == 1 {
            tracing::info!(address = %self.local, "UDP segmentation offload is refused: sending singly for a while");
        }
    }

    fn send_singly(&self, transmit: &Transmit<'_>, size: usize, when_full: WhenFull) -> u64 {
        let lost = transmit.contents.chunks(size.max(1)).map(|segment| {
            let single = Transmit {
                contents: segment,
                segment_size: None,
                ..transmit.clone()
            };
            self.send(&single, when_full)
        });
        lost.sum()
    }

    fn wait_writable(&self) -> io::Result<()> {
        let patience = Timespec::try_from(SEND_PATIENCE).map_err(io::Error::other)?;
        poll(&mut [PollFd::new(&self.io, PollFlags::OUT)], Some(&patience))?;
        Ok(())
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.io.as_fd()
    }
}

/// The receive buffers of a lane, reused for every socket and turn.
#[derive(Debug)]
pub(crate) struct ReceiveBatch {
    buffers: Vec<u8>,
    meta: [RecvMeta; SLOTS],
    /// How many buffers the next call offers.
    slots: usize,
}

/// One datagram as it came off the wire.
#[derive(Debug)]
pub(crate) struct Received<'a> {
    pub(crate) source: SocketAddr,
    pub(crate) local: Option<IpAddr>,
    pub(crate) ecn: u8,
    pub(crate) payload: &'a mut [u8],
}

impl ReceiveBatch {
    pub(crate) fn new() -> ReceiveBatch {
        ReceiveBatch {
            buffers: vec![0; BUFFER * SLOTS],
            meta: [RecvMeta::default(); SLOTS],
            slots: FEW,
        }
    }

    /// The datagrams in the first `filled` buffers: what the kernel merged is taken apart again.
    pub(crate) fn datagrams(&mut self, filled: usize) -> impl Iterator<Item = Received<'_>> {
        self.buffers
            .chunks_exact_mut(BUFFER)
            .zip(&self.meta)
            .take(filled)
            .flat_map(|(buffer, meta)| {
                let length = meta.len.min(buffer.len());
                let source = normalise(meta.addr);
                let (local, ecn) = (
                    meta.dst_ip.map(|ip| ip.to_canonical()),
                    meta.ecn.map_or(0, |ecn| ecn as u8),
                );
                buffer[..length]
                    .chunks_mut(meta.stride.max(1))
                    .map(move |payload| Received {
                        source,
                        local,
                        ecn,
                        payload,
                    })
            })
    }
}

fn open(address: SocketAddr) -> rustix::io::Result<rustix::fd::OwnedFd> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let socket = rustix::net::socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    Ok(socket)
}

/// Large buffers where we may have them (CAP_NET_ADMIN), else what net.core.{r,w}mem_max allows.
fn widen_buffers(socket: impl AsFd + Copy) {
    if sockopt::set_socket_recv_buffer_size_force(socket, SOCKET_BUFFER).is_err()
        && let Err(error) = sockopt::set_socket_recv_buffer_size(socket, SOCKET_BUFFER)
    {
        tracing::debug!(%error, "the receive buffer keeps its default size");
    }
    if sockopt::set_socket_send_buffer_size_force(socket, SOCKET_BUFFER).is_err()
        && let Err(error) = sockopt::set_socket_send_buffer_size(socket, SOCKET_BUFFER)
    {
        tracing::debug!(%error, "the send buffer keeps its default size");
    }
}

/// Probes what the kernel has, and switches on what of it is wanted.
fn new_state(
    io: &UdpSocket,
    fragments: Fragments,
    wanted: Offloads,
    board: &OffloadBoard,
) -> io::Result<UdpSocketState> {
    let state = UdpSocketState::new(io.into())?;
    state.enable_transport_errors(io.into())?;
    // quinn-udp forbids fragments on every socket that it takes.
    if fragments == Fragments::Allowed {
        allow_fragments(io)?;
    }
    if !wanted.contains(Offload::Gro) {
        // quinn-udp switches it on.
        sys::disable_gro(io)?;
    }
    let has = |offload, segments: usize| wanted.contains(offload) && segments > 1;
    board.set_active(Offload::Gso, has(Offload::Gso, state.max_gso_segments()));
    board.set_active(Offload::Gro, has(Offload::Gro, state.gro_segments()));
    Ok(state)
}

fn allow_fragments(io: &UdpSocket) -> io::Result<()> {
    sockopt::set_ip_mtu_discover(io, sockopt::Ipv4PathMtuDiscovery::DONT)?;
    if io.local_addr()?.is_ipv6() {
        sockopt::set_ipv6_mtu_discover(io, sockopt::Ipv6PathMtuDiscovery::DONT)?;
        sys::allow_ipv6_fragments(io)?;
    }
    Ok(())
}

fn mark_error(address: SocketAddr) -> impl FnOnce(io::Error) -> StartError {
    move |error| match error.kind() {
        io::ErrorKind::PermissionDenied => StartError::NotPermitted,
        _ => StartError::Bind {
            address,
            source: error,
        },
    }
}

fn bind_error(address: SocketAddr, source: io::Error) -> StartError {
    if source.kind() == io::ErrorKind::AddrInUse {
        return StartError::PortInUse {
            address,
            holder: holder::of_udp_port(address.port()),
        };
    }
    StartError::Bind { address, source }
}

/// How many datagrams `transmit` stands for.
fn segments(transmit: &Transmit<'_>) -> u64 {
    transmit
        .segment_size
        .map_or(1, |size| transmit.contents.len().div_ceil(size.max(1)) as u64)
}

/// Whether `bind` failed because this host has no IPv6, which is no reason to stop.
pub(crate) fn is_ipv6_missing(error: &StartError) -> bool {
    let StartError::Bind { address, source } = error else {
        return false;
    };
    let any = address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let missing = matches!(
        Errno::from_io_error(source),
        Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL)
    );
    any && missing
}

/// Whether the address stands for every address of the host.
pub(crate) fn is_any(ip: IpAddr) -> bool {
    ip == IpAddr::V4(Ipv4Addr::UNSPECIFIED) || ip == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
}
