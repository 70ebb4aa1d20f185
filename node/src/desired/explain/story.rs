//! What an explanation says.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use meshnode_dataplane::PathState;
use serde::{Deserialize, Serialize};

use super::Question;

/// What happens to a packet, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// Inner source.
    pub source: IpAddr,
    /// Inner destination.
    pub destination: IpAddr,
    /// Where it comes in.
    pub arrives: Arrival,
    /// What becomes of it.
    pub outcome: Outcome,
    /// Why it is dropped: a `DropReason` as in the metrics, or `guard`.
    pub drop_reason: Option<String>,
    /// The outcome in one sentence.
    pub text: String,
    /// What would help.
    pub fix: Option<String>,
    /// Whether the receiving end accepts the source.
    pub source_check: Option<Finding>,
    /// The route that the kernel takes.
    pub kernel: Option<Finding>,
    /// The longest prefix in the data plane's table.
    pub prefix: Option<IpNet>,
    /// Everybody who announces a prefix that holds the destination, longest first.
    pub candidates: Vec<Candidate>,
    /// Where it goes: several when flows are spread.
    pub gateways: Vec<Way>,
}

/// Where a packet comes in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "from", content = "name")]
pub enum Arrival {
    /// From this host, or a host behind it.
    Host,
    /// Out of the tunnel of the node with this name.
    Peer(String),
    /// Out of the tunnel of the attached device with this name.
    Client(String),
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It goes into a tunnel, and the other end takes it.
    Forwarded,
    /// It goes to this host, or the network behind it.
    Delivered,
    /// It waits for a session.
    Waits,
    /// It goes into a tunnel whose path does not work: there is no other way.
    Lost,
    /// It is dropped.
    Dropped,
    /// It never comes to meshnode.
    Elsewhere,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Whether it lets the packet pass.
    pub fine: bool,
    /// In words.
    pub text: String,
}

impl Finding {
    pub(super) fn good(text: impl Into<String>) -> Finding {
        Finding {
            fine: true,
            text: text.into(),
        }
    }

    pub(super) fn bad(text: impl Into<String>) -> Finding {
        Finding {
            fine: false,
            text: text.into(),
        }
    }
}

/// A node that announces a prefix with the destination in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// The prefix.
    pub prefix: IpNet,
    /// Shown name.
    pub node: String,
    /// `active`, `standby` or `rejected`.
    pub state: String,
    /// Among owners of one prefix the highest wins.
    pub priority: Option<u16>,
    /// Health of the path to it.
    pub health: String,
    /// Its round trip.
    pub rtt_ms: Option<f64>,
    /// Why it is in its state, where that is not plain.
    pub reason: Option<String>,
}

/// The way to a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Way {
    /// Shown name.
    pub node: String,
    /// The node's public key, 64 hex digits; empty for an attached device.
    pub id: String,
    /// `direct`, or `relay:<name>`.
    pub path: String,
    /// The relay, if there is one.
    pub relay: Option<Relay>,
    /// Where datagrams go.
    pub endpoint: Option<SocketAddr>,
    /// Health of the path.
    pub health: String,
    /// Whether packets can leave at once.
    pub has_session: bool,
    /// Seconds in this health.
    pub since_s: Option<f64>,
    /// Seconds since the path was last proven both ways.
    pub proven_s: Option<f64>,
    /// Smoothed round trip.
    pub rtt_ms: Option<f64>,
    /// Share of probes lost over 10 s.
    pub loss: Option<f64>,
    /// Largest inner packet that passes whole, in bytes.
    pub mtu: Option<u16>,
}

/// A node that datagrams go through.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Relay {
    /// Shown name.
    pub node: String,
    /// Its public key, 64 hex digits.
    pub id: String,
    /// Round trip to it.
    pub near_ms: Option<f64>,
    /// Round trip from it to the gateway, as it last said.
    pub far_ms: Option<f64>,
}

impl Way {
    /// Whether packets arrive, as far as anybody knows.
    pub(super) fn works(&self) -> bool {
        [PathState::Up, PathState::Degraded]
            .iter()
            .any(|state| state.as_str() == self.health)
    }
}

impl Explanation {
    pub(super) fn of(question: &Question, arrives: Arrival) -> Explanation {
        Explanation {
            source: question.source,
            destination: question.destination,
            arrives,
            outcome: Outcome::Dropped,
            drop_reason: None,
            text: String::new(),
            fix: None,
            source_check: None,
            kernel: None,
            prefix: None,
            candidates: Vec::new(),
            gateways: Vec::new(),
        }
    }

    pub(super) fn end(&mut self, outcome: Outcome, text: &str) {
        (self.outcome, self.text) = (outcome, text.to_owned());
    }

    pub(super) fn drop(&mut self, reason: &str, text: String) {
        (self.outcome, self.text) = (Outcome::Dropped, text);
        self.drop_reason = Some(reason.to_owned());
    }

    /// `directly`, `through sz`, or by flow over several.
    pub(super) fn ways(&self) -> String {
        match self.gateways.as_slice() {
            [only] => match &only.relay {
                Some(relay) => format!("through {}", relay.node),
                None => "directly".to_owned(),
            },
            _ => "each flow to one of them".to_owned(),
        }
    }
}

/// To the microsecond.
pub(super) fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// To the millisecond.
pub(super) fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e3).round() / 1e3
}
