//! Cryptokey routing, as WireGuard defines it (whitepaper §2): one table for both directions.
//!
//! | in from | may use the source | goes to |
//! |---|---|---|
//! | TUN | anything | the peer that the longest prefix of the destination belongs to |
//! | peer | addresses whose longest prefix belongs to that peer | the TUN, wherever it is for |

use super::{FlowKey, Ingress, Verdict};
use crate::drop::DropReason;
use crate::table::CompiledTable;

pub(super) fn admit(key: &FlowKey, table: &CompiledTable) -> Option<Verdict> {
    let Ingress::Peer(index) = key.ingress else {
        return None;
    };
    let owned = table.route(key.source) == Some(index);
    (!owned).then_some(Verdict::Drop(DropReason::SourceNotAllowed))
}

pub(super) fn steer(key: &FlowKey, table: &CompiledTable) -> Option<Verdict> {
    Some(match key.ingress {
        Ingress::Peer(_) => Verdict::Deliver,
        Ingress::Tun => table
            .route(key.destination)
            .map_or(Verdict::Drop(DropReason::NoRoute), Verdict::Tunnel),
    })
}
