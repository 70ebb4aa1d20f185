//! From start to end of one device.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use meshnode_dataplane::DataplaneEvent;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, mpsc};

use crate::control::{self, Socket};
use crate::detach::Ready;
use crate::device::Device;
use crate::link::Link;
use crate::log;
use crate::options::Options;

/// Runs the device until its end: 0 when somebody wanted that, 1 with the reason otherwise.
pub fn run(options: &Options, ready: Ready) -> ExitCode {
    log::start();
    let outcome = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
        .and_then(|runtime| runtime.block_on(live(&options.interface, &ready)));
    match outcome {
        Ok(reason) => {
            tracing::info!(interface = options.interface, reason, "ends");
            ExitCode::SUCCESS
        }
        Err(error) => {
            ready.fail(&error);
            ExitCode::FAILURE
        }
    }
}

/// Returns why it ended.
async fn live(interface: &str, ready: &Ready) -> anyhow::Result<&'static str> {
    ready.detach()?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let socket = Socket::bind(interface).await?;
    let device = Device::make(interface)?;
    let mut events = device.events()?;
    let link = Link::of(&device)?;
    let device = Arc::new(Mutex::new(device));
    ready.tell()?;
    tracing::info!(interface, "ready");
    tokio::select! {
        _ = terminate.recv() => Ok("told to end"),
        _ = interrupt.recv() => Ok("told to end"),
        () = socket.removed() => Ok("the control socket was removed"),
        reason = end(&mut events) => reason,
        () = link.follow(&device) => Ok("the interface was deleted"),
        failed = control::serve(&socket, &device) => Err(failed),
    }
}

/// Waits for an event after which there is nothing left to do.
async fn end(events: &mut mpsc::Receiver<DataplaneEvent>) -> anyhow::Result<&'static str> {
    while let Some(event) = events.recv().await {
        match event {
            DataplaneEvent::TunGone => return Ok("the interface was deleted"),
            DataplaneEvent::LaneDied { cause, .. } => anyhow::bail!("the data plane died: {cause}"),
            event => tracing::debug!(?event, "noticed"),
        }
    }
    anyhow::bail!("the data plane has stopped")
}
