//! Relays: WireGuard packets between two nodes that do not reach each other travel through a third, which cannot read them.
//!
//! ```text
//!   A ── Bind B ─►  R                       R keeps a session for the pair A, B once both have bound.
//!                   R ── Offer A ─► B       Each end renews its half; a half that is not renewed ends.
//!                   R ◄─ Bind A ─── B
//!   A ◄─ Bound ───  R ── Bound ───► B
//!
//!   A ══ 0x10, session, WireGuard packet ══► R ══ the same bytes ══► B
//! ```
//!
//! Binds and their answers travel inside R's tunnels with A and B ([`crate::control`]), so R knows who asks. A frame counts only
//! from the proven endpoint of one of the two, and goes on as it is to the proven direct endpoint of the other: never into
//! another session, so there is one relay on a way at most and no loop. The tunnel is the one between A and B, whichever way
//! its packets take.
//!
//! | file | is |
//! |---|---|
//! | `frame` | the bytes in front of a relayed packet |
//! | `sessions` | whom a relay relays for |
//! | `bucket` | how much |
//! | `choice` | which way an end takes: straight, or through a relay |
//! | `candidates` | which relays an end asks |
//!
//! All of it is pure. The lane's part is in `lane/relays` (the relay) and `lane/relayed` (its ends).

pub mod bucket;
pub mod candidates;
pub mod choice;
pub mod frame;
pub mod sessions;

use std::fmt;

/// What names the session of a pair at its relay, and stands in every frame of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Session(pub u64);

impl Session {
    /// As it stands on the wire.
    pub fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    /// From the wire.
    pub fn from_bytes(bytes: [u8; 8]) -> Session {
        Session(u64::from_be_bytes(bytes))
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({:016x})", self.0)
    }
}

/// What this node does for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayPolicy {
    /// Whether it relays between members.
    pub enabled: bool,
    /// Most relayed bits a second; `None`: as many as come.
    pub limit: Option<u64>,
}

impl Default for RelayPolicy {
    fn default() -> RelayPolicy {
        RelayPolicy {
            enabled: true,
            limit: None,
        }
    }
}
