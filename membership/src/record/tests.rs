use meshnode_crypto::{Grant, Serial};

use super::*;
use crate::testing::{
    HOUR, START, YEAR, authority, body, founder_chain, grant, key, lane, mesh, net, node, record,
};

const ZERO: Duration = Duration::ZERO;

fn now() -> UnixMillis {
    UnixMillis(START)
}

fn signed(change: impl FnOnce(&mut RecordBody)) -> Vec<u8> {
    let mut body = body(1, founder_chain(1), ZERO);
    change(&mut body);
    seal(&body, &key(1))
}

// As a hostile node would: without the checks of `sign`.
fn seal(body: &RecordBody, key: &SigningKey) -> Vec<u8> {
    let bytes = postcard::to_extend(body, vec![FORMAT]).unwrap();
    Sealed::seal(bytes, key, Context::Record, &mesh())
}

fn with_grant(change: impl FnOnce(&mut Grant)) -> Vec<u8> {
    let mut grant = grant(&authority(), 1, &[]);
    change(&mut grant);
    let chain = GrantChain::from(grant.sign(&authority(), &mesh()).unwrap());
    signed(|body| body.chain = chain)
}

fn verify(bytes: &[u8]) -> Result<VerifiedRecord, RejectReason> {
    verify_record(bytes, &mesh(), now())
}

#[test]
fn a_good_record_gives_node_address_and_keys() {
    let record = verify(&record(1, ZERO)).unwrap();
    assert_eq!(record.node, node(1));
    assert_eq!(record.mesh_address, mesh_address(&mesh(), &node(1)));
    assert_eq!(record.wireguard, [lane(1, 0).wireguard_public()]);
}

#[test]
fn every_flipped_bit_of_every_byte_is_refused() {
    let good = record(1, ZERO);
    for index in 0..good.len() {
        for bit in 0..8 {
            let mut flipped = good.clone();
            flipped[index] ^= 1 << bit;
            assert!(verify(&flipped).is_err(), "bit {bit} of byte {index}");
        }
    }
}

#[test]
fn every_cut_and_every_extra_byte_is_refused() {
    let good = record(1, ZERO);
    for length in 0..good.len() {
        assert!(verify(&good[..length]).is_err(), "cut at {length}");
    }
    let mut longer = good;
    longer.push(0);
    assert!(verify(&longer).is_err());
    assert_eq!(
        verify(&vec![1; MAX_RECORD + 1]).unwrap_err(),
        RejectReason::TooLarge
    );
}

#[test]
fn unknown_fields_survive_and_critical_ones_refuse() {
    let bytes = signed(|body| drop(body.tags.insert(0x7fff, vec![1, 2, 3])));
    let record = verify(&bytes).unwrap();
    assert_eq!(record.bytes[..], bytes[..]);
    assert_eq!(record.body.tags[&0x7fff], [1, 2, 3]);
    let critical = signed(|body| drop(body.tags.insert(0x8000, vec![])));
    assert_eq!(verify(&critical).unwrap_err(), RejectReason::TooNew);
    let mut format = bytes;
    format[0] = 2;
    assert_eq!(verify(&format).unwrap_err(), RejectReason::TooNew);
}

#[test]
fn a_prefix_outside_the_grant_is_refused_with_its_signer() {
    let outside = AnnouncedPrefix {
        prefix: net("10.2.0.0/16"),
        priority: 1,
    };
    let bytes = signed(|body| body.prefixes.push(outside));
    let rejection = authenticate(&bytes, &mesh()).unwrap_err();
    assert_eq!(rejection.reason, RejectReason::PrefixOutsideGrant);
    assert_eq!(rejection.signer.unwrap().0, node(1));
    let wider = AnnouncedPrefix {
        prefix: net("10.0.0.0/8"),
        priority: 1,
    };
    assert_eq!(
        verify(&signed(|body| body.prefixes = vec![wider])).unwrap_err(),
        RejectReason::PrefixOutsideGrant
    );
    let narrower = AnnouncedPrefix {
        prefix: net("10.1.7.0/24"),
        priority: 1,
    };
    assert!(verify(&signed(|body| body.prefixes.push(narrower))).is_ok());
}

#[test]
fn host_bits_and_one_prefix_twice_are_malformed() {
    let host_bits = AnnouncedPrefix {
        prefix: net("10.1.2.3/16"),
        priority: 1,
    };
    assert_eq!(
        verify(&signed(|body| body.prefixes = vec![host_bits])).unwrap_err(),
        RejectReason::Malformed
    );
    assert_eq!(
        verify(&signed(|body| body.prefixes.push(body.prefixes[0]))).unwrap_err(),
        RejectReason::Malformed
    );
}

#[test]
fn another_nodes_lane_key_is_refused() {
    let stolen = lane(2, 0).prove(&mesh(), &node(2), 0);
    assert_eq!(
        verify(&signed(|body| body.lanes = vec![stolen])).unwrap_err(),
        RejectReason::LaneKeyUnproven
    );
    let wrong_lane = lane(1, 0).prove(&mesh(), &node(1), 1);
    assert_eq!(
        verify(&signed(|body| body.lanes = vec![wrong_lane])).unwrap_err(),
        RejectReason::LaneKeyUnproven
    );
    let same = |n| lane(1, 0).prove(&mesh(), &node(1), n);
    assert_eq!(
        verify(&signed(|body| body.lanes = vec![same(0), same(1)])).unwrap_err(),
        RejectReason::LaneKeyTaken
    );
}

#[test]
fn only_a_departed_node_has_no_lanes() {
    assert_eq!(
        verify(&signed(|body| body.lanes.clear())).unwrap_err(),
        RejectReason::Malformed
    );
    let departed = signed(|body| {
        body.lanes.clear();
        body.departed = true;
    });
    assert!(verify(&departed).is_ok());
    let nine: Vec<_> = (0..9).map(|n| lane(1, n).prove(&mesh(), &node(1), n)).collect();
    assert_eq!(
        verify(&signed(|body| body.lanes = nine)).unwrap_err(),
        RejectReason::Malformed
    );
}

#[test]
fn a_record_signed_by_another_key_is_refused() {
    let bytes = seal(&body(1, founder_chain(1), ZERO), &key(2));
    assert_eq!(verify(&bytes).unwrap_err(), RejectReason::BadSignature);
    assert_eq!(
        body(1, founder_chain(1), ZERO).sign(&key(2), &mesh()),
        Err(RecordError::NotTheSubject)
    );
}

#[test]
fn another_meshs_record_is_refused() {
    let other = MeshId::new(node(201));
    assert_eq!(
        verify_record(&record(1, ZERO), &other, now()).unwrap_err(),
        RejectReason::WrongMesh
    );
}

#[test]
fn the_grant_must_hold_now() {
    let expired = with_grant(|grant| grant.not_after = now() - HOUR);
    assert_eq!(verify(&expired).unwrap_err(), RejectReason::GrantExpired);
    let later = with_grant(|grant| grant.not_before = now() + HOUR);
    assert_eq!(verify(&later).unwrap_err(), RejectReason::GrantNotYetValid);
    let forged = GrantChain::from(
        Grant {
            issuer: node(5),
            serial: Serial([9; 16]),
            ..grant(&authority(), 1, &[])
        }
        .sign(&key(5), &mesh())
        .unwrap(),
    );
    assert_eq!(
        verify(&signed(|body| body.chain = forged)).unwrap_err(),
        RejectReason::WrongMesh
    );
}

#[test]
fn a_record_counts_for_a_day_and_a_departure_longer() {
    let bytes = record(1, ZERO);
    assert!(verify_record(&bytes, &mesh(), now() + VALIDITY).is_ok());
    let late = now() + VALIDITY + Duration::from_millis(1);
    assert_eq!(
        verify_record(&bytes, &mesh(), late).unwrap_err(),
        RejectReason::Expired
    );
    let departed = signed(|body| body.departed = true);
    assert!(verify_record(&departed, &mesh(), now() + YEAR - HOUR).is_ok());
}

#[test]
fn time_and_sequence_more_than_an_hour_ahead_are_from_the_future() {
    for change in [
        |body: &mut RecordBody| body.issued_at = UnixMillis(START) + HOUR + Duration::from_millis(1),
        |body: &mut RecordBody| body.sequence = u64::MAX,
        |body: &mut RecordBody| body.issued_at = UnixMillis(u64::MAX),
    ] {
        assert_eq!(verify(&signed(change)).unwrap_err(), RejectReason::FromTheFuture);
    }
    assert!(verify(&signed(|body| body.issued_at = now() + HOUR)).is_ok());
}

#[test]
fn more_than_any_limit_is_refused() {
    let many = |count: u16| {
        let prefix = |n: u16| net(&format!("10.1.{}.{}/32", n / 256, n % 256));
        (0..count)
            .map(|n| AnnouncedPrefix {
                prefix: prefix(n),
                priority: 0,
            })
            .collect::<Vec<_>>()
    };
    assert!(verify(&signed(|body| body.prefixes = many(500))).is_ok());
    assert!(verify(&signed(|body| body.prefixes = many(501))).is_err());
    let endpoints = (1..=17)
        .map(|n| format!("203.0.113.{n}:1").parse().unwrap())
        .collect::<Vec<_>>();
    assert!(verify(&signed(|body| body.endpoints = endpoints[..16].to_vec())).is_ok());
    assert!(verify(&signed(|body| body.endpoints = endpoints)).is_err());
    for bad in ["0.0.0.0:1", "203.0.113.1:0", "224.0.0.1:1", "[::ffff:1.2.3.4]:5"] {
        assert!(
            verify(&signed(|body| body.endpoints = vec![bad.parse().unwrap()])).is_err(),
            "{bad}"
        );
    }
    assert!(verify(&signed(|body| body.version = "x".repeat(65))).is_err());
    assert!(verify(&signed(|body| body.version = "a\u{1b}[2J".into())).is_err());
}

#[test]
fn no_length_in_the_bytes_allocates_ahead_of_them() {
    // Format, small integers, an empty name, then an absurd number of endpoints.
    let mut bytes = vec![FORMAT, 1, 1, 1, 1, b'a'];
    bytes.extend([0xff, 0xff, 0xff, 0xff, 0x0f]);
    bytes.extend([0; 64]);
    assert_eq!(verify(&bytes).unwrap_err(), RejectReason::Malformed);
}
