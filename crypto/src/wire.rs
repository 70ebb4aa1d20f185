//! The serde forms that several types share, each with its bound checked before anything grows.

use std::fmt::{self, Display};
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{DeserializeOwned, Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `format ‖ postcard(body)`.
pub(crate) fn encode<T: Serialize>(format: u8, body: &T) -> Vec<u8> {
    postcard::to_extend(body, vec![format])
        .expect("postcard fails only on types without a length; ours have one")
}

/// The body of `format ‖ postcard(body)`, consumed to its end; says what is wrong otherwise.
pub(crate) fn decode<T: DeserializeOwned>(format: u8, bytes: &[u8]) -> Result<T, &'static str> {
    match bytes.split_first() {
        None => Err("it is empty"),
        Some((found, body)) if *found == format => decode_body(body),
        Some(_) => Err("its format is unknown; a newer meshnode made it"),
    }
}

/// The value that `bytes` hold from their first byte to their last.
pub(crate) fn decode_body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, &'static str> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err("bytes follow its end"),
        Err(_) => Err("its fields do not decode"),
    }
}

/// Text for people (JSON, TOML), raw bytes on the wire.
pub(crate) fn serialize_id<S: Serializer, B: Serialize>(
    text: &impl Display,
    bytes: &B,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    if serializer.is_human_readable() {
        serializer.collect_str(text)
    } else {
        bytes.serialize(serializer)
    }
}

/// The inverse of [`serialize_id`].
pub(crate) fn deserialize_id<'de, D, B, T>(
    deserializer: D,
    from_bytes: impl FnOnce(B) -> Result<T, T::Err>,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    B: Deserialize<'de>,
    T: FromStr<Err: Display>,
{
    if deserializer.is_human_readable() {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    } else {
        from_bytes(B::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// A list of at most `MAX` values: refused at the first too many, and never allocated ahead of its bytes.
pub(crate) fn bounded_list<'de, const MAX: usize, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_seq(ListVisitor::<MAX, T>(PhantomData))
}

struct ListVisitor<const MAX: usize, T>(PhantomData<T>);

impl<'de, const MAX: usize, T: Deserialize<'de>> Visitor<'de> for ListVisitor<MAX, T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MAX}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = seq.next_element()? {
            if list.len() == MAX {
                return Err(A::Error::invalid_length(MAX + 1, &self));
            }
            list.push(item);
        }
        Ok(list)
    }
}

/// A byte string of at most `MAX` bytes.
pub(crate) fn bounded_bytes<'de, const MAX: usize, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<u8>, D::Error> {
    deserializer.deserialize_bytes(BytesVisitor::<MAX>)
}

struct BytesVisitor<const MAX: usize>;

impl<'de, const MAX: usize> Visitor<'de> for BytesVisitor<MAX> {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {MAX} bytes")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        if bytes.len() > MAX {
            return Err(E::invalid_length(bytes.len(), &self));
        }
        Ok(bytes.to_vec())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Vec<u8>, A::Error> {
        ListVisitor::<MAX, u8>(PhantomData).visit_seq(seq)
    }
}

/// A byte string, with its length in front.
pub(crate) fn serialize_bytes<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}
