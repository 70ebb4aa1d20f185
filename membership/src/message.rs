//! What members say to each other, whatever carries it.
//!
//! A *message* is said once and not answered; a *request* has one answer. Both are a kind byte and a
//! postcard body (gossip: chitchat's own bytes), read to their end: leftover bytes are malformed.

use std::net::SocketAddr;

use bytes::Bytes;
use meshnode_crypto::{NodeId, Signature};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The largest message; chitchat's own are below 64 KiB.
pub(crate) const MAX_MESSAGE: usize = 128 * 1024;
/// The largest request: a forwarded admission with its token.
pub(crate) const MAX_REQUEST: usize = 40 * 1024;
/// The largest answer: a grant with records to begin with.
pub(crate) const MAX_ANSWER: usize = 512 * 1024;

/// Something said once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// The sender's grant chain: how an unknown node shows that it is a member.
    Hello(Bytes),
    /// One chitchat message.
    Gossip(Bytes),
    /// Signed records, of the sender or of others.
    Records(Vec<Vec<u8>>),
    /// Signed revocations.
    Revocations(Vec<Vec<u8>>),
    /// The address that the sender sees us at.
    Observed(SocketAddr),
    /// A new grant chain for the receiver.
    Grant(Bytes),
}

/// Something asked of a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Renew the asker's grant.
    Renew,
    /// Decide an admission that only the receiver may decide.
    Forward(ForwardedAdmission),
}

/// The answer to a [`Request`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// The grant asked for.
    Granted(Admitted),
    /// No, and why.
    Refused(Refused),
}

/// A grant and what its subject needs to know to begin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Admitted {
    /// The grant chain, authority first.
    pub(crate) chain: Vec<u8>,
    /// Records of members.
    pub(crate) records: Vec<Vec<u8>>,
}

/// A refusal as it crosses the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Refused {
    /// A stable word for programs.
    pub(crate) code: String,
    /// A sentence for people: what, why, what to do.
    pub(crate) text: String,
}

/// What a joiner asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JoinRequest {
    /// The name that it would like.
    pub(crate) name: String,
    /// The prefixes that it wants to serve.
    pub(crate) serve: Vec<ipnet::IpNet>,
}

/// A join request as one member hands it to the token's issuer. The proof binds the exporter and the
/// joiner's key, so whoever forwards it cannot put its own key in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ForwardedAdmission {
    pub(crate) token: Vec<u8>,
    pub(crate) exporter: [u8; 32],
    pub(crate) joiner: NodeId,
    pub(crate) proof: Signature,
    pub(crate) request: JoinRequest,
}

/// The bytes are not a message or request of this protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer sent bytes that are no message of this protocol")]
pub(crate) struct Malformed;

const HELLO: u8 = 1;
const GOSSIP: u8 = 2;
const RECORDS: u8 = 3;
const REVOCATIONS: u8 = 4;
const OBSERVED: u8 = 5;
const GRANT: u8 = 6;

impl Message {
    /// Whether a peer that has not shown to be a member may say it.
    pub(crate) fn open_to_strangers(kind: u8) -> bool {
        kind == HELLO
    }

    /// The most that a message of this kind may hold, kind byte included; `None` for an unknown kind.
    pub(crate) fn cap(kind: u8) -> Option<usize> {
        match kind {
            HELLO | GRANT => Some(9 * 1024),
            GOSSIP | RECORDS | REVOCATIONS => Some(MAX_MESSAGE + 1),
            OBSERVED => Some(64),
            _ => None,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Message::Hello(chain) => framed(HELLO, chain),
            Message::Gossip(bytes) => framed(GOSSIP, bytes),
            Message::Records(records) => framed(RECORDS, &encode(records)),
            Message::Revocations(revocations) => framed(REVOCATIONS, &encode(revocations)),
            Message::Observed(address) => framed(OBSERVED, &encode(address)),
            Message::Grant(chain) => framed(GRANT, chain),
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let (kind, body) = bytes.split_first().ok_or(Malformed)?;
        match *kind {
            HELLO => Ok(Message::Hello(Bytes::copy_from_slice(body))),
            GOSSIP => Ok(Message::Gossip(Bytes::copy_from_slice(body))),
            RECORDS => decode(body).map(Message::Records),
            REVOCATIONS => decode(body).map(Message::Revocations),
            OBSERVED => decode(body).map(Message::Observed),
            GRANT => Ok(Message::Grant(Bytes::copy_from_slice(body))),
            _ => Err(Malformed),
        }
    }
}

/// Postcard bytes of a value that we made ourselves.
pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("plain data always has a postcard form")
}

/// The value in `bytes`, all of them.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Malformed> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        _ => Err(Malformed),
    }
}

fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + body.len());
    bytes.push(kind);
    bytes.extend_from_slice(body);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_wire() {
        let messages = [
            Message::Hello(Bytes::from_static(b"chain")),
            Message::Gossip(Bytes::from_static(b"")),
            Message::Records(vec![vec![1, 2], vec![]]),
            Message::Revocations(vec![vec![9; 300]]),
            Message::Observed("[2001:db8::1]:51820".parse().unwrap()),
            Message::Grant(Bytes::from_static(b"grant")),
        ];
        for message in messages {
            assert_eq!(Message::decode(&message.encode()), Ok(message));
        }
    }

    #[test]
    fn leftover_bytes_are_malformed() {
        let mut bytes = Message::Observed("192.0.2.1:1".parse().unwrap()).encode();
        bytes.push(0);
        assert_eq!(Message::decode(&bytes), Err(Malformed));
        assert_eq!(Message::decode(&[]), Err(Malformed));
        assert_eq!(Message::decode(&[200, 1, 2]), Err(Malformed));
    }
}
