//! What stands between the guard and the voucher: the cap on rows (known ones stay, new ones come in while
//! there is room), and a memory of what was verified a moment ago, for a new record comes from several
//! members before the voucher knows it.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use sha2::{Digest, Sha256};

use super::guard::{Authenticity, RowId, Value, Vouch};

/// Generations of one node that may have a row: the current one and the ghost of the one before.
const GENERATIONS: usize = 2;

/// Verified values that are remembered; the voucher knows them soon.
const MAX_JUDGED: usize = 1024;

/// Values found good and handed on, so that they need no second verification.
#[derive(Default)]
pub(crate) struct Judged {
    good: BTreeSet<(Ipv6Addr, [u8; 32])>,
}

/// Vouches as `inner` does, within the bounds of a table.
pub(crate) struct RowVouch<'j, V> {
    inner: V,
    judged: &'j mut Judged,
    rows: BTreeSet<RowId>,
    max_rows: usize,
    full: bool,
}

impl<'j, V: Vouch> RowVouch<'j, V> {
    /// `rows`: the table as it is, our own row included.
    pub(crate) fn new(inner: V, judged: &'j mut Judged, rows: BTreeSet<RowId>, max_rows: usize) -> Self {
        RowVouch {
            inner,
            judged,
            rows,
            max_rows,
            full: false,
        }
    }

    /// Whether a member's row was cut out for want of room.
    pub(crate) fn is_full(&self) -> bool {
        self.full
    }

    fn has_generation_to_spare(&self, address: Ipv6Addr) -> bool {
        let first = RowId {
            address,
            generation: 0,
        };
        let last = RowId {
            address,
            generation: u64::MAX,
        };
        self.rows.range(first..=last).count() < GENERATIONS
    }
}

impl<V: Vouch> Vouch for RowVouch<'_, V> {
    fn admits(&mut self, row: &RowId, vouched: bool) -> bool {
        if !self.inner.admits(row, vouched) {
            return false;
        }
        if self.rows.contains(row) {
            return true;
        }
        self.full |= self.rows.len() >= self.max_rows;
        let admitted = self.rows.len() < self.max_rows && self.has_generation_to_spare(row.address);
        if admitted {
            self.rows.insert(*row);
        }
        admitted
    }

    fn judge(&mut self, address: Ipv6Addr, value: Value<'_>) -> Authenticity {
        let key = (address, hash(&value));
        if self.judged.good.contains(&key) {
            return Authenticity::Known;
        }
        let judged = self.inner.judge(address, value);
        if judged == Authenticity::Good {
            if self.judged.good.len() >= MAX_JUDGED {
                self.judged.good.clear();
            }
            self.judged.good.insert(key);
        }
        judged
    }
}

fn hash(value: &Value<'_>) -> [u8; 32] {
    match value {
        Value::Record(bytes) => Sha256::digest(bytes).into(),
        Value::Revocation(id, bytes) => Sha256::new()
            .chain_update(id)
            .chain_update(bytes)
            .finalize()
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Anybody;

    impl Vouch for Anybody {
        fn admits(&mut self, _: &RowId, _: bool) -> bool {
            true
        }

        fn judge(&mut self, _: Ipv6Addr, _: Value<'_>) -> Authenticity {
            Authenticity::Good
        }
    }

    fn row(node: u16, generation: u64) -> RowId {
        RowId {
            address: Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, node),
            generation,
        }
    }

    #[test]
    fn a_full_table_keeps_its_rows_and_takes_no_new_ones() {
        let mut judged = Judged::default();
        let mut vouch = RowVouch::new(Anybody, &mut judged, (0..3).map(|node| row(node, 0)).collect(), 4);
        assert!(vouch.admits(&row(3, 0), false));
        assert!(!vouch.is_full());
        assert!(!vouch.admits(&row(4, 0), true));
        assert!(vouch.is_full());
        assert!(vouch.admits(&row(0, 0), false));
    }

    #[test]
    fn one_member_cannot_fill_the_table_with_generations() {
        let mut judged = Judged::default();
        let mut vouch = RowVouch::new(Anybody, &mut judged, BTreeSet::from([row(0, 0)]), 1000);
        let admitted = (0..100)
            .filter(|generation| vouch.admits(&row(1, *generation), true))
            .count();
        assert_eq!(admitted, GENERATIONS);
        assert!(!vouch.is_full());
    }
}
