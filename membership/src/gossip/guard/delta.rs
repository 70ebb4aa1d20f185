//! The delta: blocks, plain or zstd, that hold one stream of operations.
//!
//! The stream is unfolded here within its bound, exactly as chitchat would, and every operation checked
//! in the order in which chitchat applies it.

use std::collections::BTreeSet;

use super::digest::{check_counters, read_row_id};
use super::reader::Reader;
use super::{
    Authenticity, GuardConfig, Inspected, MAX_BLOCKS, MAX_NEWS, MAX_UNFOLDED, OwnRow, RECORD_KEY,
    REVOCATION_PREFIX, RowId, Value, Violation, Vouch, decode_value,
};

// Longest that chitchat lets one block unfold to.
const MAX_BLOCK: usize = u16::MAX as usize;

const NODE: u8 = 0;
const KEY_VALUE: u8 = 1;
const SET_MAX_VERSION: u8 = 2;

const STATUS_SET: u8 = 0;
const STATUS_DELETED: u8 = 1;

pub(super) struct DeltaWalk<'c> {
    pub(super) config: &'c GuardConfig,
    pub(super) own: &'c OwnRow,
}

struct Row {
    id: RowId,
    max_version: u64,
}

impl DeltaWalk<'_> {
    pub(super) fn walk(
        &self,
        reader: &mut Reader<'_>,
        vouch: &mut impl Vouch,
        inspected: &mut Inspected<'_>,
    ) -> Result<(), Violation> {
        let stream = unfold(reader)?;
        let mut operations = Reader::new(&stream);
        let mut row: Option<Row> = None;
        let mut seen = BTreeSet::new();
        while !operations.is_empty() {
            match operations.u8()? {
                NODE => {
                    let next = self.node(&mut operations)?;
                    if !seen.insert(next.id) {
                        return Err(Violation::DuplicateRow);
                    }
                    if seen.len() > self.config.max_rows {
                        return Err(Violation::TooManyRows);
                    }
                    row = Some(next);
                }
                KEY_VALUE => {
                    let row = row.as_mut().ok_or(Violation::Malformed)?;
                    self.key_value(&mut operations, row, vouch, inspected)?;
                }
                SET_MAX_VERSION => {
                    let row = row.as_mut().ok_or(Violation::Malformed)?;
                    self.raise(row, operations.u64()?)?;
                }
                _ => return Err(Violation::Malformed),
            }
        }
        Ok(())
    }

    fn node(&self, operations: &mut Reader<'_>) -> Result<Row, Violation> {
        let id = read_row_id(operations, self.config)?;
        let (last_gc, from_version) = (operations.u64()?, operations.u64()?);
        // A collection beyond our own versions would make chitchat reset our own row.
        check_counters(&id, self.own, 0, last_gc.max(from_version))?;
        Ok(Row { id, max_version: 0 })
    }

    fn key_value(
        &self,
        operations: &mut Reader<'_>,
        row: &mut Row,
        vouch: &mut impl Vouch,
        inspected: &mut Inspected<'_>,
    ) -> Result<(), Violation> {
        let (key, value) = (operations.string()?, operations.string()?);
        let (version, status) = (operations.u64()?, operations.u8()?);
        if version <= row.max_version {
            return Err(Violation::BadCounter);
        }
        self.raise(row, version)?;
        match (revocation_id(key), status) {
            // Our own values come back to us; we have them, and chitchat ignores them.
            _ if row.id == self.own.id => Ok(()),
            (Some(_), STATUS_DELETED) if value.is_empty() => Ok(()),
            (Some(id), STATUS_SET) => {
                let bytes = decode_value(value).ok_or(Violation::BadValue)?;
                let repeated = inspected.judged.get(&id) == Some(&bytes);
                if !repeated && is_news(vouch, row, Value::Revocation(id, &bytes))? {
                    inspected.judged.insert(id, bytes.clone());
                    inspected.revocations.push(bytes);
                }
                check_news(inspected)
            }
            (None, STATUS_SET) if key == RECORD_KEY => {
                let bytes = decode_value(value).ok_or(Violation::BadValue)?;
                if is_news(vouch, row, Value::Record(&bytes))? {
                    inspected.records.push((row.id.address, bytes));
                }
                check_news(inspected)
            }
            _ => Err(Violation::BadKey),
        }
    }

    // Versions of a row only rise within a delta: chitchat asserts so when it applies it.
    fn raise(&self, row: &mut Row, version: u64) -> Result<(), Violation> {
        if version < row.max_version {
            return Err(Violation::BadCounter);
        }
        check_counters(&row.id, self.own, 0, version)?;
        row.max_version = version;
        Ok(())
    }
}

fn is_news(vouch: &mut impl Vouch, row: &Row, value: Value<'_>) -> Result<bool, Violation> {
    match vouch.judge(row.id.address, value) {
        Authenticity::Good => Ok(true),
        Authenticity::Known | Authenticity::Unwelcome => Ok(false),
        Authenticity::Forged => Err(Violation::BadValue),
    }
}

fn check_news(inspected: &Inspected<'_>) -> Result<(), Violation> {
    let news = inspected.records.len() + inspected.revocations.len();
    if news > MAX_NEWS {
        Err(Violation::TooManyValues)
    } else {
        Ok(())
    }
}

fn revocation_id(key: &str) -> Option<[u8; 16]> {
    let hex = key.strip_prefix(REVOCATION_PREFIX)?;
    let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if hex.len() != 32 || !hex.bytes().all(lower) {
        return None;
    }
    u128::from_str_radix(hex, 16).ok().map(u128::to_be_bytes)
}

fn unfold(reader: &mut Reader<'_>) -> Result<Vec<u8>, Violation> {
    let mut stream = Vec::new();
    let mut block = Vec::new();
    for _ in 0..=MAX_BLOCKS {
        let kind = reader.u8()?;
        if kind == 0 {
            return Ok(stream);
        }
        let length = usize::from(reader.u16()?);
        let bytes = reader.take(length)?;
        match kind {
            1 => {
                block.resize(MAX_BLOCK, 0);
                let unfolded = zstd::bulk::decompress_to_buffer(bytes, &mut block[..])
                    .map_err(|_| Violation::Expands)?;
                stream.extend_from_slice(block.get(..unfolded).ok_or(Violation::Expands)?);
            }
            2 => stream.extend_from_slice(bytes),
            _ => return Err(Violation::Malformed),
        }
        if stream.len() > MAX_UNFOLDED {
            return Err(Violation::Expands);
        }
    }
    Err(Violation::TooManyBlocks)
}
