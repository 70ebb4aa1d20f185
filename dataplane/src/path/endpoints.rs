//! Where a peer may be: candidates to try, and the one that is proven.
//!
//! Only an authenticated data packet moves the proven endpoint. A handshake that completes on a candidate of ours chooses it,
//! which is no move: we picked the address, the handshake only says that it works. What an operator chooses is taken at once.

use crate::batch::Endpoint;
use std::net::{IpAddr, SocketAddr};

/// Most endpoints that one initiation goes to.
pub const AT_ONCE: usize = 4;

/// The endpoints of one peer.
#[derive(Debug, Default)]
pub struct Endpoints {
    candidates: Vec<SocketAddr>,
    proven: Option<Endpoint>,
    /// The last one that data came from: what others were told.
    announced: Option<SocketAddr>,
    /// Where a handshake came from before anything is proven: good for an answer, no more.
    tentative: Option<Endpoint>,
    /// Where the last initiation went.
    targets: Vec<Endpoint>,
}

impl Endpoints {
    /// Takes the candidates of a new table. Returns whether there is one that was not there before.
    pub fn set_candidates(&mut self, candidates: &[SocketAddr]) -> bool {
        let usable = |a: &&SocketAddr| a.port() != 0 && !a.ip().is_unspecified();
        let mut new: Vec<SocketAddr> = candidates
            .iter()
            .filter(usable)
            .map(|a| Endpoint::from(*a).remote)
            .collect();
        let mut seen = std::collections::BTreeSet::new();
        new.retain(|a| seen.insert(*a));
        let more = new.iter().any(|a| !self.candidates.contains(a));
        self.candidates = new;
        more
    }

    /// An operator says where the peer is: that counts until it proves to be elsewhere.
    pub fn choose(&mut self, remote: SocketAddr) {
        let chosen = Endpoint::from(remote);
        (self.proven, self.tentative) = (Some(chosen), None);
        self.announced = Some(chosen.remote);
    }

    /// Where packets to the peer go.
    pub fn current(&self) -> Option<Endpoint> {
        self.proven.or(self.tentative)
    }

    /// These addresses of ours are gone. Returns whether packets to the peer left from one of them; the kernel chooses another
    /// for the next.
    pub fn forget_local(&mut self, lost: &[IpAddr]) -> bool {
        let hit = |e: &Endpoint| e.local.is_some_and(|local| lost.contains(&local));
        let used = self.current().is_some_and(|current| hit(&current));
        let places = self.proven.iter_mut().chain(&mut self.tentative);
        for place in places.filter(|place| hit(place)) {
            place.local = None;
        }
        used
    }

    /// The endpoint that an authenticated packet came from, or a handshake of ours completed on.
    pub fn proven(&self) -> Option<Endpoint> {
        self.proven
    }

    /// Where the next initiation goes. The first attempt trusts what is proven while the path is `alive`; later ones go
    /// through the candidates, [`AT_ONCE`] at a time.
    pub fn next_targets(&mut self, attempt: usize, alive: bool) -> &[Endpoint] {
        self.targets.clear();
        if let Some(proven) = self.proven.filter(|_| attempt == 0 && alive) {
            self.targets.push(proven);
            return &self.targets;
        }
        // Our own address may be what no longer works: the kernel chooses another.
        self.targets
            .extend(self.current().map(|known| Endpoint::from(known.remote)));
        let known = self.targets.first().map(|e| e.remote);
        let others = self.candidates.iter().filter(|a| Some(**a) != known);
        let count = others.clone().count();
        let room = AT_ONCE - self.targets.len();
        let from = if count > room { attempt * room % count } else { 0 };
        let turn = others.clone().chain(others).skip(from).take(room.min(count));
        self.targets.extend(turn.map(|a| Endpoint::from(*a)));
        &self.targets
    }

    /// Where the last initiation went.
    pub fn targets(&self) -> &[Endpoint] {
        &self.targets
    }

    /// Whether our last initiation went to this place.
    pub fn is_target(&self, remote: SocketAddr) -> bool {
        self.targets.iter().any(|t| t.remote == remote)
    }

    /// The peer is here, as an authenticated packet elsewhere showed.
    pub fn move_to(&mut self, place: SocketAddr) {
        self.proven = Some(Endpoint::from(place));
        self.tentative = None;
    }

    /// A handshake message that checks out came from here. As an answer to ours from a place that we had tried it settles the
    /// choice among the candidates; otherwise it only says where to answer while nothing is proven.
    pub fn handle_handshake(&mut self, from: Endpoint, is_answer: bool) {
        if is_answer && self.is_target(from.remote) {
            self.proven = Some(from);
        } else if self.proven.is_none() {
            self.tentative = Some(from);
        }
    }

    /// An authenticated data packet came from here, the newest of its session. Returns where the one before it came from, if
    /// that was elsewhere (`Some(None)`: it is the first).
    pub fn handle_data(&mut self, from: Endpoint) -> Option<Option<SocketAddr>> {
        self.proven = Some(from);
        if self.announced == Some(from.remote) {
            return None;
        }
        Some(self.announced.replace(from.remote))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(n: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], n))
    }

    fn ports(targets: &[Endpoint]) -> Vec<u16> {
        targets.iter().map(|t| t.remote.port()).collect()
    }

    fn with(candidates: std::ops::Range<u16>) -> Endpoints {
        let mut endpoints = Endpoints::default();
        endpoints.set_candidates(&candidates.map(at).collect::<Vec<_>>());
        endpoints
    }

    #[test]
    fn all_candidates_get_their_turn_four_at_once() {
        let mut endpoints = with(1..11);
        assert_eq!(ports(endpoints.next_targets(0, true)), [1, 2, 3, 4]);
        assert_eq!(ports(endpoints.next_targets(1, true)), [5, 6, 7, 8]);
        assert_eq!(ports(endpoints.next_targets(2, true)), [9, 10, 1, 2]);
        assert_eq!(ports(with(1..3).next_targets(7, true)), [1, 2]);
        assert!(with(0..1).next_targets(0, true).is_empty(), "port 0 is no place");
    }

    #[test]
    fn the_endpoint_that_answered_is_kept_until_the_path_dies() {
        let mut endpoints = with(1..4);
        endpoints.next_targets(0, true);
        endpoints.handle_handshake(at(2).into(), true);
        assert_eq!(ports(endpoints.next_targets(0, true)), [2]);
        assert_eq!(ports(endpoints.next_targets(1, true)), [2, 1, 3]);
        assert_eq!(ports(endpoints.next_targets(0, false)), [2, 1, 3]);
    }

    #[test]
    fn a_search_is_not_bound_to_the_address_of_ours_that_worked() {
        let mut endpoints = with(1..2);
        let from = Endpoint {
            remote: at(1),
            local: Some([198, 51, 100, 1].into()),
        };
        endpoints.handle_data(from);
        assert_eq!(endpoints.next_targets(0, true), [from]);
        assert_eq!(endpoints.next_targets(0, false), [Endpoint::from(at(1))]);
        assert_eq!(endpoints.next_targets(1, true), [Endpoint::from(at(1))]);
    }

    #[test]
    fn an_address_of_ours_that_is_gone_is_used_no_more() {
        let mut endpoints = with(1..2);
        let ours: IpAddr = [198, 51, 100, 1].into();
        assert!(!endpoints.forget_local(&[ours]));
        endpoints.handle_data(Endpoint {
            remote: at(1),
            local: Some(ours),
        });
        assert!(!endpoints.forget_local(&[[198, 51, 100, 2].into()]));
        assert!(endpoints.forget_local(&[ours]));
        assert_eq!(endpoints.current(), Some(Endpoint::from(at(1))));
    }

    #[test]
    fn a_handshake_moves_nothing_that_is_proven() {
        let mut endpoints = with(1..2);
        endpoints.handle_data(at(1).into());
        endpoints.handle_handshake(at(9).into(), false);
        endpoints.handle_handshake(at(9).into(), true);
        assert_eq!(endpoints.current(), Some(at(1).into()));
    }

    #[test]
    fn authenticated_data_moves_it_and_says_from_where() {
        let mut endpoints = Endpoints::default();
        endpoints.handle_handshake(at(1).into(), false);
        assert_eq!(
            (endpoints.current(), endpoints.proven()),
            (Some(at(1).into()), None)
        );
        assert_eq!(endpoints.handle_data(at(1).into()), Some(None));
        assert_eq!(endpoints.handle_data(at(2).into()), Some(Some(at(1))));
        assert_eq!(endpoints.handle_data(at(2).into()), None);
    }

    #[test]
    fn a_chosen_endpoint_counts_until_the_peer_proves_another() {
        let mut endpoints = with(1..2);
        endpoints.handle_data(at(1).into());
        endpoints.choose(at(5));
        assert_eq!(endpoints.current(), Some(at(5).into()));
        assert_eq!(endpoints.handle_data(at(5).into()), None);
        assert_eq!(endpoints.handle_data(at(1).into()), Some(Some(at(5))));
    }

    #[test]
    fn a_mapped_and_a_repeated_candidate_are_one() {
        let mut endpoints = Endpoints::default();
        let mapped: SocketAddr = "[::ffff:192.0.2.1]:1".parse().unwrap();
        assert!(endpoints.set_candidates(&[at(1), mapped, at(1)]));
        assert_eq!(ports(endpoints.next_targets(0, true)), [1]);
        assert!(!endpoints.set_candidates(&[mapped]));
    }
}
