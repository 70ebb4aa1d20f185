//! The digest: which rows the sender has, and how much of each.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::reader::Reader;
use super::{GuardConfig, Inspected, MAX_COUNTER, MAX_GENERATION, OwnRow, RowId, Violation, Vouch};

// Header of a message, before the digest's count of rows.
const HEAD_BYTES: usize = 4;
// Identity and three counters.
const ROW_BYTES: usize = 53;

pub(super) struct Digest<'a> {
    rows: Vec<(RowId, &'a [u8])>,
}

impl<'a> Digest<'a> {
    pub(super) fn read(
        reader: &mut Reader<'a>,
        config: &GuardConfig,
        own: &OwnRow,
    ) -> Result<Self, Violation> {
        let count = usize::from(reader.u16()?);
        if count > config.max_rows {
            return Err(Violation::TooManyRows);
        }
        let mut rows = Vec::with_capacity(count);
        let mut seen = BTreeSet::new();
        for _ in 0..count {
            let bytes = reader.rest().get(..ROW_BYTES).ok_or(Violation::Malformed)?;
            let id = read_row_id(reader, config)?;
            let (heartbeat, last_gc, max_version) = (reader.u64()?, reader.u64()?, reader.u64()?);
            check_counters(&id, own, heartbeat, last_gc.max(max_version))?;
            if !seen.insert(id) {
                return Err(Violation::DuplicateRow);
            }
            rows.push((id, bytes));
        }
        Ok(Digest { rows })
    }

    /// Cuts out rows that are neither a member's, nor ours, nor vouched for by a record found beside
    /// them. `tail` is what follows the digest in the message.
    pub(super) fn strip(
        self,
        own: &OwnRow,
        vouch: &mut impl Vouch,
        tail: &[u8],
        inspected: &mut Inspected<'_>,
    ) {
        let vouched: BTreeSet<_> = inspected.records.iter().map(|(address, _)| *address).collect();
        let mut keeps = |id: &RowId| *id == own.id || vouch.admits(id, vouched.contains(&id.address));
        let (kept, cut): (Vec<_>, Vec<_>) = self.rows.into_iter().partition(|(id, _)| keeps(id));
        if cut.is_empty() {
            return;
        }
        inspected.stripped = cut.len();
        let mut message = inspected.message.get(..HEAD_BYTES).unwrap_or_default().to_vec();
        // At most as many as were read from a u16.
        message.extend((kept.len() as u16).to_le_bytes());
        kept.iter()
            .for_each(|(_, bytes)| message.extend_from_slice(bytes));
        message.extend_from_slice(tail);
        inspected.message = Cow::Owned(message);
    }
}

/// A row's identity, checked to lie in this mesh.
pub(super) fn read_row_id(reader: &mut Reader<'_>, config: &GuardConfig) -> Result<RowId, Violation> {
    let (id, port) = reader.row_id()?;
    if port != config.port || !config.prefix.contains(&id.address) {
        return Err(Violation::ForeignId);
    }
    if id.generation > MAX_GENERATION {
        return Err(Violation::BadCounter);
    }
    Ok(id)
}

/// No counter beyond what any start could reach, and none of our own row beyond ours.
pub(super) fn check_counters(
    id: &RowId,
    own: &OwnRow,
    heartbeat: u64,
    version: u64,
) -> Result<(), Violation> {
    if heartbeat > MAX_COUNTER || version > MAX_COUNTER {
        return Err(Violation::BadCounter);
    }
    if *id == own.id && (heartbeat > own.heartbeat || version > own.max_version) {
        return Err(Violation::OwnRowAhead {
            heartbeat,
            max_version: version,
        });
    }
    Ok(())
}
