//! IPv6 extension headers (RFC 8200 §4): the walk to what a packet carries.

use super::{Malformed, check_fragment};

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;
const MOBILITY: u8 = 135;
const HOST_IDENTITY: u8 = 139;
const SHIM6: u8 = 140;

/// Honest chains hold two or three; each more costs every node on the way.
const MAX_HEADERS: usize = 8;

/// What a packet carries behind its extension headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upper {
    /// Its protocol number.
    pub protocol: u8,
    /// Where it begins, from the end of the fixed header.
    pub offset: usize,
    /// Whether the packet is a fragment; then the walk ends at the fragment header.
    pub fragment: bool,
}

/// Walks the chain that begins with `protocol`. `bytes`: all behind the fixed header.
pub fn walk(mut protocol: u8, bytes: &[u8]) -> Result<Upper, Malformed> {
    let mut offset = 0;
    for _ in 0..=MAX_HEADERS {
        let rest = &bytes[offset..];
        let len = match protocol {
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS | MOBILITY | HOST_IDENTITY | SHIM6 => {
                (usize::from(*rest.get(1).ok_or(Malformed::Extension)?) + 1) * 8
            }
            AUTHENTICATION => (usize::from(*rest.get(1).ok_or(Malformed::Extension)?) + 2) * 4,
            FRAGMENT => return fragment(offset, rest),
            _ => {
                return Ok(Upper {
                    protocol,
                    offset,
                    fragment: false,
                });
            }
        };
        if rest.len() < len {
            return Err(Malformed::Extension);
        }
        protocol = rest[0];
        offset += len;
    }
    Err(Malformed::Extension)
}

fn fragment(offset: usize, rest: &[u8]) -> Result<Upper, Malformed> {
    let header = rest.first_chunk::<8>().ok_or(Malformed::Extension)?;
    let field = u16::from_be_bytes([header[2], header[3]]);
    let (at, more) = (usize::from(field & 0xfff8), field & 1 != 0);
    check_fragment(at, rest.len() - header.len(), more)?;
    // An "atomic" fragment (RFC 6946) is a whole packet that only wears the header.
    Ok(Upper {
        protocol: header[0],
        offset: offset + header.len(),
        fragment: more || at != 0,
    })
}
