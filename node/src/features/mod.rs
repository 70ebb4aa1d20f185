//! Features: each adds to the desired state, none knows of the others. One folder and one line each.

pub mod checks;
pub mod clients;
pub mod lan_address;

use meshnode_crypto::UnixMillis;
use meshnode_membership::view::View;

use crate::desired::Desired;

/// Something that a node can do beyond forwarding between members.
pub trait Feature {
    /// For logs.
    fn name(&self) -> &'static str;

    /// The mesh changed.
    fn on_view(&mut self, _view: &View, _now: UnixMillis) {}

    /// Adds what it needs to what should be.
    fn desired(&self, _desired: &mut Desired) {}
}

/// All features of this node.
#[derive(Debug)]
pub struct Features {
    /// Whether what lies behind gateways answers.
    pub checks: checks::Checks,
    /// Stock WireGuard devices.
    pub clients: clients::Clients,
}

impl Features {
    /// Each once, in the order in which they add to the desired state.
    pub fn each(&mut self) -> [&mut dyn Feature; 2] {
        [&mut self.clients, &mut self.checks]
    }
}
