//! Cryptokey routing, as WireGuard defines it (whitepaper §2): one table for both directions.
//!
//! | in from | may use the source | goes to |
//! |---|---|---|
//! | TUN | anything | the peer that the longest prefix of the destination belongs to |
//! | peer | addresses whose longest prefix belongs to that peer | the TUN, wherever it is for |

use super::{FlowKey, Ingress, Plan, Verdict};
use crate::drop::DropReason;
use crate::table::{CompiledTable, Hop};

pub(super) fn admit(key: &FlowKey, table: &CompiledTable) -> Option<Plan> {
    let Ingress::Peer(index) = key.ingress else {
        return None;
    };
    let owned = table.route(key.source) == Some(Hop::Peer(index));
    (!owned).then_some(Plan::drop(DropReason::SourceNotAllowed))
}

pub(super) fn steer(key: &FlowKey, table: &CompiledTable) -> Option<Plan> {
    match key.ingress {
        Ingress::Peer(_) => Some(Plan::All(Verdict::Deliver)),
        Ingress::Tun => Plan::route(key.destination, table),
    }
}
