//! Where packets of a prefix go, and why that changed.

use ipnet::IpNet;
use meshnode_crypto::NodeId;

use super::rank::{Candidate, Standing};

/// Where packets of a prefix go.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// To this node.
    Node(NodeId),
    /// To these, sorted, each flow to one of them.
    Balanced(Vec<NodeId>),
    /// Wherever packets of this wider prefix go: no gateway of its own works.
    LessSpecific(IpNet),
    /// Nowhere: no gateway works, and an owner wants it so.
    Dropped,
}

impl Target {
    /// The nodes that it names; none where it names none.
    pub fn nodes(&self) -> &[NodeId] {
        match self {
            Target::Node(node) => std::slice::from_ref(node),
            Target::Balanced(nodes) => nodes,
            Target::LessSpecific(_) | Target::Dropped => &[],
        }
    }

    /// The same for whoever looks at one prefix: which wider prefix helps out is that one's affair.
    pub(super) fn is_as(&self, other: &Target) -> bool {
        let wider = |target: &Target| matches!(target, Target::LessSpecific(_));
        self == other || (wider(self) && wider(other))
    }
}

/// Why packets of a prefix go elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteCause {
    /// Somebody announces it who did not.
    Announced,
    /// Who carried it does not announce it any more, or has left.
    Withdrawn,
    /// The path to who carried it is suspect or down.
    Health,
    /// The path to who carried it is degraded, and another's is not.
    Quality,
    /// Who carried it says that its own interface is down.
    Interface,
    /// What lies behind who carried it does not answer through it.
    Check,
    /// Who carried it is being drained.
    Drain,
    /// Another has the higher priority.
    Priority,
    /// Who failed has worked for long enough since.
    Returned,
    /// Settings here or at its owners: accepted prefixes, balance, an own announcement.
    Settings,
}

impl RouteCause {
    /// All of them.
    pub const ALL: [RouteCause; 10] = [
        RouteCause::Announced,
        RouteCause::Withdrawn,
        RouteCause::Health,
        RouteCause::Quality,
        RouteCause::Interface,
        RouteCause::Check,
        RouteCause::Drain,
        RouteCause::Priority,
        RouteCause::Returned,
        RouteCause::Settings,
    ];

    /// The word in events, logs and labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            RouteCause::Announced => "announced",
            RouteCause::Withdrawn => "withdrawn",
            RouteCause::Health => "health",
            RouteCause::Quality => "quality",
            RouteCause::Interface => "interface",
            RouteCause::Check => "check",
            RouteCause::Drain => "drain",
            RouteCause::Priority => "priority",
            RouteCause::Returned => "returned",
            RouteCause::Settings => "settings",
        }
    }

    /// Whether the former gateway could not be left where it was.
    pub const fn is_failover(self) -> bool {
        matches!(
            self,
            RouteCause::Withdrawn
                | RouteCause::Health
                | RouteCause::Interface
                | RouteCause::Check
                | RouteCause::Drain
        )
    }

    /// Whether it was said before that it would come.
    pub(super) const fn is_planned(self) -> bool {
        matches!(self, RouteCause::Drain | RouteCause::Withdrawn)
    }
}

/// Packets of a prefix go elsewhere from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteChange {
    /// The prefix.
    pub prefix: IpNet,
    /// Where they went; `None`: it had no route.
    pub from: Option<Target>,
    /// Where they go; `None`: it has no route any more.
    pub to: Option<Target>,
    /// Why.
    pub cause: RouteCause,
}

/// Why `from` became `to`, among `candidates`, best first.
pub(super) fn cause(from: Option<&Target>, to: &Target, candidates: &[Candidate<'_>]) -> RouteCause {
    let Some(from) = from else {
        return RouteCause::Announced;
    };
    let find = |id: &NodeId| candidates.iter().find(|c| c.node.id == *id);
    if from.nodes().is_empty() {
        let back = !to.nodes().is_empty();
        return if back {
            RouteCause::Returned
        } else {
            RouteCause::Health
        };
    }
    let lost = from.nodes().iter().find(|id| !to.nodes().contains(id));
    let gained = to
        .nodes()
        .iter()
        .find(|id| !from.nodes().contains(id))
        .and_then(find);
    match (lost.map(find), gained) {
        (Some(None), _) => RouteCause::Withdrawn,
        (Some(Some(lost)), gained) => why_left(lost, gained),
        (None, Some(gained)) if gained.failed_lately => RouteCause::Returned,
        (None, _) => RouteCause::Settings,
    }
}

fn why_left(lost: &Candidate<'_>, gained: Option<&Candidate<'_>>) -> RouteCause {
    match lost.standing {
        Standing::NotServed => RouteCause::Interface,
        Standing::Down | Standing::Suspect | Standing::Connecting => RouteCause::Health,
        Standing::CheckFails => RouteCause::Check,
        Standing::Draining => RouteCause::Drain,
        Standing::HeldBack | Standing::Works => match gained {
            Some(gained) if gained.priority > lost.priority && gained.failed_lately => RouteCause::Returned,
            Some(gained) if gained.priority > lost.priority => RouteCause::Priority,
            Some(_) if lost.degraded => RouteCause::Quality,
            _ => RouteCause::Settings,
        },
    }
}
