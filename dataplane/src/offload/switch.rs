//! The offloads, each with its switch: which are wanted, which are at work, which were refused.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

/// One kind of work that the kernel or the network card shares with us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Offload {
    /// TCP is read from the TUN in super-packets and split here.
    Tso,
    /// UDP is read from the TUN in super-packets and split here (Linux 6.2 and later).
    Uso,
    /// What was received is merged into super-packets and written to the TUN at once.
    Merge,
    /// Many datagrams are sent with one call (`UDP_SEGMENT`).
    Gso,
    /// The kernel merges datagrams that arrive together (`UDP_GRO`).
    Gro,
}

/// A set of offloads; all of them unless something is said.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Offloads(u8);

/// How the offloads are doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OffloadStats {
    /// At work on every descriptor that they are for.
    pub active: Offloads,
    /// How often each was refused by the kernel, or switched off because it corrupted; by `Offload as usize`.
    pub refused: [u64; Offload::ALL.len()],
}

/// Words that are no set of offloads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no offload: write some of tso, uso, merge, gso, gro with commas between, or all, or none")]
pub struct UnknownOffload(String);

impl Offload {
    /// All of them.
    pub const ALL: [Offload; 5] = [
        Offload::Tso,
        Offload::Uso,
        Offload::Merge,
        Offload::Gso,
        Offload::Gro,
    ];

    /// Its name in settings, `status` and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Offload::Tso => "tso",
            Offload::Uso => "uso",
            Offload::Merge => "merge",
            Offload::Gso => "gso",
            Offload::Gro => "gro",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as usize
    }
}

impl Offloads {
    /// Every offload.
    pub const ALL: Offloads = Offloads((1 << Offload::ALL.len()) - 1);
    /// No offload.
    pub const NONE: Offloads = Offloads(0);

    /// Whether `offload` is one of them.
    pub const fn contains(self, offload: Offload) -> bool {
        self.0 & offload.bit() != 0
    }

    /// These and `offload`.
    #[must_use]
    pub const fn with(self, offload: Offload) -> Offloads {
        Offloads(self.0 | offload.bit())
    }

    /// These but `offload`.
    #[must_use]
    pub const fn without(self, offload: Offload) -> Offloads {
        Offloads(self.0 & !offload.bit())
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Offload> {
        Offload::ALL
            .into_iter()
            .filter(move |offload| self.contains(*offload))
    }
}

impl Default for Offloads {
    fn default() -> Offloads {
        Offloads::ALL
    }
}

/// What one descriptor says about the offloads that are its own; written on refusals only.
#[derive(Debug)]
pub(crate) struct OffloadBoard {
    own: Offloads,
    active: AtomicU8,
    refused: [AtomicU64; Offload::ALL.len()],
}

impl OffloadBoard {
    /// For a descriptor with these offloads, none of which is at work yet.
    pub(crate) fn new(own: Offloads) -> OffloadBoard {
        OffloadBoard {
            own,
            active: AtomicU8::new(0),
            refused: Default::default(),
        }
    }

    pub(crate) fn is_active(&self, offload: Offload) -> bool {
        Offloads(self.active.load(Relaxed)).contains(offload)
    }

    pub(crate) fn set_active(&self, offload: Offload, active: bool) {
        match active {
            true => self.active.fetch_or(offload.bit(), Relaxed),
            false => self.active.fetch_and(!offload.bit(), Relaxed),
        };
    }

    /// Counts a refusal; returns how many there were, this one included.
    pub(crate) fn count_refusal(&self, offload: Offload) -> u64 {
        self.refused[offload as usize].fetch_add(1, Relaxed) + 1
    }

    pub(crate) fn add_to(&self, stats: &mut OffloadStats) {
        for offload in Offload::ALL {
            if self.own.contains(offload) && !self.is_active(offload) {
                stats.active = stats.active.without(offload);
            }
            stats.refused[offload as usize] += self.refused[offload as usize].load(Relaxed);
        }
    }
}

impl FromStr for Offloads {
    type Err = UnknownOffload;

    fn from_str(text: &str) -> Result<Offloads, UnknownOffload> {
        match text.trim() {
            "all" => Ok(Offloads::ALL),
            "none" => Ok(Offloads::NONE),
            names => names
                .split(',')
                .map(str::trim)
                .try_fold(Offloads::NONE, |set, name| {
                    let known = Offload::ALL.into_iter().find(|offload| offload.as_str() == name);
                    known
                        .map(|offload| set.with(offload))
                        .ok_or_else(|| UnknownOffload(name.to_owned()))
                }),
        }
    }
}

impl fmt::Display for Offloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.iter().map(Offload::as_str).collect();
        f.write_str(if names.is_empty() { "none" } else { "" })?;
        f.write_str(&names.join(","))
    }
}

impl fmt::Debug for Offloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_is_what_it_says() {
        for bits in 0..=Offloads::ALL.0 {
            let set = Offloads(bits);
            assert_eq!(set.to_string().parse(), Ok(set));
        }
        assert_eq!("all".parse(), Ok(Offloads::ALL));
        assert_eq!(" gso, gro ".parse::<Offloads>().unwrap().to_string(), "gso,gro");
    }

    #[test]
    fn unknown_name_is_named() {
        let error = "tso,lro".parse::<Offloads>().unwrap_err();
        assert!(error.to_string().starts_with("`lro` is no offload"), "{error}");
        assert!("".parse::<Offloads>().is_err());
    }

    #[test]
    fn offload_is_active_where_every_descriptor_has_it() {
        let mut stats = OffloadStats::default();
        for works in [true, false, true] {
            let socket = OffloadBoard::new(Offloads::NONE.with(Offload::Gso));
            socket.set_active(Offload::Gso, true);
            if !works {
                socket.set_active(Offload::Gso, false);
                assert_eq!(socket.count_refusal(Offload::Gso), 1);
            }
            socket.add_to(&mut stats);
        }
        assert_eq!(stats.active, Offloads::ALL.without(Offload::Gso));
        assert_eq!(stats.refused[Offload::Gso as usize], 1);
    }
}
