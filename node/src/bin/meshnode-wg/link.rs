//! What happens to the interface from outside: up, down, deleted. It works wherever the interface is moved to.

use std::time::Duration;

use meshnode_dataplane::{TunState, TunWatch};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Mutex;

use crate::device::Device;
use crate::readiness;

/// How often it is asked: nobody is woken when an interface goes down.
const PERIOD: Duration = Duration::from_millis(500);

/// The interface as the kernel has it.
pub struct Link(AsyncFd<TunWatch>);

impl Link {
    /// The link of a device.
    pub fn of(device: &Device) -> anyhow::Result<Link> {
        Ok(Link(readiness::watch(device.watch()?, Interest::WRITABLE)?))
    }

    /// Has the device follow its interface, until that is deleted.
    pub async fn follow(&self, device: &Mutex<Device>) {
        loop {
            match self.0.get_ref().state() {
                TunState::Gone => return,
                state => device.lock().await.follow(state == TunState::Up),
            }
            self.changed().await;
        }
    }

    /// Returns when it may have changed: it came up, it went, or time passed.
    async fn changed(&self) {
        match tokio::time::timeout(PERIOD, self.0.writable()).await {
            Ok(Ok(mut ready)) => ready.clear_ready(),
            Ok(Err(error)) => tracing::debug!(%error, "the interface cannot be watched"),
            Err(_) => {}
        }
    }
}
