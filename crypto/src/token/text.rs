//! The text that people copy, and what can happen to it on the way.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{MAX_TOKEN_TEXT, SignedToken, Token};
use crate::error::TokenError;
use crate::identity::SigningKey;

const PREFIX: &str = "mesh1_";
const LENGTH_LEN: usize = 2;
const SEED_LEN: usize = 32;
const CHECKSUM_LEN: usize = 4;
/// Characters from which the length can be read: three bytes.
const HEAD_CHARS: usize = 4;

impl Token {
    /// The text to give to the joiner. Whoever has it can join.
    pub fn to_text(&self) -> Zeroizing<String> {
        let public = self.public.as_bytes();
        let length = u16::try_from(SEED_LEN + public.len()).expect("a token's bytes are below 16 KiB");
        let capacity = LENGTH_LEN + SEED_LEN + public.len() + CHECKSUM_LEN;
        let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(self.invitation_key.seed().as_slice());
        bytes.extend_from_slice(public);
        let checksum = checksum(&bytes);
        bytes.extend_from_slice(&checksum);
        let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + encoded_len(capacity)));
        text.push_str(PREFIX);
        URL_SAFE_NO_PAD.encode_string(bytes.as_slice(), &mut text);
        text
    }

    /// Reads [`Token::to_text`]; white space around it is ignored. What is missing, extra or damaged is
    /// said; whether the token is to be believed is another question ([`SignedToken::verify`]).
    pub fn parse(text: &str) -> Result<Token, TokenError> {
        let text = text.trim();
        if text.len() > MAX_TOKEN_TEXT {
            return Err(TokenError::TooLong {
                characters: text.len(),
            });
        }
        let bytes = decode(text, strip_prefix(text)?)?;
        let (payload, found) = bytes
            .split_last_chunk::<CHECKSUM_LEN>()
            .ok_or(TokenError::Damaged)?;
        if checksum(payload) != *found {
            return Err(TokenError::Damaged);
        }
        let secret_and_public = payload.get(LENGTH_LEN..).ok_or(TokenError::Damaged)?;
        let (seed, public) = secret_and_public
            .split_first_chunk::<SEED_LEN>()
            .ok_or(TokenError::Damaged)?;
        let public = SignedToken::from_bytes(public)?;
        let invitation_key = SigningKey::from_seed(*seed);
        if public.read_unverified()?.invitation != invitation_key.public_key() {
            return Err(TokenError::Malformed {
                reason: "its secret belongs to another token",
            });
        }
        Ok(Token {
            public,
            invitation_key,
        })
    }
}

/// What follows `mesh1_`.
fn strip_prefix(text: &str) -> Result<&str, TokenError> {
    if let Some(rest) = text.strip_prefix(PREFIX) {
        return Ok(rest);
    }
    if !text.is_empty() && PREFIX.starts_with(text) {
        return Err(TokenError::Truncated {
            found: text.len(),
            expected: PREFIX.len() + HEAD_CHARS,
        });
    }
    let version = text
        .strip_prefix("mesh")
        .and_then(|rest| rest.split_once('_'))
        .map(|(digits, _)| digits);
    match version {
        Some(digits)
            if !digits.is_empty() && digits.len() < 10 && digits.bytes().all(|b| b.is_ascii_digit()) =>
        {
            Err(TokenError::UnknownVersion {
                version: digits.to_owned(),
            })
        }
        _ => Err(TokenError::NotAToken),
    }
}

/// All bytes of the text, after comparing its length with the one that it states.
fn decode(text: &str, encoded: &str) -> Result<Zeroizing<Vec<u8>>, TokenError> {
    let offset = text.len() - encoded.len();
    let found = text.len();
    if let Some(position) = encoded.bytes().position(|byte| !is_alphabet(byte)) {
        return Err(TokenError::Character {
            position: offset + position + 1,
        });
    }
    let head = encoded.get(..HEAD_CHARS);
    let head = head.ok_or(TokenError::Truncated {
        found,
        expected: offset + HEAD_CHARS,
    })?;
    let head = Zeroizing::new(URL_SAFE_NO_PAD.decode(head).map_err(|_| TokenError::Damaged)?);
    let stated = usize::from(u16::from_be_bytes([head[0], head[1]]));
    let expected = offset + encoded_len(LENGTH_LEN + stated + CHECKSUM_LEN);
    if expected > MAX_TOKEN_TEXT {
        return Err(TokenError::Damaged);
    }
    if found < expected {
        return Err(TokenError::Truncated { found, expected });
    }
    if found > expected {
        return Err(TokenError::Trailing {
            extra: found - expected,
        });
    }
    URL_SAFE_NO_PAD
        .decode(encoded)
        .map(Zeroizing::new)
        .map_err(|_| TokenError::Damaged)
}

fn is_alphabet(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

/// Characters of `bytes` bytes in base64 without padding.
fn encoded_len(bytes: usize) -> usize {
    (bytes * 4).div_ceil(3)
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_LEN] {
    let hash: [u8; 32] = Sha256::digest(bytes).into();
    [hash[0], hash[1], hash[2], hash[3]]
}
