//! How every check of the mesh stands, as this node knows it. Pure.

use std::collections::BTreeSet;

use ipnet::IpNet;
use meshnode_crypto::NodeId;
use meshnode_membership::record::serving::CheckTarget;
use meshnode_membership::view::View;

use super::targets;

/// One target behind one gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckStatus {
    /// The prefix that the gateway serves.
    pub prefix: IpNet,
    /// The gateway's shown name.
    pub gateway: String,
    /// What must answer.
    pub target: CheckTarget,
    /// Whether it does not.
    pub fails: bool,
    /// Whether every gateway of the prefix fails: then the check moves nothing.
    pub ignored: bool,
}

/// All checks of the view, by prefix and then by gateway. `own`: those of this node, of which `failing_here` fail; `failing`:
/// what this node found itself.
pub fn statuses(
    view: &View,
    failing: &BTreeSet<(IpNet, NodeId)>,
    own: impl Iterator<Item = (IpNet, CheckTarget)>,
    failing_here: &BTreeSet<IpNet>,
) -> Vec<CheckStatus> {
    let named = |node: &NodeId| {
        view.own
            .as_ref()
            .filter(|own| own.id == *node)
            .map(|own| own.name.clone())
    };
    let here = named(&view.me).unwrap_or_else(|| view.me.short());
    let status = |prefix, gateway: &str, target, fails| CheckStatus {
        prefix,
        gateway: gateway.to_owned(),
        target,
        fails,
        ignored: false,
    };
    let of_others = view.nodes.values().flat_map(|node| {
        targets(node).map(move |(prefix, target)| {
            let fails = node.serving.of(&prefix).check_fails || failing.contains(&(prefix, node.id));
            status(prefix, &node.name, target, fails)
        })
    });
    let of_here = own.map(|(prefix, target)| status(prefix, &here, target, failing_here.contains(&prefix)));
    let mut all: Vec<CheckStatus> = of_others.chain(of_here).collect();
    all.sort_by(|a, b| (a.prefix, &a.gateway).cmp(&(b.prefix, &b.gateway)));
    let some_pass = passed(view, &all);
    for status in &mut all {
        status.ignored = !some_pass.contains(&status.prefix);
    }
    all
}

/// Prefixes with a gateway that does not fail, be it that it is not checked.
fn passed(view: &View, checks: &[CheckStatus]) -> BTreeSet<IpNet> {
    let checked = checks
        .iter()
        .filter(|check| !check.fails)
        .map(|check| check.prefix);
    let unchecked = view.nodes.values().flat_map(|node| {
        let free = |prefix: &IpNet| node.serving.of(prefix).check.is_none();
        node.prefixes
            .iter()
            .map(|a| a.prefix)
            .filter(free)
            .collect::<Vec<_>>()
    });
    checked.chain(unchecked).collect()
}
