//! Records, and the directory that takes them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use meshnode_crypto::{Context, GrantChain, LaneKey, Sealed, mesh_address};
use meshnode_membership::record::serving::{Fallback, PrefixOptions, SERVING_TAG, Serving};
use meshnode_membership::record::{self, AnnouncedPrefix, RecordBody, verify_record};

use super::trust::{NOW, key, leaf, mesh, net, root, sign, unsigned};

/// Any bytes as a record, and as the body of a signed one.
pub fn record(data: &[u8]) {
    check_record(data);
    check_record(&Sealed::seal(data.to_vec(), &key(2), Context::Record, &mesh()));
}

fn check_record(bytes: &[u8]) {
    let Ok(record) = verify_record(bytes, &mesh(), NOW) else {
        return;
    };
    assert_eq!(record.bytes, bytes);
    assert_eq!(record.node, *record.chain.subject());
    assert_eq!(record.mesh_address, mesh_address(&mesh(), &record.node));
    assert!(record.expires() >= NOW || record.body.departed);
    assert!(
        record
            .body
            .prefixes
            .iter()
            .all(|announced| record.chain.allows(&announced.prefix))
    );
    assert!(record.body.prefixes.len() <= record::MAX_PREFIXES);
    assert!(record.body.endpoints.len() <= record::MAX_ENDPOINTS);
    assert!(record.body.departed || !record.wireguard.is_empty());
    for (prefix, options) in &record.serving.prefixes {
        assert!(
            record
                .body
                .prefixes
                .iter()
                .any(|announced| announced.prefix == *prefix)
        );
        assert!(
            options
                .check
                .is_none_or(|target| prefix.contains(&target.address()))
        );
        assert!(
            options
                .virtual_address
                .is_none_or(|net| prefix.contains(&net.addr()))
        );
    }
    let keys: BTreeSet<_> = record.wireguard.iter().collect();
    assert!(keys.len() == record.body.lanes.len() && keys.len() <= record::MAX_LANES);
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let departed = RecordBody {
        departed: true,
        lanes: vec![],
        prefixes: vec![],
        tags: BTreeMap::new(),
        ..body()
    };
    let signed = [body(), departed].map(|body| body.sign(&key(2), &mesh()).expect("the record is sound"));
    signed
        .iter()
        .map(|bytes| unsigned(bytes))
        .chain(signed.iter().cloned())
        .collect()
}

/// A record with every field set.
fn body() -> RecordBody {
    static BODY: LazyLock<RecordBody> = LazyLock::new(|| {
        let node = key(2).public_key();
        let lane = |number: u8| LaneKey::from_seed([number + 10; 32]).prove(&mesh(), &node, number);
        let announce = |prefix, priority| AnnouncedPrefix {
            prefix: net(prefix),
            priority,
        };
        let prefixes = vec![announce("10.2.0.0/16", 100), announce("fd00:2::/64", 0)];
        let serving = serving().to_tag(&prefixes).expect("there is something to say");
        RecordBody {
            generation: 3,
            sequence: NOW.0,
            issued_at: NOW,
            name: "hk".parse().expect("a name"),
            endpoints: ["198.51.100.7:51820", "[2001:db8::7]:51820"]
                .map(|text| text.parse().expect("an address"))
                .to_vec(),
            prefixes,
            epoch: 1,
            lanes: (0..2).map(lane).collect(),
            departed: false,
            capabilities: 5,
            version: "0.1.0".to_owned(),
            chain: GrantChain::from(root()).extend(sign(&leaf(), 1)),
            tags: BTreeMap::from([(SERVING_TAG, serving), (7, vec![1, 2, 3])]),
        }
    });
    BODY.clone()
}

fn serving() -> Serving {
    let options = PrefixOptions {
        balance: true,
        fallback: Fallback::Drop,
        check: Some("tcp://10.2.0.5:443".parse().expect("a target")),
        virtual_address: Some("10.2.0.1/24".parse().expect("an address")),
        not_served: false,
        check_fails: true,
    };
    Serving {
        draining: true,
        prefixes: BTreeMap::from([(net("10.2.0.0/16"), options)]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_taken() {
        for bytes in &seeds()[2..] {
            assert!(verify_record(bytes, &mesh(), NOW).is_ok());
        }
    }
}
