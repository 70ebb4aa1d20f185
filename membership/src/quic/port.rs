//! A quinn socket over a [`DatagramPort`].
//!
//! An `Err` from a socket ends quinn's driver for good, so none is ever returned: a failed send is loss,
//! a closed port is silence. On a dual-stack port quinn sees IPv4 peers as mapped IPv6 addresses
//! throughout (it compares the address that it dialled with the one that answers), while the port
//! itself always sees plain ones.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use quinn::udp::{EcnCodepoint, RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};

use crate::ports::{DatagramPort, ReceivedDatagram};

/// What quinn reads from and writes to.
#[derive(Debug)]
pub(crate) struct PortSocket {
    port: Arc<dyn DatagramPort>,
}

impl PortSocket {
    pub(crate) fn new(port: Arc<dyn DatagramPort>) -> Self {
        PortSocket { port }
    }

    fn to_quinn(&self, address: SocketAddr) -> SocketAddr {
        match address {
            SocketAddr::V4(v4) if self.port.local_addr().is_ipv6() => {
                SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0).into()
            }
            other => other,
        }
    }

    fn fill(&self, datagram: &ReceivedDatagram, buffer: &mut IoSliceMut<'_>, meta: &mut RecvMeta) -> bool {
        let length = datagram.payload.len();
        let Some(target) = buffer.get_mut(..length) else {
            return false;
        };
        target.copy_from_slice(&datagram.payload);
        *meta = RecvMeta {
            addr: self.to_quinn(datagram.source),
            len: length,
            stride: length,
            ecn: EcnCodepoint::from_bits(datagram.ecn),
            dst_ip: datagram.local,
        };
        true
    }
}

impl AsyncUdpSocket for PortSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let destination = canonical(transmit.destination);
        let source = transmit.src_ip.map(|ip| ip.to_canonical());
        let ecn = transmit.ecn.map_or(0, |ecn| ecn as u8);
        let segment = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        for payload in transmit.contents.chunks(segment) {
            self.port.try_send(destination, source, ecn, payload);
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut count = 0;
        for (buffer, meta) in buffers.iter_mut().zip(meta.iter_mut()) {
            loop {
                // A closed port stays pending: the endpoint is told of the end by its owner.
                let Poll::Ready(Some(datagram)) = self.port.poll_recv(cx) else {
                    return if count > 0 {
                        Poll::Ready(Ok(count))
                    } else {
                        Poll::Pending
                    };
                };
                if self.fill(&datagram, buffer, meta) {
                    break;
                }
            }
            count += 1;
        }
        if count > 0 {
            Poll::Ready(Ok(count))
        } else {
            Poll::Pending
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.port.local_addr())
    }
}

// The port takes or loses a datagram at once, so there is never anything to wait for.
#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The address with an IPv4 one in its own form, as everything outside quinn knows it.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(v4) => SocketAddr::new(v4.into(), address.port()),
        IpAddr::V6(_) => address,
    }
}
