//! The device: what `wg` configured, and the data plane that does it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use meshnode_dataplane::uapi::{self, Change, DeviceConfig, Request, UapiError};
use meshnode_dataplane::{
    Dataplane, DataplaneConfig, DataplaneEvent, Offloads, StartError, TunConfig, TunWatch,
};
use rustix::net::{AddressFamily, SocketType};
use tokio::sync::mpsc;

/// The MTU that WireGuard interfaces begin with.
const MTU: u16 = 1420;

/// How long `wg` waits at most for the lane to take a change.
const PATIENCE: Duration = Duration::from_secs(2);

/// Names the offloads to use, as `--offload` of meshnode does.
const OFFLOADS: &str = "MESHNODE_OFFLOAD";

/// A WireGuard interface.
pub struct Device {
    dataplane: Dataplane,
    config: DeviceConfig,
    up: bool,
    listening: bool,
}

impl Device {
    /// Makes the interface, down and without keys.
    pub fn make(interface: &str) -> anyhow::Result<Device> {
        let dataplane = Dataplane::start(DataplaneConfig {
            listen: Vec::new(),
            mark: 0,
            lanes: 1,
            offloads: offloads()?,
        })?;
        dataplane.attach_tun(TunConfig {
            name: interface.to_owned(),
            mtu: MTU,
            up: false,
        })?;
        let device = Device {
            dataplane,
            config: DeviceConfig::default(),
            up: false,
            listening: false,
        };
        device.apply();
        Ok(device)
    }

    /// What the data plane notices.
    pub fn events(&self) -> anyhow::Result<mpsc::Receiver<DataplaneEvent>> {
        self.dataplane.events().context("the events are taken already")
    }

    /// A view of the interface's state.
    pub fn watch(&self) -> anyhow::Result<TunWatch> {
        self.dataplane.watch_tun()?.context("there is no interface")
    }

    /// The interface is up or down: so are the sockets. Told again, it tries again what failed.
    pub fn follow(&mut self, up: bool) {
        let was_up = std::mem::replace(&mut self.up, up);
        let outcome = match (up, self.listening) {
            (true, false) => self.listen(self.config.listen_port),
            (false, true) => self.stop_listening(),
            _ => return,
        };
        match outcome {
            Ok(()) => tracing::info!(
                up,
                port = self.config.listen_port,
                "the interface changed its state"
            ),
            Err(error) if was_up != up => tracing::error!("{}", complaint(&error)),
            Err(error) => tracing::debug!("{error}"),
        }
    }

    /// Answers one request.
    pub async fn answer(&mut self, request: &str) -> String {
        let errno = match uapi::parse_request(request) {
            Ok(Request::Get) => return self.get(),
            Ok(Request::Set) => self.set(request).await,
            Err(error) => refuse(&error),
        };
        uapi::render_errno(errno)
    }

    fn get(&self) -> String {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        uapi::render_get(&self.config.view(&self.dataplane.stats(), since_1970))
    }

    /// All of it, or, with an error, nothing.
    async fn set(&mut self, request: &str) -> i32 {
        let changed = uapi::parse_set(request, &interface_index).and_then(|changes| {
            let names_port = changes
                .iter()
                .any(|change| matches!(change, Change::ListenPort(_)));
            Ok((names_port, self.config.after(changes)?))
        });
        let (names_port, next) = match changed {
            Ok(changed) => changed,
            Err(error) => return refuse(&error),
        };
        if let Err(error) = self.take(next, names_port) {
            tracing::error!("{}", complaint(&error));
            return uapi::EADDRINUSE;
        }
        if !self.dataplane.answers(PATIENCE).await {
            tracing::warn!("the data plane takes its time with a change");
        }
        0
    }

    /// Port and mark first: only they can fail.
    fn take(&mut self, mut next: DeviceConfig, names_port: bool) -> Result<(), StartError> {
        if self.listening {
            let moves = names_port && next.listen_port != self.config.listen_port;
            if moves {
                next.listen_port = self.dataplane.listen(next.listen_port, next.mark)?;
            } else if next.mark != self.config.mark {
                self.dataplane.set_mark(next.mark)?;
            }
        }
        self.config = next;
        self.apply();
        Ok(())
    }

    /// A device that hears nothing keeps nobody alive.
    fn apply(&self) {
        let mut table = self.config.table();
        if !self.listening {
            table.peers.iter_mut().for_each(|peer| peer.keepalive = None);
        }
        self.dataplane.apply(table);
    }

    fn listen(&mut self, port: u16) -> Result<(), StartError> {
        self.config.listen_port = self.dataplane.listen(port, self.config.mark)?;
        self.listening = true;
        self.apply();
        Ok(())
    }

    fn stop_listening(&mut self) -> Result<(), StartError> {
        self.dataplane.stop_listening()?;
        self.listening = false;
        self.apply();
        Ok(())
    }
}

/// All of them, unless the environment says otherwise.
fn offloads() -> anyhow::Result<Offloads> {
    let Ok(text) = std::env::var(OFFLOADS) else {
        return Ok(Offloads::ALL);
    };
    text.parse().context(OFFLOADS)
}

/// A mesh node's advice names its own option.
fn complaint(error: &StartError) -> String {
    match error {
        StartError::PortInUse { address, holder } => {
            let by = holder
                .as_ref()
                .map(|holder| format!(" by {holder}"))
                .unwrap_or_default();
            format!(
                "port {}/udp is in use{by}: stop it, or choose another with `wg set <interface> listen-port`",
                address.port()
            )
        }
        error => error.to_string(),
    }
}

fn refuse(error: &UapiError) -> i32 {
    tracing::error!("refused: {error}");
    error.errno()
}

fn interface_index(name: &str) -> Option<u32> {
    let any = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None).ok()?;
    rustix::net::netdevice::name_to_index(&any, name).ok()
}
