//! Traffic between hosts whose every byte is checked, and whose source addresses are seen at the receiver.
//!
//! Senders and receivers are threads inside the hosts' network namespaces. All payload is made of 64-byte blocks
//! that begin with [`MARK`], so that a capture recognises it anywhere.

mod arrivals;
mod datagrams;
mod pulse;
mod stream;
mod talk;
mod test_stream;

use std::net::IpAddr;

pub use arrivals::{Arrival, Arrivals};
pub use datagrams::{Exchange, Questions, deliver, exchange};
pub use pulse::Pulse;
pub use stream::{Transfer, transfer};
pub use talk::Talk;
pub use test_stream::TestStream;

/// What every packet of test traffic contains.
pub const MARK: &[u8; 16] = b"meshnode-traffic";

/// Bytes of a block: the mark, the block's number, a fill made from both.
pub(crate) const BLOCK: usize = 64;

/// Writes block `number` of the stream `seed`.
pub(crate) fn fill(block: &mut [u8; BLOCK], seed: u64, number: u64) {
    block[..16].copy_from_slice(MARK);
    block[16..24].copy_from_slice(&number.to_be_bytes());
    let mut state = seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for chunk in block[24..].chunks_exact_mut(8) {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        chunk.copy_from_slice(&(state ^ (state >> 29)).to_be_bytes());
    }
}

/// Any address of the family of `address`: what to bind a client to when the kernel may choose.
pub(crate) fn unspecified(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => IpAddr::from([0u8; 4]),
        IpAddr::V6(_) => IpAddr::from([0u16; 8]),
    }
}
