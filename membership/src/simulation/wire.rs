//! Datagrams between ports in memory: real QUIC without sockets.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::sleep;

use crate::ports::{DatagramPort, ReceivedDatagram};

/// Datagrams that wait at one port; more are lost.
const QUEUE: usize = 1024;
/// One way.
const LATENCY: Duration = Duration::from_millis(5);

/// An underlay. Cheap to clone; the clones are one underlay.
#[derive(Clone, Debug, Default)]
pub struct SimWire {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    ports: BTreeMap<SocketAddr, Arc<Queue>>,
    cut: BTreeSet<SocketAddr>,
    datagrams: u64,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<(VecDeque<ReceivedDatagram>, Option<Waker>)>,
}

#[derive(Debug)]
struct Port {
    wire: SimWire,
    address: SocketAddr,
    queue: Arc<Queue>,
}

impl SimWire {
    /// A port at `address`, in place of the one that was there.
    pub fn port(&self, address: SocketAddr) -> Arc<dyn DatagramPort> {
        let queue = Arc::new(Queue::default());
        lock(&self.shared).ports.insert(address, queue.clone());
        Arc::new(Port {
            wire: self.clone(),
            address,
            queue,
        })
    }

    /// Loses everything to and from `address` from now on.
    pub fn cut(&self, address: SocketAddr) {
        lock(&self.shared).cut.insert(address);
    }

    /// Undoes [`SimWire::cut`].
    pub fn mend(&self, address: SocketAddr) {
        lock(&self.shared).cut.remove(&address);
    }

    /// Puts a datagram on the wire, whoever it says it is from.
    pub fn inject(&self, from: SocketAddr, to: SocketAddr, payload: &[u8]) {
        let target = {
            let mut shared = lock(&self.shared);
            shared.datagrams += 1;
            if shared.cut.contains(&from) || shared.cut.contains(&to) {
                return;
            }
            shared.ports.get(&to).cloned()
        };
        let Some(queue) = target else { return };
        let datagram = ReceivedDatagram {
            source: from,
            local: Some(to.ip()),
            ecn: 0,
            payload: Bytes::copy_from_slice(payload),
        };
        tokio::spawn(async move {
            sleep(LATENCY).await;
            queue.push(datagram);
        });
    }

    /// Datagrams sent so far.
    pub fn datagrams(&self) -> u64 {
        lock(&self.shared).datagrams
    }
}

impl Queue {
    fn push(&self, datagram: ReceivedDatagram) {
        let mut waiting = lock(&self.waiting);
        if waiting.0.len() < QUEUE {
            waiting.0.push_back(datagram);
        }
        if let Some(waker) = waiting.1.take() {
            waker.wake();
        }
    }
}

impl DatagramPort for Port {
    fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<Option<ReceivedDatagram>> {
        let mut waiting = lock(&self.queue.waiting);
        match waiting.0.pop_front() {
            Some(datagram) => Poll::Ready(Some(datagram)),
            None => {
                waiting.1 = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn try_send(&self, destination: SocketAddr, _: Option<IpAddr>, _: u8, payload: &[u8]) {
        self.wire.inject(self.address, destination, payload);
    }

    // As a dual-stack socket bound to every address.
    fn local_addr(&self) -> SocketAddr {
        SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), self.address.port())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
