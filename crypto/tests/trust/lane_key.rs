//! Lane keys: one secret, two forms, one owner.

use curve25519_dalek::MontgomeryPoint;
use meshnode_crypto::{LaneKey, MeshId, WgPublicKey};
use proptest::prelude::*;

use crate::mesh::{key, mesh};

proptest! {
    #[test]
    fn the_private_key_belongs_to_the_public_one(seed in any::<[u8; 32]>()) {
        let lane_key = LaneKey::from_seed(seed);
        let private = lane_key.wireguard_private();
        prop_assert_eq!(private[0] & 7, 0);
        prop_assert_eq!(private[31] & 0xc0, 0x40);
        let by_x25519 = MontgomeryPoint::mul_base_clamped(*private).to_bytes();
        prop_assert_eq!(WgPublicKey::from_bytes(by_x25519), lane_key.wireguard_public());
        let node = key(1).public_key();
        let proved = lane_key.prove(&mesh(), &node, 3).verify(&mesh(), &node, 3);
        prop_assert_eq!(proved, Ok(lane_key.wireguard_public()));
    }
}

#[test]
fn two_lane_keys_agree_as_wireguard_does() {
    let (one, two) = (LaneKey::from_seed([1; 32]), LaneKey::from_seed([2; 32]));
    let agree = |mine: &LaneKey, theirs: &LaneKey| {
        MontgomeryPoint(*theirs.wireguard_public().as_bytes())
            .mul_clamped(*mine.wireguard_private())
            .to_bytes()
    };
    assert_eq!(agree(&one, &two), agree(&two, &one));
}

#[test]
fn a_proof_is_for_one_mesh_one_node_and_one_lane() {
    let (node, other) = (key(1).public_key(), key(2).public_key());
    let proof = LaneKey::from_seed([9; 32]).prove(&mesh(), &node, 0);
    assert!(proof.verify(&mesh(), &node, 0).is_ok());
    assert!(proof.verify(&mesh(), &node, 1).is_err(), "another lane");
    assert!(proof.verify(&mesh(), &other, 0).is_err(), "another's lane key");
    assert!(
        proof.verify(&MeshId::new(other), &node, 0).is_err(),
        "another mesh"
    );
}

#[test]
fn a_proof_by_another_key_is_refused() {
    let node = key(1).public_key();
    let mut stolen = LaneKey::from_seed([9; 32]).prove(&mesh(), &node, 0);
    stolen.ed25519 = LaneKey::from_seed([8; 32]).prove(&mesh(), &node, 0).ed25519;
    assert!(stolen.verify(&mesh(), &node, 0).is_err());
}

#[test]
fn public_keys_are_written_as_wg_writes_them() {
    let public = LaneKey::from_seed([9; 32]).wireguard_public();
    let text = public.to_string();
    assert_eq!((text.len(), text.ends_with('=')), (44, true));
    assert_eq!(text.parse::<WgPublicKey>(), Ok(public));
    for bad in ["", "AAAA", &text[..43], &format!("{text}A")] {
        assert!(bad.parse::<WgPublicKey>().is_err(), "{bad:?}");
    }
}
