//! Whom a relay relays for: soft state that both ends renew.

use super::Session;
use crate::table::PeerId;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

/// A half that was not renewed for this long has ended.
pub const LIFETIME: Duration = Duration::from_secs(30);

/// An end renews its half this often.
pub const RENEW: Duration = Duration::from_secs(10);

/// A half younger than this need not be asked for again.
const FRESH: Duration = Duration::from_secs(5);

/// Most sessions, halves included.
pub const MOST: usize = 4_096;

/// Most sessions that one member may have opened: one for each peer of a large mesh.
pub const MOST_OF_ONE: usize = 512;

/// A member: who, and where it stands in the table of now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub id: PeerId,
    /// Its index.
    pub peer: u32,
}

#[derive(Clone, Copy, Debug)]
struct End {
    member: Member,
    bound: Option<Instant>,
}

impl End {
    fn is_bound(&self, now: Instant) -> bool {
        self.age(now).is_some_and(|age| age < LIFETIME)
    }

    fn age(&self, now: Instant) -> Option<Duration> {
        self.bound.map(|at| now.saturating_duration_since(at))
    }
}

/// One pair. The end that opened it comes first.
#[derive(Clone, Copy, Debug)]
struct Pair {
    ends: [End; 2],
}

impl Pair {
    fn is_complete(&self, now: Instant) -> bool {
        self.ends.iter().all(|end| end.is_bound(now))
    }
}

/// What a relay says to a bind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The session of the pair.
    pub session: Session,
    /// Whether both ends have bound.
    pub complete: bool,
    /// Whether the other end is to be asked: its half is missing, or will be.
    pub offer: bool,
}

/// There is no room for another session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// The sessions of one relay.
#[derive(Debug)]
pub struct Sessions {
    pairs: BTreeMap<Session, Pair>,
    by_ends: BTreeMap<(PeerId, PeerId), Session>,
    seed: u64,
    made: u64,
}

impl Sessions {
    /// `seed`: random; what makes sessions that nobody guesses.
    pub fn new(seed: u64) -> Sessions {
        Sessions {
            pairs: BTreeMap::new(),
            by_ends: BTreeMap::new(),
            seed,
            made: 0,
        }
    }

    /// `from` wants, or still wants, to reach `other`.
    pub fn handle_bind(&mut self, from: Member, other: Member, now: Instant) -> Result<Taken, Full> {
        let session = match self.by_ends.get(&ordered(from.id, other.id)) {
            Some(session) => *session,
            None => self.open(from, other, now)?,
        };
        let pair = self.pairs.get_mut(&session).ok_or(Full)?;
        let mut offer = true;
        for end in &mut pair.ends {
            if end.member.id == from.id {
                end.bound = Some(now);
            } else {
                offer = end.age(now).is_none_or(|age| age >= FRESH);
            }
        }
        Ok(Taken {
            session,
            complete: pair.is_complete(now),
            offer,
        })
    }

    /// An end does not want it any more.
    pub fn handle_unbind(&mut self, from: &PeerId, other: &PeerId) {
        if let Some(session) = self.by_ends.remove(&ordered(*from, *other)) {
            self.pairs.remove(&session);
        }
    }

    /// The ends of a session that both have bound; as indices in the table.
    pub fn ends(&self, session: Session, now: Instant) -> Option<[u32; 2]> {
        let pair = self.pairs.get(&session)?;
        pair.is_complete(now)
            .then(|| pair.ends.map(|end| end.member.peer))
    }

    /// Whether a session is one of these, complete or not.
    pub fn contains(&self, session: Session) -> bool {
        self.pairs.contains_key(&session)
    }

    /// How many there are that packets may pass through.
    pub fn complete(&self, now: Instant) -> usize {
        self.pairs.values().filter(|pair| pair.is_complete(now)).count()
    }

    /// There is a new table: `index` says where a member stands in it.
    pub fn handle_table(&mut self, index: impl Fn(&PeerId) -> Option<u32>) {
        self.keep(|pair| {
            pair.ends.iter_mut().all(|end| match index(&end.member.id) {
                Some(peer) => {
                    end.member.peer = peer;
                    true
                }
                None => false,
            })
        });
    }

    /// Forgets what was not renewed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.keep(|pair| pair.ends.iter().any(|end| end.is_bound(now)));
    }

    /// Nobody is relayed for any more.
    pub fn clear(&mut self) {
        self.pairs.clear();
        self.by_ends.clear();
    }

    fn keep(&mut self, keep: impl FnMut(&mut Pair) -> bool) {
        let mut keep = keep;
        self.pairs.retain(|_, pair| keep(pair));
        let pairs = &self.pairs;
        self.by_ends.retain(|_, session| pairs.contains_key(session));
    }

    fn open(&mut self, from: Member, other: Member, now: Instant) -> Result<Session, Full> {
        if !self.has_room(&from.id) {
            self.handle_timeout(now);
        }
        if !self.has_room(&from.id) {
            return Err(Full);
        }
        let session = self.next_session();
        let end = |member| End { member, bound: None };
        let ends = [end(from), end(other)];
        self.pairs.insert(session, Pair { ends });
        self.by_ends.insert(ordered(from.id, other.id), session);
        Ok(session)
    }

    fn has_room(&self, opener: &PeerId) -> bool {
        let opened = |pair: &&Pair| pair.ends[0].member.id == *opener;
        self.pairs.len() < MOST && self.pairs.values().filter(opened).count() < MOST_OF_ONE
    }

    fn next_session(&mut self) -> Session {
        loop {
            self.made = self.made.wrapping_add(1);
            let mut hash = DefaultHasher::new();
            (self.seed, self.made).hash(&mut hash);
            let session = Session(hash.finish());
            if !self.pairs.contains_key(&session) {
                return session;
            }
        }
    }
}

fn ordered(a: PeerId, b: PeerId) -> (PeerId, PeerId) {
    if a < b { (a, b) } else { (b, a) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "a test's first instant")]
        Instant::now()
    }

    fn member(n: u32) -> Member {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&n.to_be_bytes());
        Member { id, peer: n }
    }

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn a_session_is_there_when_both_ends_have_bound() {
        let (mut sessions, now) = (Sessions::new(1), start());
        let (a, b) = (member(1), member(2));
        let first = sessions.handle_bind(a, b, now).unwrap();
        assert!(!first.complete && first.offer);
        assert_eq!(sessions.ends(first.session, now), None);
        let second = sessions.handle_bind(b, a, now).unwrap();
        assert!(second.complete && !second.offer);
        assert_eq!(second.session, first.session);
        assert_eq!(sessions.ends(first.session, now), Some([1, 2]));
    }

    #[test]
    fn a_half_that_is_not_renewed_ends_the_session_and_then_goes() {
        let (mut sessions, now) = (Sessions::new(1), start());
        let (a, b) = (member(1), member(2));
        let session = sessions.handle_bind(a, b, now).unwrap().session;
        sessions.handle_bind(b, a, now).unwrap();
        let renewed = sessions.handle_bind(a, b, now + 20 * S).unwrap();
        assert!(renewed.complete && renewed.offer, "the other half is old");
        assert_eq!(sessions.ends(session, now + LIFETIME), None);
        sessions.handle_timeout(now + LIFETIME);
        assert!(sessions.contains(session), "one end still wants it");
        sessions.handle_timeout(now + 20 * S + LIFETIME);
        assert!(!sessions.contains(session));
    }

    #[test]
    fn one_member_cannot_take_all_the_room() {
        let (mut sessions, now) = (Sessions::new(1), start());
        let bind = |sessions: &mut Sessions, n, now| sessions.handle_bind(member(0), member(n), now);
        for n in 1..=MOST_OF_ONE as u32 {
            bind(&mut sessions, n, now).unwrap();
        }
        assert_eq!(bind(&mut sessions, 9_999, now), Err(Full));
        assert!(bind(&mut sessions, 1, now).is_ok(), "what it has it keeps");
        assert!(sessions.handle_bind(member(1), member(2), now).is_ok());
        assert!(
            bind(&mut sessions, 9_999, now + LIFETIME).is_ok(),
            "what is old makes room"
        );
    }

    #[test]
    fn all_members_together_have_a_bound_too() {
        let (mut sessions, now) = (Sessions::new(1), start());
        let mut opened = 0;
        for a in 0..20 {
            for b in 0..300 {
                let taken = sessions.handle_bind(member(a), member(1_000 + b), now);
                opened += usize::from(taken.is_ok());
            }
        }
        assert_eq!(opened, MOST);
    }

    #[test]
    fn members_that_leave_take_their_sessions_and_the_others_move() {
        let (mut sessions, now) = (Sessions::new(1), start());
        let bound = |sessions: &mut Sessions, a, b| {
            sessions.handle_bind(member(a), member(b), now).unwrap();
            sessions.handle_bind(member(b), member(a), now).unwrap().session
        };
        let (gone, kept) = (bound(&mut sessions, 1, 2), bound(&mut sessions, 1, 3));
        sessions.handle_table(|id| (*id != member(2).id).then_some(7));
        assert_eq!(sessions.ends(gone, now), None);
        assert_eq!(sessions.ends(kept, now), Some([7, 7]));
        sessions.handle_unbind(&member(3).id, &member(1).id);
        assert_eq!((sessions.ends(kept, now), sessions.complete(now)), (None, 0));
    }

    #[test]
    fn sessions_are_not_guessed_without_the_seed() {
        let now = start();
        let session = |seed| {
            let taken = Sessions::new(seed).handle_bind(member(1), member(2), now);
            taken.unwrap().session
        };
        assert_ne!(session(1), session(2));
    }
}
