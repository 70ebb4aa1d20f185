//! How a node serves its prefixes: tag 1 of its record.
//!
//! ```text
//! tag 1   postcard: node flags u8 │ [ index u16, flags u8, check?, virtual address? ] …
//!                        1 draining     │ into the record's prefixes, ascending
//!                                       flags: 1 balance, 2 drop without a gateway, 4 not served, 8 check fails
//! ```
//!
//! Prefixes without a line have every option at its default. Versions that do not know the tag ignore it. One
//! that knows it refuses a record whose tag does not decode, like any other field: half a statement of a gateway
//! that says "not me" is worse than its last whole one, which stays in force. So that a newer version never
//! trips over this, bits that are not known here and bytes after the list are ignored.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{AnnouncedPrefix, RejectReason};

/// The tag.
pub const SERVING_TAG: u16 = 1;

const DRAINING: u8 = 1;

const BALANCE: u8 = 1;
const DROP: u8 = 2;
const NOT_SERVED: u8 = 4;
const CHECK_FAILS: u8 = 8;

/// Where packets go when all gateways of a prefix are gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fallback {
    /// To a live gateway of a prefix that covers it, if there is one.
    #[default]
    LessSpecific,
    /// Nowhere: they are dropped.
    Drop,
}

/// What behind a gateway must answer for it to count as forwarding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum CheckTarget {
    /// Answers an echo request.
    Icmp(IpAddr),
    /// Answers a connection attempt, be it with a refusal.
    Tcp(SocketAddr),
}

/// A check target that cannot be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write it like icmp://10.0.0.5 or tcp://10.0.0.5:443")]
pub struct NotATarget;

impl CheckTarget {
    /// The address that must answer.
    pub fn address(&self) -> IpAddr {
        match self {
            CheckTarget::Icmp(address) => *address,
            CheckTarget::Tcp(socket) => socket.ip(),
        }
    }

    fn is_sound(&self) -> bool {
        let ip = self.address();
        let port = !matches!(self, CheckTarget::Tcp(socket) if socket.port() == 0);
        let odd = ip.is_unspecified() || ip.is_multicast() || ip.is_loopback() || ip.to_canonical() != ip;
        port && !odd
    }
}

impl FromStr for CheckTarget {
    type Err = NotATarget;

    fn from_str(text: &str) -> Result<Self, NotATarget> {
        let (scheme, place) = text.split_once("://").ok_or(NotATarget)?;
        let bare = place.strip_prefix('[').and_then(|p| p.strip_suffix(']'));
        let target = match scheme {
            "icmp" => CheckTarget::Icmp(bare.unwrap_or(place).parse().map_err(|_| NotATarget)?),
            "tcp" => CheckTarget::Tcp(place.parse().map_err(|_| NotATarget)?),
            _ => return Err(NotATarget),
        };
        target.is_sound().then_some(target).ok_or(NotATarget)
    }
}

impl fmt::Display for CheckTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CheckTarget::Icmp(IpAddr::V6(address)) => write!(f, "icmp://[{address}]"),
            CheckTarget::Icmp(address) => write!(f, "icmp://{address}"),
            CheckTarget::Tcp(socket) => write!(f, "tcp://{socket}"),
        }
    }
}

/// What a node says of one of its prefixes, beside its priority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrefixOptions {
    /// Flows may be spread over the gateways that want it and are equally good.
    pub balance: bool,
    /// What happens when all gateways are gone.
    pub fallback: Fallback,
    /// What proves that this gateway forwards; inside the prefix.
    pub check: Option<CheckTarget>,
    /// The address that the active gateway holds on the shared LAN, with the LAN's length; inside the prefix.
    pub virtual_address: Option<IpNet>,
    /// The gateway cannot serve it now: its own interface there is down.
    pub not_served: bool,
    /// Peers found that the check's target does not answer through this gateway.
    pub check_fails: bool,
}

/// What a node says of its serving.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Serving {
    /// Others should move their traffic away: the node is about to stop, or is being worked on.
    pub draining: bool,
    /// Options of the announced prefixes that have any.
    pub prefixes: BTreeMap<IpNet, PrefixOptions>,
}

/// One line of the tag.
#[derive(Serialize, Deserialize)]
struct Line {
    index: u16,
    flags: u8,
    check: Option<CheckTarget>,
    virtual_address: Option<IpNet>,
}

impl Serving {
    /// What it says of one prefix.
    pub fn of(&self, prefix: &IpNet) -> PrefixOptions {
        self.prefixes.get(prefix).copied().unwrap_or_default()
    }

    /// The tag's bytes for a record that announces `announced`; `None`: nothing to say. What is said of other
    /// prefixes, or would be refused, is left out.
    pub fn to_tag(&self, announced: &[AnnouncedPrefix]) -> Option<Vec<u8>> {
        let line = |(index, announced): (u16, &AnnouncedPrefix)| {
            let options = self.prefixes.get(&announced.prefix)?;
            (*options != PrefixOptions::default()).then(|| Line::of(index, &announced.prefix, options))
        };
        let lines: Vec<Line> = (0..).zip(announced).filter_map(line).collect();
        let flags = if self.draining { DRAINING } else { 0 };
        if flags == 0 && lines.is_empty() {
            return None;
        }
        Some(
            postcard::to_stdvec(&(flags, lines))
                .expect("postcard fails only on types without a length; ours have one"),
        )
    }

    /// What the tag of a record that announces `announced` says.
    pub fn from_tag(bytes: &[u8], announced: &[AnnouncedPrefix]) -> Result<Serving, RejectReason> {
        let ((flags, lines), _newer): ((u8, Vec<Line>), _) =
            postcard::take_from_bytes(bytes).map_err(|_| RejectReason::Malformed)?;
        if !lines.is_sorted_by(|a, b| a.index < b.index) {
            return Err(RejectReason::Malformed);
        }
        let options = |line: Line| {
            let announced = announced.get(usize::from(line.index))?;
            Some((announced.prefix, line.options(&announced.prefix)?))
        };
        let prefixes: Option<BTreeMap<_, _>> = lines.into_iter().map(options).collect();
        Ok(Serving {
            draining: flags & DRAINING != 0,
            prefixes: prefixes.ok_or(RejectReason::Malformed)?,
        })
    }
}

impl Line {
    fn of(index: u16, prefix: &IpNet, options: &PrefixOptions) -> Line {
        let bits = [
            (options.balance, BALANCE),
            (options.fallback == Fallback::Drop, DROP),
            (options.not_served, NOT_SERVED),
            (options.check_fails, CHECK_FAILS),
        ];
        Line {
            index,
            flags: bits.iter().filter(|(on, _)| *on).map(|(_, bit)| bit).sum(),
            check: options.check.filter(|target| lies_behind(target, prefix)),
            virtual_address: options.virtual_address.filter(|net| is_held_in(net, prefix)),
        }
    }

    /// `None`: what it names does not lie inside the prefix.
    fn options(&self, prefix: &IpNet) -> Option<PrefixOptions> {
        let sound = self.check.is_none_or(|target| lies_behind(&target, prefix))
            && self.virtual_address.is_none_or(|net| is_held_in(&net, prefix));
        let has = |bit| self.flags & bit != 0;
        sound.then(|| PrefixOptions {
            balance: has(BALANCE),
            fallback: if has(DROP) {
                Fallback::Drop
            } else {
                Fallback::LessSpecific
            },
            check: self.check,
            virtual_address: self.virtual_address,
            not_served: has(NOT_SERVED),
            check_fails: has(CHECK_FAILS),
        })
    }
}

/// Whether a check of `target` tests what lies behind the owner of `prefix`. Nobody is made to probe elsewhere.
pub fn lies_behind(target: &CheckTarget, prefix: &IpNet) -> bool {
    target.is_sound() && prefix.contains(&target.address())
}

/// Whether `net` is an address that a gateway of `prefix` may hold on its LAN.
pub fn is_held_in(net: &IpNet, prefix: &IpNet) -> bool {
    let host = net.prefix_len() == net.max_prefix_len();
    let edge = net.addr() == net.network() || (net.addr().is_ipv4() && net.addr() == net.broadcast());
    prefix.contains(&net.addr()) && (host || !edge)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::net;

    fn announced() -> Vec<AnnouncedPrefix> {
        let announce = |prefix| AnnouncedPrefix { prefix, priority: 1 };
        ["10.1.0.0/16", "10.2.0.0/16", "fd00:3::/64"]
            .map(|text| announce(net(text)))
            .to_vec()
    }

    fn options() -> PrefixOptions {
        PrefixOptions {
            balance: true,
            fallback: Fallback::Drop,
            check: Some("tcp://10.2.0.5:443".parse().unwrap()),
            virtual_address: Some(net("10.2.0.1/24")),
            not_served: true,
            check_fails: true,
        }
    }

    fn saying(prefix: &str, options: PrefixOptions) -> Serving {
        Serving {
            draining: false,
            prefixes: [(net(prefix), options)].into(),
        }
    }

    #[test]
    fn a_node_with_nothing_to_say_has_no_tag() {
        assert_eq!(Serving::default().to_tag(&announced()), None);
        assert_eq!(
            saying("10.1.0.0/16", PrefixOptions::default()).to_tag(&announced()),
            None
        );
        assert_eq!(
            saying("10.9.0.0/16", options()).to_tag(&announced()),
            None,
            "not announced"
        );
    }

    #[test]
    fn what_is_said_is_read() {
        let said = Serving {
            draining: true,
            ..saying("10.2.0.0/16", options())
        };
        let tag = said.to_tag(&announced()).unwrap();
        assert_eq!(Serving::from_tag(&tag, &announced()).unwrap(), said);
    }

    #[test]
    fn bits_and_bytes_of_a_newer_version_are_ignored() {
        let mut tag = saying("10.2.0.0/16", options()).to_tag(&announced()).unwrap();
        tag[0] |= 0xf0;
        tag[3] |= 0xf0;
        tag.extend([1, 2, 3]);
        assert_eq!(
            Serving::from_tag(&tag, &announced()).unwrap(),
            saying("10.2.0.0/16", options())
        );
    }

    #[test]
    fn a_line_about_no_prefix_or_twice_about_one_is_malformed() {
        let malformed = Err(RejectReason::Malformed);
        for bytes in [
            &[0_u8, 1, 3, 1, 0, 0][..],
            &[0, 2, 1, 1, 0, 0, 1, 1, 0, 0],
            &[0, 1],
            &[],
        ] {
            assert_eq!(Serving::from_tag(bytes, &announced()), malformed, "{bytes:?}");
        }
    }

    #[test]
    fn nobody_is_made_to_probe_or_hold_what_lies_elsewhere() {
        let elsewhere = [
            PrefixOptions {
                check: Some("icmp://10.1.0.5".parse().unwrap()),
                ..options()
            },
            PrefixOptions {
                virtual_address: Some(net("10.1.0.1/24")),
                ..options()
            },
        ];
        for options in elsewhere {
            let line = Line {
                check: options.check,
                virtual_address: options.virtual_address,
                ..Line::of(1, &net("10.2.0.0/16"), &options)
            };
            let tag = postcard::to_stdvec(&(0_u8, vec![line])).unwrap();
            assert_eq!(
                Serving::from_tag(&tag, &announced()),
                Err(RejectReason::Malformed)
            );
        }
    }

    #[test]
    fn targets_are_written_as_they_are_shown() {
        for text in [
            "icmp://10.0.0.5",
            "tcp://10.0.0.5:443",
            "icmp://[fd00::5]",
            "tcp://[fd00::5]:22",
        ] {
            assert_eq!(text.parse::<CheckTarget>().unwrap().to_string(), text);
        }
        assert!("icmp://fd00::5".parse::<CheckTarget>().is_ok());
        for text in [
            "10.0.0.5",
            "udp://10.0.0.5",
            "tcp://10.0.0.5",
            "tcp://10.0.0.5:0",
            "icmp://0.0.0.0",
            "icmp://127.0.0.1",
            "icmp://::ffff:10.0.0.5",
            "icmp://host",
        ] {
            assert_eq!(text.parse::<CheckTarget>(), Err(NotATarget), "{text}");
        }
    }

    #[test]
    fn the_edges_of_a_lan_are_no_address_to_hold() {
        let prefix = net("10.0.0.0/8");
        for (text, fits) in [
            ("10.0.0.1/24", true),
            ("10.0.0.0/24", false),
            ("10.0.0.255/24", false),
            ("10.0.0.7/32", true),
            ("11.0.0.1/24", false),
        ] {
            assert_eq!(is_held_in(&net(text), &prefix), fits, "{text}");
        }
    }

    fn any_options() -> impl Strategy<Value = PrefixOptions> {
        (any::<[bool; 6]>()).prop_map(
            |[balance, drop, check, held, not_served, check_fails]| PrefixOptions {
                balance,
                fallback: if drop {
                    Fallback::Drop
                } else {
                    Fallback::LessSpecific
                },
                check: check.then(|| "icmp://10.2.3.4".parse().unwrap()),
                virtual_address: held.then(|| net("10.2.3.1/24")),
                not_served,
                check_fails,
            },
        )
    }

    proptest! {
        #[test]
        fn anything_said_survives_the_way(draining in any::<bool>(), options in any_options()) {
            let said = Serving { draining, ..saying("10.2.0.0/16", options) };
            let read = match said.to_tag(&announced()) {
                Some(tag) => Serving::from_tag(&tag, &announced()).unwrap(),
                None => Serving::default(),
            };
            prop_assert_eq!(read.draining, draining);
            prop_assert_eq!(read.of(&net("10.2.0.0/16")), options);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(read) = Serving::from_tag(&bytes, &announced()) {
                for (prefix, options) in &read.prefixes {
                    prop_assert!(announced().iter().any(|a| a.prefix == *prefix));
                    prop_assert!(options.check.is_none_or(|c| prefix.contains(&c.address())));
                    prop_assert!(options.virtual_address.is_none_or(|n| prefix.contains(&n.addr())));
                }
            }
        }
    }
}
