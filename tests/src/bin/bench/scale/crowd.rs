//! Many WireGuard devices that do nothing but shake hands with one hub, one after the other.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use meshnode_crypto::LaneKey;
use meshnode_dataplane::LaneSecret;
use meshnode_dataplane::demux::{Class, classify};
use meshnode_dataplane::tunnel::{HANDSHAKE, Opened, Seal, WireGuard};

/// An initiation without an answer is repeated after this.
const PATIENCE: Duration = Duration::from_millis(250);
/// A device that answers none of so many initiations will not answer.
const TRIES: usize = 20;
/// More than any handshake message has.
const BUFFER: usize = 2048;

/// Tunnels to one hub.
pub(super) struct Crowd {
    members: Vec<Member>,
}

struct Member {
    public: [u8; 32],
    tunnel: WireGuard,
}

impl Crowd {
    /// `hub`: the public key of the device that all know.
    pub(super) fn new(count: usize, hub: &[u8]) -> Result<Crowd> {
        let hub: [u8; 32] = hub.try_into().context("a key has 32 bytes")?;
        let members = (0..count as u32).map(|number| Member::new(number, hub));
        Ok(Crowd {
            members: members.collect(),
        })
    }

    pub(super) fn public_keys(&self) -> impl Iterator<Item = &[u8; 32]> {
        self.members.iter().map(|member| &member.public)
    }

    /// Until every member has a session. Runs in the namespace that its packets come from.
    pub(super) fn shake_hands(&mut self, hub: SocketAddr) -> Result<()> {
        for (number, member) in self.members.iter_mut().enumerate() {
            // A socket, and so a port, of its own: some implementations tell peers apart by that.
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.connect(hub)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            let mut tries = 0;
            while !member.shake_hands(&socket, hub)? {
                tries += 1;
                ensure!(tries < TRIES, "only {number} peers have a session");
            }
        }
        Ok(())
    }
}

impl Member {
    fn new(number: u32, hub: [u8; 32]) -> Member {
        let mut seed = [0x42; 32];
        seed[..4].copy_from_slice(&number.to_be_bytes());
        let key = LaneKey::from_seed(seed);
        let public = *key.wireguard_public().as_bytes();
        let local = WireGuard::local(&LaneSecret {
            private: key.wireguard_private(),
            public,
        });
        Member {
            public,
            tunnel: WireGuard::new(&local, hub, None, number, Instant::now()),
        }
    }

    /// One initiation, and what comes of it: is there a session?
    fn shake_hands(&mut self, socket: &UdpSocket, hub: SocketAddr) -> Result<bool> {
        let (mut out, mut datagram) = ([0; BUFFER], [0; BUFFER]);
        let initiation = self.tunnel.initiate(&mut out[..HANDSHAKE], Instant::now());
        socket.send(&out[..initiation.context("no initiation")?])?;
        while let Ok(length) = socket.recv(&mut datagram) {
            let datagram = &datagram[..length];
            let Class::WireGuard(message) = classify(datagram) else {
                continue;
            };
            let opened = self
                .tunnel
                .open(message, datagram, hub.ip(), &mut out, Instant::now());
            match opened {
                // The keepalive proves to the hub that the session stands.
                Opened::Established { len } => return Ok(socket.send(&out[..len])? == len),
                // The next initiation carries it.
                Opened::Cookie => return Ok(false),
                _ => {}
            }
        }
        Ok(false)
    }
}
