//! What a failure is, and the list of them.

use std::time::Duration;

use anyhow::Result;
use meshnode_tests::topology::{Roles, Wire};

use super::faults::{gateway, path, planned};
use super::scene::{Flow, Scene};

/// One way to break things, and what is expected of it.
pub(crate) struct Failure {
    /// Its name on the command line and in the JSON file.
    pub(crate) key: &'static str,
    /// Its name for readers.
    pub(crate) title: &'static str,
    /// The flow that is watched.
    pub(crate) flow: Flow,
    /// When a run is over.
    pub(crate) ends: Ends,
    /// What the product promises.
    pub(crate) target: Target,
    /// What it is made with.
    pub(crate) fault: Fault,
    /// What gateways' ways to the internet are made of.
    pub(crate) wire: Wire,
    /// Most runs that make sense.
    pub(crate) at_most: usize,
}

/// How it is made and repaired.
pub(crate) struct Fault {
    /// Why it cannot be made, if it cannot.
    pub(crate) missing: fn(&Scene<'_>) -> Result<Option<String>>,
    pub(crate) inject: fn(&Scene<'_>, &Roles) -> Result<()>,
    pub(crate) repair: fn(&Scene<'_>, &Roles) -> Result<()>,
}

/// When a run is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    /// The other gateway has the traffic, and it flows steadily.
    Moved,
    /// The traffic flows steadily, by whatever way.
    Flows,
    /// After this long, whatever happens: changes of the route count.
    After(Duration),
    /// It is repaired after this long, and the time from then to the first packet counts.
    Repaired(Duration),
}

/// What the product promises.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Target {
    /// Milliseconds of silence: the 99th percentile, and the median where that is promised too.
    Gap { p50: Option<f64>, p99: f64 },
    /// No packet is lost.
    NothingLost,
    /// At most so many changes of the route in a run.
    Changes(u64),
}

const GATEWAY_FAILS: Target = Target::Gap {
    p50: Some(400.0),
    p99: 1_000.0,
};

const fn within(p99: f64) -> Target {
    Target::Gap { p50: None, p99 }
}

/// As many runs as are asked for.
const ALL: usize = usize::MAX;

/// Those that watch a flow for a while.
const LONG: usize = 60;

/// In the order of the report.
pub(crate) const FAILURES: &[Failure] = &[
    Failure {
        key: "gateway-frozen",
        title: "gateway frozen (SIGSTOP)",
        flow: Flow::Shared,
        ends: Ends::Moved,
        target: GATEWAY_FAILS,
        fault: gateway::FROZEN,
        wire: Wire::Cable,
        at_most: ALL,
    },
    Failure {
        key: "gateway-killed",
        title: "gateway killed (SIGKILL)",
        flow: Flow::Shared,
        ends: Ends::Moved,
        target: GATEWAY_FAILS,
        fault: gateway::KILLED,
        wire: Wire::Cable,
        at_most: ALL,
    },
    Failure {
        key: "gateway-black-holed",
        title: "gateway's underlay black-holed",
        flow: Flow::Shared,
        // Over the LAN the other gateway may relay for it: the route need not move.
        ends: Ends::Flows,
        target: GATEWAY_FAILS,
        fault: gateway::BLACK_HOLED,
        wire: Wire::Cable,
        at_most: ALL,
    },
    Failure {
        key: "not-forwarding",
        title: "gateway online that no longer forwards (with `check`)",
        flow: Flow::Shared,
        ends: Ends::Moved,
        target: within(2_000.0),
        fault: gateway::NOT_FORWARDING,
        wire: Wire::Cable,
        at_most: ALL,
    },
    Failure {
        key: "one-way",
        title: "direct path black-holed on the way there, a relay available",
        flow: Flow::Own,
        ends: Ends::Flows,
        target: within(1_000.0),
        fault: path::ONE_WAY,
        wire: Wire::Cable,
        at_most: ALL,
    },
    Failure {
        key: "one-way-back",
        title: "the same, traffic the other way",
        flow: Flow::OwnBack,
        ends: Ends::Flows,
        target: within(1_000.0),
        fault: path::ONE_WAY,
        wire: Wire::Cable,
        at_most: ALL,
    },
    Failure {
        key: "path-black-holed",
        title: "direct path black-holed both ways, a relay available",
        flow: Flow::Own,
        ends: Ends::Flows,
        target: within(1_000.0),
        fault: path::BOTH_WAYS,
        wire: Wire::Cable,
        at_most: ALL,
    },
    Failure {
        key: "interface-down",
        title: "interface down on the gateway itself",
        flow: Flow::Shared,
        ends: Ends::Moved,
        target: within(100.0),
        fault: gateway::INTERFACE_DOWN,
        wire: Wire::Cable,
        at_most: ALL,
    },
    Failure {
        key: "drain",
        title: "planned: drain",
        flow: Flow::Shared,
        ends: Ends::Moved,
        target: Target::NothingLost,
        fault: planned::DRAIN,
        wire: Wire::Cable,
        at_most: ALL,
    },
    Failure {
        key: "sigterm",
        title: "planned: SIGTERM, and started again",
        flow: Flow::Shared,
        ends: Ends::Moved,
        target: Target::NothingLost,
        fault: planned::SIGTERM,
        wire: Wire::Cable,
        at_most: ALL,
    },
    Failure {
        key: "leave",
        title: "planned: leave, and joined again",
        flow: Flow::Shared,
        ends: Ends::Moved,
        target: Target::NothingLost,
        fault: planned::LEAVE,
        wire: Wire::Cable,
        at_most: ALL,
    },
    Failure {
        key: "address-changed",
        title: "roaming: the gateway's address changed",
        flow: Flow::Shared,
        ends: Ends::Flows,
        target: within(300.0),
        fault: path::ADDRESS_CHANGED,
        wire: Wire::Cable,
        at_most: ALL,
    },
    Failure {
        key: "port-changed",
        title: "roaming: a NAT gave the gateway another port",
        flow: Flow::Shared,
        ends: Ends::Flows,
        target: within(300.0),
        fault: path::PORT_CHANGED,
        wire: Wire::Cable,
        at_most: ALL,
    },
    Failure {
        key: "partition",
        title: "partition of 15 s healed: from then to the first packet",
        flow: Flow::Shared,
        ends: Ends::Repaired(Duration::from_secs(15)),
        target: within(5_000.0),
        fault: path::PARTITION,
        wire: Wire::Cable,
        at_most: LONG,
    },
    Failure {
        key: "bursty-loss",
        title: "10 s of 2 % bursty loss both ways",
        flow: Flow::Shared,
        ends: Ends::After(Duration::from_secs(10)),
        target: Target::Changes(0),
        fault: path::BURSTY_LOSS,
        wire: Wire::Link,
        at_most: LONG,
    },
    Failure {
        key: "flapping",
        title: "10 s of a link that is up 1 s and down 1 s",
        flow: Flow::Shared,
        ends: Ends::After(Duration::from_secs(10)),
        target: Target::Changes(1),
        fault: path::FLAPPING,
        wire: Wire::Link,
        at_most: LONG,
    },
];
