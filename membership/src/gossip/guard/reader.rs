//! A cursor over chitchat's encoding: little-endian integers, strings with a 16-bit length.

use std::net::Ipv6Addr;

use super::{RowId, Violation};

pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], Violation> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Violation::Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Violation> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Violation::Malformed)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Violation> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Violation> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Violation> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn string(&mut self) -> Result<&'a str, Violation> {
        let length = self.u16()?;
        std::str::from_utf8(self.take(usize::from(length))?).map_err(|_| Violation::Malformed)
    }

    /// A row's identity: an empty node name, a generation, and an IPv6 address with a port.
    pub(super) fn row_id(&mut self) -> Result<(RowId, u16), Violation> {
        if !self.string()?.is_empty() {
            return Err(Violation::ForeignId);
        }
        let generation = self.u64()?;
        if self.u8()? != 6 {
            return Err(Violation::ForeignId);
        }
        let address = Ipv6Addr::from(self.array::<16>()?);
        Ok((RowId { address, generation }, self.u16()?))
    }
}
