//! What became of numbered datagrams: a pure account of those that arrived.

use std::collections::BTreeSet;
use std::time::Duration;

/// A pause longer than this breaks a steady flow.
const PAUSE: Duration = Duration::from_millis(100);

/// One datagram: its number (from 1 on), and when it was sent and received, on one clock.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// Its number.
    pub number: u64,
    /// When it was sent.
    pub sent: Duration,
    /// When it was received.
    pub received: Duration,
}

/// The account, from some datagram on.
#[derive(Clone, Debug, Default)]
pub struct Arrivals {
    /// Datagrams that arrived, second copies not included.
    pub received: u64,
    /// Came after one with a higher number.
    pub late: u64,
    /// Came a second time.
    pub duplicates: u64,
    /// The longest time without a datagram, less the beat.
    pub longest_gap: Duration,
    /// The same, less what the sending thread itself was late, and at least a beat for each datagram lost in a row (a late
    /// reader would hide them): that is the network's.
    pub longest_own_gap: Duration,
    /// When the latter ended.
    pub longest_at: Duration,
    beat: Duration,
    last: Option<Arrival>,
    /// Numbers up to this one belong to an earlier account, or came before the first that was seen.
    before: u64,
    highest: u64,
    missing: BTreeSet<u64>,
    /// From this number on all came, without a pause.
    steady_from: u64,
}

impl Arrivals {
    /// An empty account of a stream with one datagram a `beat`.
    pub fn new(beat: Duration) -> Arrivals {
        Arrivals {
            beat,
            ..Arrivals::default()
        }
    }

    /// Ends this account and begins the next: a gap that is under way counts in the latter.
    pub fn turn_page(&mut self) -> Arrivals {
        let next = Arrivals {
            last: self.last,
            before: self.highest,
            highest: self.highest,
            steady_from: self.highest,
            ..Arrivals::new(self.beat)
        };
        std::mem::replace(self, next)
    }

    /// Datagrams that did not arrive although later ones did.
    pub fn lost(&self) -> u64 {
        self.missing.len() as u64
    }

    /// The highest number that arrived.
    pub fn highest(&self) -> u64 {
        self.highest
    }

    /// How many datagrams in a row arrived last, without a hole or a pause.
    pub fn steady(&self) -> u64 {
        self.highest - self.steady_from
    }

    /// When the last one arrived.
    pub fn last_received(&self) -> Option<Duration> {
        self.last.map(|last| last.received)
    }

    /// The stream ended after this number: what did not arrive by now is lost.
    pub fn end(&mut self, number: u64) {
        self.missing.extend(self.highest + 1..=number);
        self.highest = self.highest.max(number);
    }

    /// A datagram arrived.
    pub fn see(&mut self, arrival: Arrival) {
        if arrival.number <= self.highest {
            self.see_late(arrival);
            return;
        }
        self.received += 1;
        if self.last.is_none() {
            self.before = arrival.number - 1;
        } else if arrival.number > self.highest + 1 {
            self.missing.extend(self.highest + 1..arrival.number);
            self.steady_from = arrival.number;
        }
        if let Some(last) = self.last {
            self.see_gap(last, arrival);
        }
        self.highest = arrival.number;
        self.last = Some(arrival);
    }

    /// A number that was passed: missing until now, or a copy. Those of an earlier account count nowhere.
    fn see_late(&mut self, arrival: Arrival) {
        if self.missing.remove(&arrival.number) {
            self.received += 1;
            self.late += 1;
        } else if arrival.number > self.before {
            self.duplicates += 1;
        }
        if let Some(last) = &mut self.last {
            last.received = arrival.received;
        }
    }

    fn see_gap(&mut self, last: Arrival, arrival: Arrival) {
        let gap = arrival
            .received
            .saturating_sub(last.received)
            .saturating_sub(self.beat);
        let lost = u32::try_from(arrival.number - last.number - 1).unwrap_or(u32::MAX);
        let own = gap.saturating_sub(self.pause_of_the_sender(last, arrival));
        let own = own.max(self.beat * lost);
        if gap > PAUSE {
            self.steady_from = arrival.number;
        }
        self.longest_gap = self.longest_gap.max(gap);
        if own > self.longest_own_gap {
            (self.longest_own_gap, self.longest_at) = (own, arrival.received);
        }
    }

    /// How much longer than its beat the sender took from one datagram to a later one.
    fn pause_of_the_sender(&self, last: Arrival, later: Arrival) -> Duration {
        let steps = u32::try_from(later.number - last.number).unwrap_or(u32::MAX);
        let sent = later.sent.saturating_sub(last.sent);
        sent.saturating_sub(self.beat * steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Numbers with their times of sending and receiving, in milliseconds.
    fn account(datagrams: &[(u64, u32, u32)]) -> Arrivals {
        let mut arrivals = Arrivals::new(MS);
        see(&mut arrivals, datagrams);
        arrivals
    }

    fn see(arrivals: &mut Arrivals, datagrams: &[(u64, u32, u32)]) {
        for (number, sent, received) in datagrams {
            arrivals.see(Arrival {
                number: *number,
                sent: MS * *sent,
                received: MS * *received,
            });
        }
    }

    #[test]
    fn lost_datagrams_make_a_gap_of_the_network() {
        let arrivals = account(&[(1, 1, 2), (2, 2, 3), (60, 60, 61)]);
        assert_eq!(arrivals.lost(), 57);
        assert_eq!(arrivals.longest_gap, 57 * MS);
        assert_eq!(arrivals.longest_own_gap, 57 * MS);
        assert_eq!(arrivals.longest_at, 61 * MS);
    }

    #[test]
    fn late_sender_is_not_the_network() {
        let arrivals = account(&[(1, 1, 2), (2, 41, 42), (3, 42, 43)]);
        assert_eq!(arrivals.longest_gap, 39 * MS);
        assert_eq!(arrivals.longest_own_gap, Duration::ZERO);
        assert_eq!(arrivals.lost(), 0);
    }

    #[test]
    fn late_reader_does_not_hide_an_outage() {
        let arrivals = account(&[(1, 1, 400), (2, 2, 400), (300, 300, 405)]);
        assert_eq!(arrivals.longest_gap, 4 * MS);
        assert_eq!(arrivals.longest_own_gap, 297 * MS);
    }

    #[test]
    fn lower_number_after_a_higher_one_is_late_and_not_lost() {
        let arrivals = account(&[(1, 1, 2), (3, 3, 4), (2, 2, 5), (4, 4, 6)]);
        assert_eq!((arrivals.received, arrivals.late, arrivals.lost()), (4, 1, 0));
    }

    #[test]
    fn stream_that_begins_out_of_order_has_no_duplicates() {
        let arrivals = account(&[(3, 3, 4), (1, 1, 5), (2, 2, 6), (4, 4, 7)]);
        assert_eq!((arrivals.lost(), arrivals.duplicates), (0, 0));
    }

    #[test]
    fn second_copy_is_a_duplicate() {
        let arrivals = account(&[(1, 1, 2), (2, 2, 3), (2, 2, 3), (1, 1, 4)]);
        assert_eq!((arrivals.received, arrivals.duplicates), (2, 2));
    }

    #[test]
    fn gap_over_the_turn_of_a_page_counts_on_the_next() {
        let mut arrivals = account(&[(1, 1, 2), (2, 2, 3)]);
        let first = arrivals.turn_page();
        see(&mut arrivals, &[(2, 2, 4), (400, 400, 403), (401, 401, 404)]);
        assert_eq!((first.lost(), first.longest_gap), (0, Duration::ZERO));
        assert_eq!((arrivals.lost(), arrivals.longest_gap), (397, 398 * MS));
        assert_eq!((arrivals.received, arrivals.duplicates), (2, 0));
    }

    #[test]
    fn flow_is_steady_from_the_last_hole_or_pause_on() {
        let mut arrivals = account(&[(1, 1, 2), (2, 2, 3), (9, 9, 10)]);
        assert_eq!(arrivals.steady(), 0);
        see(&mut arrivals, &[(10, 10, 11), (11, 11, 12)]);
        assert_eq!(arrivals.steady(), 2);
        see(&mut arrivals, &[(12, 12, 500)]);
        assert_eq!(arrivals.steady(), 0);
    }

    #[test]
    fn what_is_sent_last_may_be_lost_too() {
        let mut arrivals = account(&[(1, 1, 2), (2, 2, 3)]);
        arrivals.end(5);
        assert_eq!(arrivals.lost(), 3);
    }
}
