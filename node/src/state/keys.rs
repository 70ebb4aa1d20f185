//! Key files: 64 hex digits, 0600.

use std::path::Path;

use meshnode_crypto::{SecretError, SigningKey, secret};
use zeroize::Zeroizing;

use super::StateDir;
use super::error::StateError;

/// A secret of 32 bytes.
pub type Seed = Zeroizing<[u8; 32]>;

/// 32 bytes that nobody can guess, from the kernel.
pub fn fresh_seed() -> Result<Seed, StateError> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut_slice()).map_err(|error| StateError::Entropy(error.to_string()))?;
    Ok(seed)
}

impl StateDir {
    /// The node's signing key.
    pub fn node_key(&self) -> Result<SigningKey, StateError> {
        Ok(SigningKey::from_seed(*required(&self.file("node.key"))?))
    }

    /// The seed of the WireGuard key that clients see.
    pub fn client_key_seed(&self) -> Result<Seed, StateError> {
        required(&self.file("client.key"))
    }

    /// The mesh's signing key, if it lies here and is the one of this node's mesh.
    pub fn authority(&self) -> Result<Option<SigningKey>, StateError> {
        let Some(seed) = read(&self.file("authority.key"))? else {
            return Ok(None);
        };
        let key = SigningKey::from_seed(*seed);
        Ok((key.public_key() == *self.mesh()?.authority()).then_some(key))
    }
}

/// Writes a signing key.
pub fn write(path: &Path, key: &SigningKey) -> Result<(), StateError> {
    write_seed(path, &key.seed())
}

/// Makes a key where there is none.
pub fn make_if_missing(path: &Path) -> Result<(), StateError> {
    match read(path)? {
        Some(_) => Ok(()),
        None => write_seed(path, &*fresh_seed()?),
    }
}

/// Writes 32 secret bytes.
pub fn write_seed(path: &Path, seed: &[u8; 32]) -> Result<(), StateError> {
    let mut text = Zeroizing::new(String::with_capacity(65));
    for byte in seed {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from_digit(nibble.into(), 16).unwrap_or('0'));
        }
    }
    text.push('\n');
    secret::write_secret(path, text.as_bytes()).map_err(unusable)
}

/// Reads 32 secret bytes; `None` if the file is not there.
pub fn read(path: &Path) -> Result<Option<Seed>, StateError> {
    let there = path.try_exists().map_err(StateError::io("look at", path))?;
    if !there {
        return Ok(None);
    }
    let bytes = secret::read_secret(path).map_err(unusable)?;
    let wrong = || StateError::corrupt(path, "it is not a key of 64 hex digits");
    let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let mut seed = Zeroizing::new([0; 32]);
    if text.len() != 64 {
        return Err(wrong());
    }
    for (byte, digits) in seed.iter_mut().zip(text.chunks_exact(2)) {
        let digit = |at: usize| char::from(digits[at]).to_digit(16);
        let (high, low) = digit(0).zip(digit(1)).ok_or_else(wrong)?;
        *byte = u8::try_from(high << 4 | low).map_err(|_| wrong())?;
    }
    Ok(Some(seed))
}

fn required(path: &Path) -> Result<Seed, StateError> {
    read(path)?.ok_or_else(|| StateError::corrupt(path, "it is missing"))
}

fn unusable(error: SecretError) -> StateError {
    match error {
        SecretError::Io { action, path, source } => StateError::Io {
            doing: action,
            path,
            source,
        },
        SecretError::Exposed { path, mode } => StateError::Readable {
            path,
            mode,
            right: 0o600,
        },
        SecretError::TooLarge { path, bytes } => {
            StateError::corrupt(&path, format!("{bytes} bytes are no key"))
        }
        SecretError::NotAFile { path } => StateError::corrupt(&path, "it is not a regular file"),
    }
}
