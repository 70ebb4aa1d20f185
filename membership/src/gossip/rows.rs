//! The cap on gossip rows: known rows stay, new ones come in while there is room.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use super::guard::{Authenticity, RowId, Value, Vouch};
use crate::directory::Voucher;

/// Generations of one node that may have a row: the current one and the ghost of the one before.
const GENERATIONS: usize = 2;

/// A [`Voucher`] that also knows the table and its cap.
pub(crate) struct RowVouch {
    voucher: Voucher,
    rows: BTreeSet<RowId>,
    max_rows: usize,
    full: bool,
}

impl RowVouch {
    pub(crate) fn new(voucher: Voucher, rows: BTreeSet<RowId>, max_rows: usize) -> Self {
        RowVouch { voucher, rows, max_rows, full: false }
    }

    /// Whether a member's row was cut out for want of room.
    pub(crate) fn is_full(&self) -> bool {
        self.full
    }
}
