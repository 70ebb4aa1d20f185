//! The underlay: the UDP sockets that carry everything a node says to other nodes.
//!
//! WireGuard and QUIC share each port. A lane reads the sockets and gives every datagram to whom its
//! first byte names: tunnels to the engine, QUIC to the [`UnderlayPort`]. Sending goes straight to
//! the socket, from any thread. The underlay works before any TUN exists.

mod contacts;
mod port;
mod socket;

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering::Relaxed;

use quinn_udp::Transmit;

pub(crate) use port::{PortFeeder, open_port};
pub use port::{PortStats, ReceivedDatagram, UnderlayPort};
pub(crate) use socket::{Fragments, ReceiveBatch, Received, Socket, WhenFull};

use crate::batch::Endpoint;
use crate::error::StartError;
use crate::offload::switch::Offloads;
use crate::stats::Stats;

/// The bound sockets, at most one for each listen address.
#[derive(Debug, Default)]
pub(crate) struct Underlay {
    sockets: Vec<Socket>,
}

impl Underlay {
    /// Binds every address; none is fine too, and hears nothing. A host without IPv6 goes on with IPv4, and says so.
    pub(crate) fn bind(listen: &[SocketAddr], mark: u32, offloads: Offloads) -> Result<Underlay, StartError> {
        let mut sockets = Vec::with_capacity(listen.len());
        let mut missing = None;
        for address in listen {
            match Socket::bind(*address, mark, Fragments::Forbidden, offloads) {
                Ok(socket) => sockets.push(socket),
                Err(error) if socket::is_ipv6_missing(&error) => missing = Some(error),
                Err(error) => return Err(error),
            }
        }
        match (sockets.is_empty(), missing) {
            (true, Some(error)) => Err(error),
            (_, None) => Ok(Underlay { sockets }),
            (false, Some(error)) => {
                tracing::warn!(%error, "this host has no IPv6: going on with IPv4");
                Ok(Underlay { sockets })
            }
        }
    }

    /// Binds one more address, for datagrams that may be fragmented on their way. A host without IPv6 does without it.
    pub(crate) fn add(
        &mut self,
        address: SocketAddr,
        mark: u32,
        offloads: Offloads,
    ) -> Result<(), StartError> {
        match Socket::bind(address, mark, Fragments::Allowed, offloads) {
            Err(error) if !self.sockets.is_empty() && socket::is_ipv6_missing(&error) => {
                tracing::info!(%error, "this host has no IPv6: going on with IPv4");
            }
            socket => self.sockets.push(socket?),
        }
        Ok(())
    }

    /// Changes the mark of all sockets.
    pub(crate) fn set_mark(&self, mark: u32) -> Result<(), StartError> {
        self.sockets.iter().try_for_each(|socket| socket.set_mark(mark))
    }

    /// Adds what the sockets counted to `stats`.
    pub(crate) fn add_to(&self, stats: &mut Stats) {
        for socket in &self.sockets {
            stats.icmp_errors += socket.counters.error_reports.load(Relaxed);
            socket.counters.offloads.add_to(&mut stats.offloads);
        }
    }

    pub(crate) fn sockets(&self) -> &[Socket] {
        &self.sockets
    }

    /// The address that stands for the whole port: an IPv6 one when there is one.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        let sockets = || self.sockets.iter().map(Socket::local);
        sockets().find(SocketAddr::is_ipv6).or_else(|| sockets().next())
    }

    /// Lets datagrams to a place be fragmented from now on, or forbids it.
    pub(crate) fn allow_fragments(&self, to: &Endpoint, allow: bool) {
        if let Some(socket) = self.socket_for(to.remote, to.local) {
            socket.allow_fragments(allow);
        }
    }

    /// The socket that reaches `destination`, the one bound to `source` if several do.
    pub(crate) fn socket_for(&self, destination: SocketAddr, source: Option<IpAddr>) -> Option<&Socket> {
        let family = || {
            self.sockets
                .iter()
                .filter(|socket| socket.local().is_ipv4() == destination.is_ipv4())
        };
        let bound_to = |socket: &&Socket| source.is_some_and(|ip| socket.local().ip() == ip);
        family()
            .find(bound_to)
            .or_else(|| family().find(|socket| socket::is_any(socket.local().ip())))
            .or_else(|| family().next())
    }

    /// Sends to a canonical address; returns how many datagrams were lost.
    pub(crate) fn send(&self, transmit: &Transmit<'_>, when_full: WhenFull) -> u64 {
        match self.socket_for(transmit.destination, transmit.src_ip) {
            // Port 0 is EINVAL to the kernel, which would switch segmentation offload off.
            Some(socket) if transmit.destination.port() != 0 => socket.send(transmit, when_full),
            _ => 1,
        }
    }
}

#[cfg(test)]
mod tests;
