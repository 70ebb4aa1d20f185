//! One event, as it is kept and as it crosses the local socket.

use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// This node started: the first event of every run.
    Started,
    /// This node stops or leaves.
    Stopping,
    /// A node is in the mesh from now on, as seen here.
    Joined,
    /// A node is no longer in it.
    Left,
    /// A node was expelled; it may be this one.
    Revoked,
    /// One identity runs on two machines.
    Conflict,
    /// This node's grant was renewed or changed.
    Grant,
    /// This host's clock and the members' differ, or agree again.
    Clock,
    /// A peer's path changed its health, or its way: direct or over a relay.
    Path,
    /// A prefix goes to another node.
    Route,
    /// A peer's packets come from another address.
    Endpoint,
    /// A lane above 0 is not heard at a peer.
    Lane,
    /// An offload stopped or works again.
    Offload,
    /// This host stalled.
    Stall,
    /// This node withdraws from carrying traffic, or takes it up again.
    Drain,
    /// What lies behind a gateway does not answer any more, or does again.
    Check,
}

impl Kind {
    /// The word in JSON and on the screen.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Started => "started",
            Kind::Stopping => "stopping",
            Kind::Joined => "joined",
            Kind::Left => "left",
            Kind::Revoked => "revoked",
            Kind::Conflict => "conflict",
            Kind::Grant => "grant",
            Kind::Clock => "clock",
            Kind::Path => "path",
            Kind::Route => "route",
            Kind::Endpoint => "endpoint",
            Kind::Lane => "lane",
            Kind::Offload => "offload",
            Kind::Stall => "stall",
            Kind::Drain => "drain",
            Kind::Check => "check",
        }
    }
}

/// What happened, without when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Happening {
    /// What it is about.
    pub kind: Kind,
    /// Shown name of the node that it happened to.
    #[serde(default)]
    pub peer: Option<String>,
    /// The prefix that it happened to.
    #[serde(default)]
    pub prefix: Option<IpNet>,
    /// What was before: a health, a path, a node, an address.
    #[serde(default)]
    pub from: Option<String>,
    /// What is now.
    #[serde(default)]
    pub to: Option<String>,
    /// Why, as a stable word.
    #[serde(default)]
    pub cause: Option<String>,
    /// Why and what it means, for people; may be empty where the rest says all.
    #[serde(default)]
    pub text: String,
}

impl Happening {
    /// Something about which nothing more is said yet.
    pub fn new(kind: Kind) -> Happening {
        Happening {
            kind,
            peer: None,
            prefix: None,
            from: None,
            to: None,
            cause: None,
            text: String::new(),
        }
    }

    /// It happened to this node.
    #[must_use]
    pub fn peer(mut self, name: impl Into<String>) -> Happening {
        self.peer = Some(name.into());
        self
    }

    /// From one state to another; either may be none.
    #[must_use]
    pub fn change(mut self, from: Option<impl fmt::Display>, to: Option<impl fmt::Display>) -> Happening {
        self.from = from.map(|from| from.to_string());
        self.to = to.map(|to| to.to_string());
        self
    }

    /// Why: a stable word, and the sentence for people.
    #[must_use]
    pub fn because(mut self, cause: &str, text: impl Into<String>) -> Happening {
        self.cause = Some(cause.to_owned());
        self.text = text.into();
        self
    }
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Running number since the node started; the first is 1, none is left out.
    pub number: u64,
    /// Wall time: Unix milliseconds.
    pub time_ms: u64,
    /// What happened.
    #[serde(flatten)]
    pub what: Happening,
}
