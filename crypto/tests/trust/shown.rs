//! Secrets are never shown, and public things are shown as people write them.

use meshnode_crypto::{LaneKey, MeshId, PublicKey, Serial, SigningKey};

use crate::mesh::{key, token};

/// Every spelling of these bytes that a careless `Debug` could print.
fn spellings(bytes: &[u8]) -> Vec<String> {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    vec![hex.to_uppercase(), format!("{bytes:?}"), hex]
}

fn assert_hidden(shown: &str, secret: &[u8]) {
    for spelling in spellings(secret) {
        assert!(!shown.contains(&spelling), "{shown}");
    }
}

#[test]
fn debug_shows_no_secret() {
    let seed = [0xc7; 32];
    let signing = SigningKey::from_seed(seed);
    let lane = LaneKey::from_seed(seed);
    for shown in [format!("{signing:?} {signing:#?}"), format!("{lane:?} {lane:#?}")] {
        assert_hidden(&shown, &seed);
        assert_hidden(&shown, lane.wireguard_private().as_slice());
    }
    let token = token();
    let shown = format!("{token:?} {token:#?}");
    assert!(
        !shown.contains(token.to_text().as_str()) && shown.len() < 200,
        "{shown}"
    );
}

#[test]
fn keys_are_shown_as_hex_and_read_back() {
    let public = key(1).public_key();
    let text = public.to_string();
    assert_eq!(text.len(), 64);
    assert!(text.starts_with(&public.short()) && public.short().len() == 8);
    assert_eq!(text.parse::<PublicKey>(), Ok(public));
    assert_eq!(text.to_uppercase().parse::<PublicKey>(), Ok(public));
    assert_eq!(text.parse::<MeshId>(), Ok(MeshId::new(public)));
    for bad in [
        "",
        &text[..63],
        &format!("{text}0"),
        &text.replace(&text[..1], "g"),
    ] {
        assert!(bad.parse::<PublicKey>().is_err(), "{bad:?}");
    }
}

#[test]
fn ids_are_text_in_json_and_bytes_on_the_wire() {
    let (public, serial) = (key(1).public_key(), Serial([0xab; 16]));
    let json = serde_json::to_string(&(public, serial)).unwrap();
    assert_eq!(json, format!("[\"{public}\",\"{serial}\"]"));
    assert_eq!(
        serde_json::from_str::<(PublicKey, Serial)>(&json).unwrap(),
        (public, serial)
    );
    let bytes = postcard::to_allocvec(&(public, serial)).unwrap();
    assert_eq!(bytes.len(), 32 + 16);
    assert_eq!(
        postcard::from_bytes::<(PublicKey, Serial)>(&bytes).unwrap(),
        (public, serial)
    );
}

#[test]
fn a_key_survives_its_tls_form() {
    let public = key(1).public_key();
    let spki = public.to_spki();
    assert_eq!(PublicKey::from_spki(&spki), Ok(public));
    assert!(PublicKey::from_spki(&spki[..43]).is_err());
    assert!(PublicKey::from_spki(&[&spki[..], &[0]].concat()).is_err());
    for byte in 0..12 {
        let mut other = spki;
        other[byte] ^= 1;
        assert!(PublicKey::from_spki(&other).is_err(), "byte {byte}");
    }
}

#[test]
fn the_private_key_file_form_holds_the_seed() {
    use ed25519_dalek::pkcs8::DecodePrivateKey;
    let signing = SigningKey::from_seed([5; 32]);
    let read = ed25519_dalek::SigningKey::from_pkcs8_der(&signing.to_pkcs8_der()).unwrap();
    assert_eq!(read.to_bytes(), *signing.seed());
}
