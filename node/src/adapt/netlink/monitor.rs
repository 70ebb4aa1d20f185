//! Listens to the kernel's notifications and wakes the task that compares.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::NetlinkPayload;
use tokio::sync::Notify;

use super::snapshot::matters;

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

/// Notifies `changed` after every change that may concern us, for ever. What was missed while the
/// socket was lost or full is covered by one more notification.
pub async fn listen(changed: Arc<Notify>) {
    loop {
        match rtnetlink::new_multicast_connection(&GROUPS) {
            Ok((connection, _handle, messages)) => {
                let driver = tokio::spawn(connection);
                forward(messages, &changed).await;
                driver.abort();
                tracing::warn!("netlink notifications ended: opening them again");
            }
            Err(error) => tracing::warn!(%error, "cannot listen to netlink notifications"),
        }
        tokio::time::sleep(REOPEN).await;
        changed.notify_one();
    }
}

async fn forward<M>(mut messages: M, changed: &Notify)
where
    M: futures_util::Stream<
            Item = (
                rtnetlink::packet_core::NetlinkMessage<rtnetlink::packet_route::RouteNetlinkMessage>,
                rtnetlink::sys::SocketAddr,
            ),
        > + Unpin,
{
    while let Some((message, _)) = messages.next().await {
        let wake = match &message.payload {
            NetlinkPayload::InnerMessage(inner) => matters(inner),
            // Overrun: something was lost.
            _ => true,
        };
        if wake {
            changed.notify_one();
        }
    }
}
