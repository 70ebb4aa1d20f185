//! The bytes in front of a relayed packet.
//!
//! ```text
//!   0        1        2        3        4                                 12
//!   ┌────────┬────────┬────────┬────────┬─────────────────────────────────┬──────────────────────
//!   │  0x10  │ flags  │   0    │   0    │ session, big-endian             │ one WireGuard message
//!   └────────┴────────┴────────┴────────┴─────────────────────────────────┴──────────────────────
//! ```
//!
//! Flag 1: the packet may be fragmented on its way. The relay sends on as it is told, so that a probe of what the whole way takes
//! is not helped over its second half.

use super::Session;

/// The first byte.
pub const TYPE: u8 = 0x10;

/// Bytes in front of the WireGuard message.
pub const HEADER: usize = 12;

const MAY_FRAGMENT: u8 = 1;

/// A relayed packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Whose it is.
    pub session: Session,
    /// Whether it may be fragmented on its way.
    pub fragment: bool,
    /// The WireGuard message.
    pub message: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The frame in a datagram, if its header is one. What stands behind it is not looked at.
    pub fn parse(datagram: &'a [u8]) -> Option<Frame<'a>> {
        let (header, message) = datagram.split_first_chunk::<HEADER>()?;
        let [TYPE, flags @ 0..=MAY_FRAGMENT, 0, 0, session @ ..] = *header else {
            return None;
        };
        Some(Frame {
            session: Session::from_bytes(session),
            fragment: flags == MAY_FRAGMENT,
            message,
        })
    }
}

/// The header of a frame.
pub fn header(session: Session, fragment: bool) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    (header[0], header[1]) = (TYPE, u8::from(fragment));
    header[4..].copy_from_slice(&session.to_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_was_written_and_in_no_other_form() {
        for fragment in [false, true] {
            let mut bytes = header(Session(0x0102_0304_0506_0708), fragment).to_vec();
            bytes.extend([4, 0, 0, 0]);
            let frame = Frame {
                session: Session(0x0102_0304_0506_0708),
                fragment,
                message: &[4, 0, 0, 0],
            };
            assert_eq!(Frame::parse(&bytes), Some(frame));
            for (at, wrong) in [(0, 0x11), (1, 2), (2, 1), (3, 1)] {
                let mut other = bytes.clone();
                other[at] = wrong;
                assert_eq!(Frame::parse(&other), None);
            }
            assert_eq!(Frame::parse(&bytes[..HEADER - 1]), None);
        }
    }
}
