//! Where others see us: addresses reported by the far ends of our connections.
//!
//! A gateway behind a cloud's 1:1 NAT does not know its own address; those that it talks to do. Each
//! reporter has one vote per address family, its latest, and votes fade, so that a liar can add one
//! address at most, last in the list, and an address that we lost goes away.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use meshnode_crypto::NodeId;

use crate::record::is_dialable;

/// Most observed endpoints that are published.
pub const MAX_PUBLISHED: usize = 4;
/// How long a report counts.
pub const MAX_AGE: Duration = Duration::from_secs(2 * 3600);

// One a member and family at the default cap.
const MAX_REPORTS: usize = 2048;

#[derive(Clone, Copy, Debug)]
struct Report {
    endpoint: SocketAddr,
    at: Instant,
}

/// Votes on our own addresses.
#[derive(Debug, Default)]
pub struct ObservedEndpoints {
    reports: BTreeMap<(NodeId, bool), Report>,
}

impl ObservedEndpoints {
    /// Nobody has reported yet.
    pub fn new() -> Self {
        ObservedEndpoints::default()
    }

    /// `reporter` sees us at `endpoint`; what cannot be dialled is ignored.
    pub fn handle_report(&mut self, reporter: NodeId, endpoint: SocketAddr, now: Instant) {
        let endpoint = SocketAddr::new(endpoint.ip().to_canonical(), endpoint.port());
        let key = (reporter, endpoint.is_ipv6());
        let has_room = self.reports.len() < MAX_REPORTS || self.reports.contains_key(&key);
        if is_dialable(&endpoint) && !endpoint.ip().is_loopback() && has_room {
            self.reports.insert(key, Report { endpoint, at: now });
        }
    }

    /// Forgets what is too old.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.reports
            .retain(|_, report| now.saturating_duration_since(report.at) < MAX_AGE);
    }

    /// When the next report gets too old.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.reports.values().map(|report| report.at + MAX_AGE).min()
    }

    /// What to publish: at most [`MAX_PUBLISHED`], most reporters first.
    pub fn endpoints(&self) -> Vec<SocketAddr> {
        let mut votes: BTreeMap<SocketAddr, usize> = BTreeMap::new();
        self.reports
            .values()
            .for_each(|report| *votes.entry(report.endpoint).or_default() += 1);
        let mut ranked: Vec<_> = votes.into_iter().collect();
        ranked.sort_by_key(|(endpoint, votes)| (std::cmp::Reverse(*votes), *endpoint));
        ranked
            .into_iter()
            .take(MAX_PUBLISHED)
            .map(|(endpoint, _)| endpoint)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshnode_crypto::SigningKey;

    fn node(n: u8) -> NodeId {
        SigningKey::from_seed([n; 32]).public_key()
    }

    #[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
    fn start() -> Instant {
        Instant::now()
    }

    fn endpoint(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn most_reporters_come_first_and_four_are_enough() {
        let now = start();
        let mut observed = ObservedEndpoints::new();
        for n in 1..=3 {
            observed.handle_report(node(n), endpoint("203.0.113.9:51820"), now);
        }
        for n in 4..=9 {
            observed.handle_report(node(n), endpoint(&format!("198.51.100.{n}:51820")), now);
        }
        assert_eq!(observed.endpoints().len(), MAX_PUBLISHED);
        assert_eq!(observed.endpoints()[0], endpoint("203.0.113.9:51820"));
    }

    #[test]
    fn one_reporter_has_one_vote_per_family() {
        let now = start();
        let mut observed = ObservedEndpoints::new();
        for n in 0..50 {
            observed.handle_report(node(1), endpoint(&format!("198.51.100.{n}:51820")), now);
        }
        observed.handle_report(node(1), endpoint("[2001:db8::1]:51820"), now);
        assert_eq!(
            observed.endpoints(),
            [endpoint("198.51.100.49:51820"), endpoint("[2001:db8::1]:51820")]
        );
    }

    #[test]
    fn reports_fade() {
        let now = start();
        let mut observed = ObservedEndpoints::new();
        observed.handle_report(node(1), endpoint("203.0.113.9:51820"), now);
        let end = observed.poll_timeout().unwrap();
        observed.handle_timeout(end);
        assert!(observed.endpoints().is_empty());
    }

    #[test]
    fn what_cannot_be_dialled_is_ignored_and_mapped_addresses_are_ipv4() {
        let now = start();
        let mut observed = ObservedEndpoints::new();
        for text in [
            "0.0.0.0:1",
            "127.0.0.1:1",
            "203.0.113.9:0",
            "224.0.0.1:5",
            "[::]:1",
        ] {
            observed.handle_report(node(1), endpoint(text), now);
        }
        assert!(observed.endpoints().is_empty());
        observed.handle_report(node(1), endpoint("[::ffff:203.0.113.9]:7"), now);
        assert_eq!(observed.endpoints(), [endpoint("203.0.113.9:7")]);
    }
}
