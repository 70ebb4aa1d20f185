//! Keys and signatures that lenient verifiers take and ours must not.
//!
//! Each hostile signature satisfies a verification equation that some implementation uses; the tests say
//! so where they can, because a signature that nobody accepts shows nothing.

use curve25519_dalek::constants::{ED25519_BASEPOINT_TABLE, EIGHT_TORSION};
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::{Scalar, clamp_integer};
use ed25519_dalek::{Verifier, VerifyingKey};
use meshnode_crypto::{
    Context, KeyError, LaneKeyProof, PublicKey, Signature, SignatureError, SigningKey, WgPublicKey,
};
use sha2::{Digest, Sha512};

use crate::mesh::{key, mesh};

/// The order of the prime-order group, least significant byte first (RFC 8032 §5.1).
const L: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

fn unhex(text: &str) -> [u8; 32] {
    let bytes: Vec<u8> = (0..32)
        .map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
        .collect();
    bytes.try_into().unwrap()
}

/// What is signed, written out a second time.
fn message(purpose: &str, body: &[u8]) -> Vec<u8> {
    [
        b"meshnode v1 ",
        purpose.as_bytes(),
        &[0],
        mesh().authority().as_bytes(),
        body,
    ]
    .concat()
}

fn challenge(r: &[u8; 32], a: &[u8; 32], message: &[u8]) -> Scalar {
    let hash = Sha512::new()
        .chain_update(r)
        .chain_update(a)
        .chain_update(message)
        .finalize();
    Scalar::from_bytes_mod_order_wide(&hash.into())
}

fn secret_scalar(seed: [u8; 32]) -> Scalar {
    let hash: [u8; 64] = Sha512::digest(seed).into();
    Scalar::from_bytes_mod_order(clamp_integer(*hash.first_chunk().unwrap()))
}

fn signature(r: &[u8; 32], s: &[u8; 32]) -> Signature {
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(r);
    bytes[32..].copy_from_slice(s);
    Signature::from_bytes(&bytes)
}

fn lenient_accepts(key: &[u8; 32], message: &[u8], signature: &Signature) -> bool {
    let signature = ed25519_dalek::Signature::from_bytes(signature.as_bytes());
    VerifyingKey::from_bytes(key)
        .unwrap()
        .verify(message, &signature)
        .is_ok()
}

#[test]
fn the_seed_of_rfc_8032_gives_its_public_key() {
    let seed = unhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
    let public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    assert_eq!(SigningKey::from_seed(seed).public_key().to_string(), public);
}

#[test]
fn the_private_key_of_rfc_7748_gives_its_public_key() {
    let private = unhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
    let public = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a";
    assert_eq!(*WgPublicKey::of_private(&private).as_bytes(), unhex(public));
}

#[test]
fn a_signature_is_over_purpose_mesh_and_body() {
    let signed = key(1).sign(Context::Record, &mesh(), b"body");
    assert!(lenient_accepts(
        key(1).public_key().as_bytes(),
        &message("record", b"body"),
        &signed
    ));
}

#[test]
fn keys_of_small_order_are_refused() {
    for point in EIGHT_TORSION {
        let refusal = PublicKey::from_bytes(&point.compress().to_bytes());
        assert_eq!(refusal, Err(KeyError::Weak));
    }
}

#[test]
fn other_spellings_of_a_key_are_refused() {
    // y + p fits into 255 bits only for y below 19, with either sign of x.
    for low in 0xed..=0xff_u8 {
        for high in [0x7f, 0xff] {
            let mut bytes = [0xff; 32];
            (bytes[0], bytes[31]) = (low, high);
            assert_eq!(
                PublicKey::from_bytes(&bytes),
                Err(KeyError::NonCanonical),
                "{low:#x} {high:#x}"
            );
        }
    }
}

#[test]
fn a_sign_where_x_is_zero_is_refused() {
    let mut one = [0; 32];
    (one[0], one[31]) = (1, 0x80);
    let mut minus_one = [0xff; 32];
    minus_one[0] = 0xec;
    for bytes in [one, minus_one] {
        assert!(PublicKey::from_bytes(&bytes).is_err());
    }
}

#[test]
fn bytes_off_the_curve_are_refused() {
    let mut off = 0;
    for low in 2..40_u8 {
        let mut bytes = [0; 32];
        bytes[0] = low;
        let on_curve = CompressedEdwardsY(bytes).decompress().is_some();
        assert_eq!(PublicKey::from_bytes(&bytes).is_ok(), on_curve);
        off += u32::from(!on_curve);
    }
    assert!(off > 5);
}

#[test]
fn bad_keys_do_not_deserialize() {
    let weak = EIGHT_TORSION[1].compress().to_bytes();
    assert!(postcard::from_bytes::<PublicKey>(&weak).is_err());
    assert!(postcard::from_bytes::<PublicKey>(key(1).public_key().as_bytes()).is_ok());
}

#[test]
fn s_plus_the_group_order_is_refused() {
    let good = key(1).sign(Context::Record, &mesh(), b"body");
    let (r, s): ([u8; 32], [u8; 32]) = (
        *good.as_bytes().first_chunk().unwrap(),
        *good.as_bytes().last_chunk().unwrap(),
    );
    let (mut sum, mut carry) = ([0; 32], 0_u16);
    for (index, byte) in sum.iter_mut().enumerate() {
        carry += u16::from(s[index]) + u16::from(L[index]);
        *byte = carry.to_le_bytes()[0];
        carry >>= 8;
    }
    assert_eq!(
        Scalar::from_bytes_mod_order(sum).to_bytes(),
        s,
        "the same number modulo L"
    );
    let public = key(1).public_key();
    assert_eq!(public.verify(Context::Record, &mesh(), b"body", &good), Ok(()));
    let refusal = public.verify(Context::Record, &mesh(), b"body", &signature(&r, &sum));
    assert_eq!(refusal, Err(SignatureError));
}

#[test]
fn an_r_of_small_order_is_refused() {
    let (public, message) = (key(1).public_key(), message("record", b"body"));
    let identity = EIGHT_TORSION[0].compress().to_bytes();
    // With R the identity, S = k a satisfies S B = R + k A.
    let s = challenge(&identity, public.as_bytes(), &message) * secret_scalar([1; 32]);
    let hostile = signature(&identity, &s.to_bytes());
    assert!(lenient_accepts(public.as_bytes(), &message, &hostile));
    let refusal = public.verify(Context::Record, &mesh(), b"body", &hostile);
    assert_eq!(refusal, Err(SignatureError));
}

#[test]
fn another_spelling_of_r_is_refused() {
    let (public, message) = (key(1).public_key(), message("record", b"body"));
    let mut identity_plus_p = [0xff; 32];
    (identity_plus_p[0], identity_plus_p[31]) = (0xee, 0x7f);
    let mut identity_with_sign = [0; 32];
    (identity_with_sign[0], identity_with_sign[31]) = (1, 0x80);
    for r in [identity_plus_p, identity_with_sign] {
        // S B = R + k A holds for whoever decodes R before comparing.
        let k = challenge(&r, public.as_bytes(), &message);
        let s = k * secret_scalar([1; 32]);
        let a = CompressedEdwardsY(*public.as_bytes()).decompress().unwrap();
        assert_eq!(&s * ED25519_BASEPOINT_TABLE, EIGHT_TORSION[0] + k * a);
        let refusal = public.verify(Context::Record, &mesh(), b"body", &signature(&r, &s.to_bytes()));
        assert_eq!(refusal, Err(SignatureError));
    }
}

/// A lane key with a point of order 8 added, and a signature by it that verifies: the signer tries nonces
/// until the challenge is a multiple of 8, which makes the added point vanish.
fn mixed_order_proof(seed: [u8; 32], body: &[u8]) -> (EdwardsPoint, LaneKeyProof) {
    let a = secret_scalar(seed);
    let mixed = &a * ED25519_BASEPOINT_TABLE + EIGHT_TORSION[1];
    let public = mixed.compress().to_bytes();
    let message = message("lane key", body);
    for nonce in 1_u64.. {
        let nonce = Scalar::from(nonce);
        let r = (&nonce * ED25519_BASEPOINT_TABLE).compress().to_bytes();
        let k = challenge(&r, &public, &message);
        if k.as_bytes()[0].is_multiple_of(8) {
            let s = nonce + k * a;
            let ed25519 = PublicKey::from_bytes(&public).unwrap();
            return (
                mixed,
                LaneKeyProof {
                    ed25519,
                    signature: signature(&r, &s.to_bytes()),
                },
            );
        }
    }
    unreachable!("one challenge in eight is a multiple of 8")
}

#[test]
fn a_lane_key_with_a_second_spelling_in_wireguard_is_refused() {
    let node = key(1).public_key();
    let body = [node.as_bytes().as_slice(), &[0]].concat();
    let (mixed, proof) = mixed_order_proof([9; 32], &body);
    let signed = proof
        .ed25519
        .verify(Context::LaneKey, &mesh(), &body, &proof.signature);
    assert_eq!(signed, Ok(()), "as a signature it is good");
    let honest = meshnode_crypto::LaneKey::from_seed([9; 32]).wireguard_public();
    assert_ne!(
        WgPublicKey::from_bytes(mixed.to_montgomery().to_bytes()),
        honest,
        "yet both agree alike"
    );
    assert_eq!(proof.verify(&mesh(), &node, 0), Err(SignatureError));
}
