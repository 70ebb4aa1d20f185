//! What meshnode wants to reach against others in the same run. A report says how far it is; nothing fails by it.

use super::Report;
use crate::contender::{BORINGTUN, GOTATUN, MESHNODE, MESHNODE_WG};
use crate::measure::metric::Metric;

/// One aim: a bound on a figure, or on its ratio to somebody's.
struct Target {
    metric: Metric,
    bound: Bound,
}

enum Bound {
    /// At least so many times the other's.
    Times(f64, &'static str),
    /// At most this part of the other's.
    Part(f64, &'static str),
    /// At most this much.
    Below(f64),
}

const TARGETS: [Target; 9] = [
    Target {
        metric: Metric::TcpUp1,
        bound: Bound::Times(13.0, BORINGTUN),
    },
    Target {
        metric: Metric::TcpUp1,
        bound: Bound::Times(5.0, GOTATUN),
    },
    Target {
        metric: Metric::TcpUp4,
        bound: Bound::Times(10.0, BORINGTUN),
    },
    Target {
        metric: Metric::TcpUp4,
        bound: Bound::Times(5.0, GOTATUN),
    },
    Target {
        metric: Metric::Processor,
        bound: Bound::Part(1.0 / 9.0, BORINGTUN),
    },
    Target {
        metric: Metric::UdpSmall,
        bound: Bound::Times(2.0, BORINGTUN),
    },
    Target {
        metric: Metric::IdleRtt,
        bound: Bound::Part(0.8, BORINGTUN),
    },
    Target {
        metric: Metric::LoadedRtt,
        bound: Bound::Below(5.0),
    },
    Target {
        metric: Metric::Memory,
        bound: Bound::Below(20.0),
    },
];

/// One line of the table of targets.
pub(super) struct Reached {
    pub(super) who: &'static str,
    pub(super) what: String,
    pub(super) wanted: String,
    pub(super) is: String,
    pub(super) met: bool,
}

/// All targets of ours whose figures are there.
pub(super) fn reached(report: &Report) -> Vec<Reached> {
    let ours = [MESHNODE, MESHNODE_WG];
    let each = ours
        .iter()
        .flat_map(|who| TARGETS.iter().map(move |target| target.look(report, who)));
    each.flatten().collect()
}

impl Target {
    fn look(&self, report: &Report, who: &'static str) -> Option<Reached> {
        let (title, unit) = self.metric.title();
        let (wanted, is, met) = match self.bound {
            Bound::Times(times, other) => {
                let is = report.ratio(who, other, self.metric)?;
                (format!("≥ {times} × {other}"), format!("{is:.1} ×"), is >= times)
            }
            Bound::Part(part, other) => {
                let is = report.ratio(who, other, self.metric)?;
                (format!("≤ {part:.2} × {other}"), format!("{is:.2} ×"), is <= part)
            }
            Bound::Below(most) => {
                let is = report.row(who)?.values(self.metric)?.median();
                let shown = format!("{} {unit}", Metric::show(is));
                (format!("≤ {most} {unit}"), shown, is <= most)
            }
        };
        Some(Reached {
            who,
            what: title.to_owned(),
            wanted,
            is,
            met,
        })
    }
}
