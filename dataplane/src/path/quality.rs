//! How well a path works that works.

use super::health::Cause;
use super::loss::{Way, Ways};
use std::time::Duration;

/// More loss than this on either way hurts: TCP over 50 ms falls below 5 Mbit/s.
const LOSS: f64 = 0.05;

/// How sure that must be, in standard deviations: chance is not to move traffic.
const SURE: f64 = 4.0;

/// No more loss than this over a minute is good again.
const LOSS_GOOD: f64 = 0.03;

/// No window counts as fewer packets: on an idle path one lost packet of ten is one, not ten percent.
const FEWEST: u32 = 100;

/// A round trip longer than twice the path's best and this is not the path it was. Below 50 ms nobody notices.
const LONGER: Duration = Duration::from_millis(50);

/// How well a path works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Quality {
    /// As it should.
    #[default]
    Good,
    /// Neither: a path stays what it is.
    Fair,
    /// Badly, and why.
    Poor(Cause),
}

/// What is measured on a path.
#[derive(Clone, Copy, Debug, Default)]
pub struct Measures {
    /// Packets of the last 10 s.
    pub ten_seconds: Ways,
    /// Packets of the last minute.
    pub minute: Ways,
    /// Smoothed round trip.
    pub rtt: Option<Duration>,
    /// The best of five minutes.
    pub least: Option<Duration>,
}

impl Quality {
    /// Judges.
    pub fn of(measures: &Measures) -> Quality {
        let ways = |w: Ways| [w.there, w.back];
        let (ten, minute) = (ways(measures.ten_seconds), ways(measures.minute));
        if ten.into_iter().chain(minute).any(loses) {
            return Quality::Poor(Cause::Loss);
        }
        let trip = measures.rtt.zip(measures.least);
        if trip.is_some_and(|(rtt, least)| rtt > least * 2 + LONGER) {
            return Quality::Poor(Cause::RoundTrip);
        }
        let quick = trip.is_none_or(|(rtt, least)| rtt <= least * 3 / 2 + LONGER / 2);
        let clean = ten.into_iter().all(|way| share(way) <= LOSS);
        let cleared = minute.into_iter().all(|way| share(way) <= LOSS_GOOD);
        match quick && clean && cleared {
            true => Quality::Good,
            false => Quality::Fair,
        }
    }
}

/// Whether this is more than [`LOSS`] beyond doubt. Losses that come in runs are that many fewer events: the number of such
/// events has the spread of Poisson's, and the length of a run about as much again.
fn loses(way: Way) -> bool {
    let expected = LOSS * f64::from(way.sent.max(FEWEST));
    let run = f64::from(way.lost) / f64::from(way.runs.max(1));
    let spread = (expected * (2.0 * run - 1.0).max(1.0)).sqrt();
    f64::from(way.lost) > expected + SURE * spread
}

fn share(way: Way) -> f64 {
    f64::from(way.lost) / f64::from(way.sent.max(FEWEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn lossy(sent: u32, lost: u32, runs: u32) -> Quality {
        let there = Way { sent, lost, runs };
        let ten_seconds = Ways {
            there,
            ..Ways::default()
        };
        Quality::of(&Measures {
            ten_seconds,
            ..Measures::default()
        })
    }

    fn slow(rtt: Duration, least: Duration) -> Quality {
        Quality::of(&Measures {
            rtt: Some(rtt),
            least: Some(least),
            ..Measures::default()
        })
    }

    #[test]
    fn loss_is_poor_beyond_doubt_and_good_well_below() {
        assert_eq!(lossy(100, 20, 16), Quality::Poor(Cause::Loss));
        assert_eq!(lossy(100, 10, 9), Quality::Fair, "it may be chance");
        assert_eq!(lossy(100, 5, 5), Quality::Good);
        assert_eq!(lossy(10, 1, 1), Quality::Good, "one of ten is one");
        assert_eq!(lossy(130, 25, 2), Quality::Fair, "that was one long burst");
    }

    #[test]
    fn a_round_trip_is_measured_by_what_the_path_can_do() {
        assert_eq!(slow(60 * MS, 5 * MS), Quality::Fair);
        assert_eq!(slow(61 * MS, 5 * MS), Quality::Poor(Cause::RoundTrip));
        assert_eq!(slow(300 * MS, 200 * MS), Quality::Good);
        assert_eq!(slow(500 * MS, 200 * MS), Quality::Poor(Cause::RoundTrip));
    }
}
