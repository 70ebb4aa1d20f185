//! Listens to the kernel's notifications: wakes the task that compares, and passes on at once which addresses stop or begin
//! to work.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::{Handle, MulticastGroup};
use tokio::sync::{Notify, broadcast};

use super::local::{LocalChange, Locals};
use super::snapshot::{addresses, is_loss, matters};

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
/// socket was lost or full is covered by one more notification, and by comparing addresses.
pub async fn listen(wake: Wake, local: broadcast::Sender<LocalChange>) {
    let mut listener = Listener {
        wake,
        local,
        locals: None,
    };
    loop {
        match rtnetlink::new_multicast_connection(&GROUPS) {
            Ok((connection, handle, messages)) => {
                let driver = tokio::spawn(connection);
                listener.compare(&handle).await;
                listener.forward(&handle, messages).await;
                driver.abort();
                tracing::warn!("netlink notifications ended: opening them again");
            }
            Err(error) => tracing::warn!(%error, "cannot listen to netlink notifications"),
        }
        tokio::time::sleep(REOPEN).await;
        listener.wake.changed.notify_one();
    }
}

struct Listener {
    wake: Wake,
    local: broadcast::Sender<LocalChange>,
    /// `None` before the first dump: until then nothing is news.
    locals: Option<Locals>,
}

impl Listener {
    async fn forward<M>(&mut self, handle: &Handle, mut messages: M)
    where
        M: futures_util::Stream<Item = (NetlinkMessage<RouteNetlinkMessage>, rtnetlink::sys::SocketAddr)>
            + Unpin,
    {
        while let Some((message, _)) = messages.next().await {
            let concerns_us = match &message.payload {
                NetlinkPayload::InnerMessage(inner) => {
                    let change = self.locals.as_mut().and_then(|locals| locals.handle(inner));
                    self.tell(change);
                    if is_loss(inner) {
                        self.wake.lost.notify_one();
                    }
                    matters(inner)
                }
                // Overrun: something was lost.
                _ => {
                    self.compare(handle).await;
                    true
                }
            };
            if concerns_us {
                self.wake.changed.notify_one();
            }
        }
    }

    /// Reads the addresses whole.
    async fn compare(&mut self, handle: &Handle) {
        match dump(handle).await {
            Ok(now) => {
                let change = self.locals.as_ref().and_then(|before| now.since(before));
                self.locals = Some(now);
                self.tell(change);
            }
            Err(error) => tracing::warn!(%error, "cannot read the addresses of this host"),
        }
    }

    fn tell(&self, change: Option<LocalChange>) {
        let Some(change) = change else { return };
        tracing::debug!(lost = ?change.lost, gained = ?change.gained, "addresses of this host changed");
        if self.local.send(change).is_err() {
            tracing::trace!("nobody follows the addresses of this host");
        }
    }
}

async fn dump(handle: &Handle) -> Result<Locals, rtnetlink::Error> {
    let links: Vec<LinkMessage> = handle.link().get().execute().try_collect().await?;
    Ok(Locals::new(&links, &addresses(handle).await?))
}
