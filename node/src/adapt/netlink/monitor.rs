//! Listens to the kernel's notifications and wakes the task that compares.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::NetlinkPayload;
use tokio::sync::Notify;

use super::snapshot::{is_loss, matters};

const GROUPS: [MulticastGroup; 7] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Rule,
];
const REOPEN: Duration = Duration::from_secs(1);

/// Whom to wake.
#[derive(Debug, Clone, Default)]
pub struct Wake {
    /// After every change that may concern us.
    pub changed: Arc<Notify>,
    /// Then also when a link is lost: the rest of the burst is not waited for.
    pub lost: Arc<Notify>,
}

/// Wakes after every change that may concern us, for ever. What was missed while the
/// socket was lost or full is covered by one more notification.
pub async fn listen(wake: Wake) {
    loop {
        match rtnetlink::new_multicast_connection(&GROUPS) {
            Ok((connection, _handle, messages)) => {
                let driver = tokio::spawn(connection);
                forward(messages, &wake).await;
                driver.abort();
                tracing::warn!("netlink notifications ended: opening them again");
            }
            Err(error) => tracing::warn!(%error, "cannot listen to netlink notifications"),
        }
        tokio::time::sleep(REOPEN).await;
        wake.changed.notify_one();
    }
}

async fn forward<M>(mut messages: M, wake: &Wake)
where
    M: futures_util::Stream<
            Item = (
                rtnetlink::packet_core::NetlinkMessage<rtnetlink::packet_route::RouteNetlinkMessage>,
                rtnetlink::sys::SocketAddr,
            ),
        > + Unpin,
{
    while let Some((message, _)) = messages.next().await {
        let concerns_us = match &message.payload {
            NetlinkPayload::InnerMessage(inner) => {
                if is_loss(inner) {
                    wake.lost.notify_one();
                }
                matters(inner)
            }
            // Overrun: something was lost.
            _ => true,
        };
        if concerns_us {
            wake.changed.notify_one();
        }
    }
}
