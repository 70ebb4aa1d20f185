//! Asks every part for a sign of life, and tells the service manager only if all gave one.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::oneshot;

use super::core::Command;
use super::node::Node;
use crate::supervise::{Health, Sign};

/// How often parts are asked when no watchdog sets the pace.
const USUAL: Duration = Duration::from_secs(5);
/// How long a part may take. Composing for a thousand nodes takes a small part of it.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks for ever.
pub async fn run(node: Arc<Node>) -> anyhow::Result<()> {
    let period = sd_notify::watchdog_enabled().map_or(USUAL, |limit| (limit / 3).min(USUAL));
    let mut tick = tokio::time::interval(period);
    loop {
        tick.tick().await;
        ask(&node).await;
        if node.health.is_well() {
            notify(&[NotifyState::Watchdog]);
        } else {
            tracing::warn!("not well:\n{}", node.health);
        }
    }
}

async fn ask(node: &Node) {
    let lane = node.dataplane.answers(PATIENCE).await;
    note(&node.health, "lane", lane);
    note(&node.health, "core", core_answers(node).await);
    note(&node.health, "membership", node.membership.is_running());
    note(&node.health, "netlink", node.netlink.is_alive());
    let socket = node.now_composed().settings.socket.clone();
    let api = tokio::time::timeout(PATIENCE, tokio::net::UnixStream::connect(socket)).await;
    note(&node.health, "api", matches!(api, Ok(Ok(_))));
}

async fn core_answers(node: &Node) -> bool {
    let (reply, answer) = oneshot::channel();
    let asked = async {
        node.core.send(Command::Echo(reply)).await.ok()?;
        answer.await.ok()
    };
    matches!(tokio::time::timeout(PATIENCE, asked).await, Ok(Some(())))
}

fn note(health: &Health, part: &'static str, answered: bool) {
    let silent = || Sign::Silent(format!("no answer within {} s", PATIENCE.as_secs()));
    health.note(part, if answered { Sign::Alive } else { silent() });
}

/// Tells the service manager, if there is one.
pub fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager cannot be told");
    }
}

/// `Type=notify-reload` wants the time with it.
pub fn notify_reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "no monotonic clock"),
    }
}
