//! Scenarios: the real binary on networks made of namespaces. They need root; each one has a world of its own, so
//! they run side by side. After each, the capture of its internet must have seen no inner packet in clear.

#![forbid(unsafe_code)]

mod bad_links;
mod bad_network;
mod bad_setup;
mod bad_tokens;
mod checks;
mod clients;
mod clouds;
mod cut_off;
mod dashboards;
mod device;
mod draining;
mod founder;
mod gateways;
mod itself;
mod lan_address;
mod leaving;
mod link;
mod observers;
mod offloads;
mod overlaps;
mod path_mtu;
mod relays;
mod restarts;
mod roaming;
mod routes;
mod seeing;
mod served;
mod stopped;
mod three_vpcs;

use std::time::Duration;

/// A deadline for what has none of its own: generous, so that only a standstill misses it.
const AMPLY: Duration = Duration::from_secs(10);
