//! A token's text on its way through chats, shells and clipboards.

use meshnode_crypto::{Token, TokenError};

use crate::mesh::{NOW, key, token};

fn refusal(text: &str) -> TokenError {
    Token::parse(text).unwrap_err()
}

#[test]
fn a_token_survives_its_text() {
    let original = token();
    let parsed = Token::parse(&original.to_text()).unwrap();
    assert_eq!(parsed.public(), original.public());
    let (exporter, joiner) = ([3; 32], key(2).public_key());
    let verified = parsed.public().verify(NOW).unwrap();
    assert!(
        verified
            .check_proof(&exporter, &joiner, &parsed.prove(&exporter, &joiner))
            .is_ok()
    );
}

#[test]
fn white_space_around_a_token_is_ignored() {
    assert!(Token::parse(&format!("\n  {}\r\n", *token().to_text())).is_ok());
}

#[test]
fn truncation_is_said_at_every_length() {
    let text = token().to_text();
    assert_eq!(refusal(""), TokenError::NotAToken);
    for length in 1..text.len() {
        let refusal = refusal(&text[..length]);
        let TokenError::Truncated { found, expected } = refusal else {
            panic!("{length} of {} characters: {refusal}", text.len())
        };
        assert_eq!(found, length);
        assert!(expected > found && expected <= text.len());
    }
}

#[test]
fn characters_behind_a_token_are_said() {
    assert_eq!(
        refusal(&format!("{}AB", *token().to_text())),
        TokenError::Trailing { extra: 2 }
    );
}

#[test]
fn a_wrong_character_is_damage_or_no_character_of_a_token() {
    let text = token().to_text();
    for position in [20, 60, text.len() / 2, text.len() - 1] {
        let mut exchanged = text.as_bytes().to_vec();
        exchanged[position] = if exchanged[position] == b'A' { b'B' } else { b'A' };
        assert_eq!(
            refusal(std::str::from_utf8(&exchanged).unwrap()),
            TokenError::Damaged
        );
        exchanged[position] = b'!';
        let refusal = refusal(std::str::from_utf8(&exchanged).unwrap());
        assert_eq!(
            refusal,
            TokenError::Character {
                position: position + 1
            }
        );
    }
}

#[test]
fn what_is_no_token_is_called_so() {
    for text in [
        "hello",
        "mesh",
        "mesh_1",
        "MESH1_AAAA",
        "mesh1-AAAA",
        "meshx_AAAA",
        "ä",
        "https://mesh1_",
    ] {
        let refusal = refusal(text);
        let truncated = "mesh1_".starts_with(text);
        assert_eq!(
            matches!(refusal, TokenError::NotAToken),
            !truncated,
            "{text}: {refusal}"
        );
    }
}

#[test]
fn a_token_of_a_newer_version_asks_for_an_update() {
    let newer = token().to_text().replace("mesh1_", "mesh2_");
    assert_eq!(
        refusal(&newer),
        TokenError::UnknownVersion {
            version: "2".to_owned()
        }
    );
}

#[test]
fn a_megabyte_is_refused_by_its_length() {
    let text = format!("mesh1_{}", "A".repeat(1 << 20));
    assert_eq!(
        refusal(&text),
        TokenError::TooLong {
            characters: text.len()
        }
    );
}

#[test]
fn the_text_is_safe_in_a_shell_and_a_url() {
    assert!(
        token()
            .to_text()
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    );
}
