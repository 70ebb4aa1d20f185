//! Names of nodes, as people type them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::NameError;

/// 1 to 63 characters of `a-z`, `0-9`, `-` and `.`; no part between dots is empty or has a `-` at its ends.
///
/// Upper case is lowered when parsed, so names compare as they are.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// Longest name, in bytes; as for a DNS label.
    pub const MAX_LEN: usize = 63;

    /// Parses and lowers.
    pub fn parse(text: &str) -> Result<Name, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > Name::MAX_LEN {
            return Err(NameError::TooLong { length: text.len() });
        }
        let name = text.to_ascii_lowercase();
        if let Some(character) = name.chars().find(|c| !is_allowed(*c)) {
            return Err(NameError::Character {
                name: text.to_owned(),
                character,
            });
        }
        if name
            .split('.')
            .any(|part| part.is_empty() || part.starts_with('-') || part.ends_with('-'))
        {
            return Err(NameError::Ends { name });
        }
        Ok(Name(name))
    }

    /// The lower-case text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_allowed(character: char) -> bool {
    matches!(character, 'a'..='z' | '0'..='9' | '-' | '.')
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Name, NameError> {
        Name::parse(text)
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Name::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_are_names_and_case_is_lowered() {
        for (text, name) in [
            ("Gateway-1", "gateway-1"),
            ("hk.example.net", "hk.example.net"),
            ("7", "7"),
        ] {
            assert_eq!(Name::parse(text).unwrap().as_str(), name);
        }
        assert!(Name::parse(&"n".repeat(63)).is_ok());
    }

    #[test]
    fn what_is_not_a_name_is_refused_with_the_reason() {
        assert_eq!(Name::parse(""), Err(NameError::Empty));
        assert_eq!(
            Name::parse(&"n".repeat(64)),
            Err(NameError::TooLong { length: 64 })
        );
        for text in ["a b", "a_b", "ä", "a/b", "a\n", "a\u{0}"] {
            assert!(
                matches!(Name::parse(text), Err(NameError::Character { .. })),
                "{text:?}"
            );
        }
        for text in ["-a", "a-", ".a", "a.", "a..b", "a.-b", "."] {
            assert!(
                matches!(Name::parse(text), Err(NameError::Ends { .. })),
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_bad_name_does_not_deserialize() {
        let bytes = postcard::to_allocvec("Bad Name").unwrap();
        assert!(postcard::from_bytes::<Name>(&bytes).is_err());
    }
}
