//! Where membership and the data plane meet: QUIC's datagrams go through the data plane's sockets.

use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};

use meshnode_dataplane::UnderlayPort;
use meshnode_membership::ports::{DatagramPort, ReceivedDatagram};

/// The underlay as membership wants it.
#[derive(Debug)]
pub struct SharedPort(pub UnderlayPort);

impl DatagramPort for SharedPort {
    fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<Option<ReceivedDatagram>> {
        self.0.poll_recv(cx).map(|received| {
            received.map(|d| ReceivedDatagram {
                source: d.source,
                local: d.local,
                ecn: d.ecn,
                payload: d.payload,
            })
        })
    }

    fn try_send(&self, destination: SocketAddr, source: Option<IpAddr>, ecn: u8, payload: &[u8]) {
        self.0.try_send(destination, source, ecn, payload);
    }

    fn local_addr(&self) -> SocketAddr {
        self.0.local_addr()
    }
}
