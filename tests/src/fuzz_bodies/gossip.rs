//! The guard in front of chitchat: what passes it must be harmless to decode.

use std::net::Ipv6Addr;

use chitchat::{ChitchatMessage, Deserializable};
use ipnet::Ipv6Net;
use meshnode_membership::gossip::guard::{self, Authenticity, GuardConfig, OwnRow, RowId, Value, Vouch};

const PORT: u16 = 1;
const CLUSTER: &str = "mesh";
const MAX_ROWS: usize = 100;

/// Any bytes as a gossip message, and as the operations inside one.
pub fn gossip_guard(data: &[u8]) {
    check_message(data);
    if data.len() < 60_000 {
        check_message(&message(2, &[block(2, data)]));
    }
}

fn check_message(data: &[u8]) {
    let Ok(passed) = guard::inspect(data, &config(), &own(), &mut Lenient) else {
        return;
    };
    assert!(passed.message.len() <= data.len() && data.len() <= guard::MAX_MESSAGE);
    let mut rest = passed.message.as_ref();
    let decoded = ChitchatMessage::deserialize(&mut rest);
    assert!(
        decoded.is_ok(),
        "the guard let pass what chitchat refuses: {decoded:?}"
    );
    assert!(rest.is_empty(), "{} bytes remain", rest.len());
}

/// Takes every value, so that the walk goes on behind it.
struct Lenient;

impl Vouch for Lenient {
    fn admits(&mut self, row: &RowId, vouched: bool) -> bool {
        vouched || row.address.octets()[15] < 0x80
    }

    fn judge(&mut self, _: Ipv6Addr, _: Value<'_>) -> Authenticity {
        Authenticity::Good
    }
}

fn config() -> GuardConfig {
    GuardConfig {
        cluster: CLUSTER.to_owned(),
        prefix: prefix(),
        port: PORT,
        max_rows: MAX_ROWS,
    }
}

fn own() -> OwnRow {
    OwnRow {
        id: RowId {
            address: address(1),
            generation: 0,
        },
        heartbeat: 10,
        max_version: 10,
    }
}

fn prefix() -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(0xfd11, 0x2233, 0x4455, 0, 0, 0, 0, 0), 48)
}

fn address(number: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd11, 0x2233, 0x4455, 0, 0, 0, 0, number)
}

/// One message of each kind, by the layout that the guard's own documentation gives.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let cluster = [&[4, 0], CLUSTER.as_bytes()].concat();
    vec![
        message(0, &[digest(3), cluster]),
        message(1, &[digest(2), delta(2)]),
        message(2, &[delta(2)]),
        message(2, &[delta(1)]),
        message(3, &[]),
        operations(),
    ]
}

fn message(kind: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    let head = [45_139_u16.to_le_bytes().as_slice(), &[0, kind]].concat();
    [head, parts.concat()].concat()
}

fn digest(rows: u16) -> Vec<u8> {
    let mut bytes = rows.to_le_bytes().to_vec();
    for number in 1..=rows {
        bytes.extend(row_id(number));
        for counter in [5_u64, 0, 3] {
            bytes.extend(counter.to_le_bytes());
        }
    }
    bytes
}

/// A delta in one block, compressed (kind 1) or plain (kind 2): a row with a record and a revocation.
fn delta(kind: u8) -> Vec<u8> {
    let operations = operations();
    if kind == 1 {
        block(1, &compress(&operations))
    } else {
        block(2, &operations)
    }
}

fn operations() -> Vec<u8> {
    let revocation = guard::revocation_key(&[7; 16]);
    let values = [
        key_value(guard::RECORD_KEY, &guard::encode_value(&[1; 100]), 1),
        key_value(&revocation, &guard::encode_value(&[7; 80]), 2),
    ];
    [
        row_start(2),
        values.concat(),
        [&[2][..], &2_u64.to_le_bytes()].concat(),
    ]
    .concat()
}

/// A delta of one block: kind, length, bytes, and the mark of the end.
fn block(kind: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("the block is short");
    [&[kind][..], &length.to_le_bytes(), bytes, &[0]].concat()
}

fn compress(bytes: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(bytes, 0).expect("memory suffices")
}

fn row_start(number: u16) -> Vec<u8> {
    [
        &[0][..],
        &row_id(number),
        &0_u64.to_le_bytes(),
        &0_u64.to_le_bytes(),
    ]
    .concat()
}

fn row_id(number: u16) -> Vec<u8> {
    let (no_name, generation, family) = ([0, 0], 0_u64.to_le_bytes(), [6]);
    [
        &no_name[..],
        &generation,
        &family,
        &address(number).octets(),
        &PORT.to_le_bytes(),
    ]
    .concat()
}

fn key_value(key: &str, value: &str, version: u64) -> Vec<u8> {
    [
        &[1][..],
        &string(key),
        &string(value),
        &version.to_le_bytes(),
        &[0],
    ]
    .concat()
}

fn string(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("the text is short");
    [&length.to_le_bytes()[..], text.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_pass_the_guard_and_carry_values() {
        let (mut records, mut revocations) = (0, 0);
        let messages = seeds()
            .into_iter()
            .filter(|seed| seed.starts_with(&45_139_u16.to_le_bytes()));
        for seed in messages {
            let passed = guard::inspect(&seed, &config(), &own(), &mut Lenient).expect("a valid message");
            records += passed.records.len();
            revocations += passed.revocations.len();
        }
        assert_eq!((records, revocations), (3, 3));
    }
}
