//! Which prefixes of others are taken here at all.

use ipnet::IpNet;
use meshnode_crypto::prefix::overlap;

use crate::desired::Local;

/// Why a prefix of another node is not taken here.
pub(super) fn rejection(prefix: &IpNet, local: &Local) -> Option<String> {
    if matches!(prefix, IpNet::V6(_)) && !local.host.ipv6 {
        return Some("IPv6 is disabled on this host".to_owned());
    }
    if is_accepted(prefix, &local.accept) {
        return None;
    }
    if prefix.prefix_len() == 0 {
        return Some(format!("a default route: `--accept {prefix}` takes it"));
    }
    if let Some(subnet) = local.host.connected.iter().find(|c| overlap(&c.prefix, prefix)) {
        return Some(format!(
            "overlaps {} on {}: `--accept {prefix}` takes it",
            subnet.prefix, subnet.interface
        ));
    }
    local
        .host
        .routes
        .contains(prefix)
        .then(|| format!("this host has its own route for it: `--accept {prefix}` takes it"))
}

/// A default route is accepted by name only; anything else also by a wider prefix.
fn is_accepted(prefix: &IpNet, accept: &[IpNet]) -> bool {
    accept
        .iter()
        .any(|a| a == prefix || (a.prefix_len() > 0 && a.contains(prefix)))
}
