//! All that is measured and judged of one path by probes: what is sent and when, what comes back, and the verdict.
//!
//! The caller's part: [`Probing::probe`] when [`Probing::is_due`]; [`Probing::reflect`], [`Probing::handle_reply`] and
//! [`Probing::handle_heard`] for what comes; [`Probing::handle_timeout`] at [`Probing::poll_timeout`]; and after each of them
//! [`Probing::poll_change`].

use super::health::{Change, Evidence, Health};
use super::loss::Ratios;
use super::quality::{Measures, Quality};
use super::rtt::RoundTrips;
use super::stamp::{HEALTH_PROBE, Measured, NtpClock, Reflector, Report, Sender};
use super::window::Window;
use crate::packet::udp::UdpV6;
use crate::stats::PathState;
use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

/// Probes on a path that carries traffic, or that is not well.
pub const BUSY: Duration = Duration::from_millis(100);

/// Probes on an idle path.
pub const IDLE: Duration = Duration::from_secs(1);

/// Probes on a path that works and misses an answer: a few of them soon tell a lost packet from a lost path.
pub const CLOSE: Duration = Duration::from_millis(10);

/// How long after a miss an idle path is probed as if it carried traffic.
const RESTLESS: Duration = Duration::from_secs(3);

/// How long a path that does not work is probed fast: after that it is no blip.
const HOPEFUL: Duration = Duration::from_secs(10);

/// How long the peer is told that we stood still.
const CONFESS: Duration = Duration::from_secs(2);

/// What a path was measured at.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// Loss by [`Window::ALL`].
    pub loss: [Ratios; 3],
    /// How much the delay varies there, and back.
    pub variation: [Option<Duration>; 2],
}

/// The probing of one path.
#[derive(Debug)]
pub struct Probing {
    sender: Sender,
    reflector: Reflector,
    health: Health,
    /// When the last probe left.
    last: Option<Instant>,
    /// When the next one leaves at the latest, whatever the pace.
    hurry: Option<Instant>,
    restless: Option<Instant>,
    stalled: Option<Instant>,
    change: Option<Change>,
}

impl Probing {
    /// Of a path that nothing is known of: its first probe is due now.
    pub fn new(now: Instant) -> Probing {
        Probing {
            sender: Sender::new(now),
            reflector: Reflector::default(),
            health: Health::new(now),
            last: None,
            hurry: Some(now),
            restless: None,
            stalled: None,
            change: None,
        }
    }

    /// The verdict so far.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Round trips so far.
    pub fn round_trips(&self) -> &RoundTrips {
        &self.sender.round_trips
    }

    /// Loss per direction.
    pub fn loss(&self, window: Window, now: Instant) -> Ratios {
        self.sender.ratios(window, now)
    }

    /// What was measured.
    pub fn figures(&self, now: Instant) -> Figures {
        Figures {
            loss: Window::ALL.map(|window| self.sender.ratios(window, now)),
            variation: self.sender.variation(),
        }
    }

    /// The latest change of the path's state that was not asked for yet.
    pub fn poll_change(&mut self) -> Option<Change> {
        self.change.take()
    }

    /// Writes the next probe as an inner packet. `ping`: the token to give back with its answer.
    pub fn probe(
        &mut self,
        between: (Ipv6Addr, Ipv6Addr),
        ping: Option<u32>,
        clock: &NtpClock,
        now: Instant,
    ) -> [u8; HEALTH_PROBE] {
        (self.last, self.hurry) = (Some(now), None);
        let report = self.report(now);
        self.sender.probe(between, ping, &report, clock, now)
    }

    /// Writes the answer to a probe into `out`, as [`Reflector::reflect`] does.
    pub fn reflect(
        &mut self,
        probe: &UdpV6<'_>,
        hop_limit: u8,
        clock: &NtpClock,
        now: Instant,
        out: &mut [u8],
    ) -> Option<usize> {
        let theirs = self.reflector.handle_probe(probe.payload)?;
        if self.sender.handle_report(&theirs, now) {
            self.prove(theirs.stalled, now);
        }
        let report = self.report(now);
        self.reflector.reflect(probe, hop_limit, &report, clock, now, out)
    }

    /// Takes an answer; `None` if it answers nothing under way.
    pub fn handle_reply(&mut self, payload: &[u8], clock: &NtpClock, now: Instant) -> Option<Measured> {
        let measured = self.sender.handle_reply(payload, clock, now)?;
        self.prove(measured.stalled, now);
        Some(measured)
    }

    /// Something authenticated came from the peer on this path.
    pub fn handle_heard(&mut self, now: Instant) {
        self.health.handle_heard(now);
    }

    /// Judges. Returns how many probes were given up.
    pub fn handle_timeout(&mut self, now: Instant) -> usize {
        let lost = self.sender.handle_timeout(self.health.is_heard(now), now);
        let missing = self.sender.missing(now);
        if missing.count > 0 {
            self.restless = Some(now + RESTLESS);
        }
        let evidence = Evidence {
            missing,
            allowed: self.sender.allowed(now),
            quality: self.quality(now),
        };
        let change = self.health.handle_timeout(&evidence, now);
        self.note(change);
        lost
    }

    /// When to judge or to probe next. `busy`: the path carries traffic.
    pub fn poll_timeout(&self, busy: bool, now: Instant) -> Instant {
        let missing = self.sender.missing(now);
        let verdict = self.health.poll_timeout(&missing).filter(|at| *at > now);
        let next = self.next_probe(busy, now);
        [verdict, missing.next]
            .into_iter()
            .flatten()
            .fold(next, Instant::min)
    }

    /// Whether it is time for a probe.
    pub fn is_due(&self, busy: bool, now: Instant) -> bool {
        self.next_probe(busy, now) <= now
    }

    /// The next probe leaves at `at` or before.
    pub fn hurry(&mut self, at: Instant) {
        self.hurry = Some(self.hurry.map_or(at, |hurry| hurry.min(at)));
    }

    /// The next probe leaves at `at`: nothing can be sent now.
    pub fn postpone(&mut self, at: Instant) {
        (self.last, self.hurry) = (None, Some(at));
    }

    /// The address or the interface of ours that the path used is gone: what was under way proves nothing, and the next probe
    /// leaves now.
    pub fn handle_local_loss(&mut self, now: Instant) {
        self.sender.restart();
        let change = self.health.handle_local_loss(now);
        self.note(change);
        self.hurry(now);
    }

    /// Another path to the peer went silent: what is under way, or was proven, says nothing of now. The next probe leaves at
    /// once.
    pub fn handle_doubt(&mut self, now: Instant) {
        self.sender.restart();
        let change = self.health.handle_doubt(now);
        self.note(change);
        self.hurry(now);
    }

    /// We slept: what is under way proves nothing.
    pub fn handle_stall(&mut self, now: Instant) {
        self.sender.restart();
        self.health.handle_stall(now);
        self.stalled = Some(now + CONFESS);
    }

    fn report(&self, now: Instant) -> Report {
        Report {
            heard: self.reflector.heard(),
            stalled: self.stalled.is_some_and(|until| now < until),
        }
    }

    fn prove(&mut self, stalled: bool, now: Instant) {
        let change = self.health.handle_proof(stalled, now);
        if change.is_some() {
            self.sender.forgive(now);
        }
        self.note(change);
    }

    /// Two changes that nobody asked for between them are one.
    fn note(&mut self, change: Option<Change>) {
        let Some(change) = change else { return };
        let from = self.change.map_or(change.from, |before| before.from);
        self.change = Some(Change { from, ..change });
    }

    fn quality(&self, now: Instant) -> Quality {
        Quality::of(&Measures {
            ten_seconds: self.sender.since_outage(Window::TenSeconds, now),
            minute: self.sender.since_outage(Window::Minute, now),
            rtt: self.sender.round_trips.smoothed,
            least: self.sender.least_rtt(now),
        })
    }

    fn next_probe(&self, busy: bool, now: Instant) -> Instant {
        let paced = self.last.map(|last| last + self.pace(busy, now));
        let next = self.hurry.into_iter().chain(paced).min();
        next.unwrap_or(now)
    }

    fn pace(&self, busy: bool, now: Instant) -> Duration {
        let restless = self.restless.is_some_and(|until| now < until);
        let hopeful = now.saturating_duration_since(self.health.since()) < HOPEFUL;
        match self.health.state() {
            PathState::Up | PathState::Degraded if self.sender.missing(now).count > 0 => CLOSE,
            PathState::Up | PathState::Degraded if busy || restless => BUSY,
            PathState::Suspect => BUSY,
            PathState::Down | PathState::Connecting if hopeful => BUSY,
            _ => IDLE,
        }
    }
}

#[cfg(test)]
#[path = "probing_tests.rs"]
mod tests;
