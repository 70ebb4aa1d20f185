//! The sockets that others ask us on, bound before anything else changes on the host: a start that
//! cannot succeed then changes nothing.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::{TcpListener, UnixListener};

use super::node::Node;
use crate::config::Settings;
use crate::supervise::Supervisor;
use crate::{api, metrics, private_socket, uapi_socket};

/// Bound, not yet served.
pub struct Sockets {
    api: UnixListener,
    uapi: Option<UnixListener>,
    http: Option<TcpListener>,
    files: SocketFiles,
}

/// The files of Unix sockets; dropping this removes them.
pub struct SocketFiles {
    api: PathBuf,
    uapi: Option<(PathBuf, String)>,
}

impl Sockets {
    /// Fails when another node has one of them; goes on without UAPI, which only `wg show` needs.
    pub async fn bind(settings: &Settings) -> anyhow::Result<Sockets> {
        let api = api::server::bind(&settings.socket)?;
        let mut files = SocketFiles {
            api: settings.socket.clone(),
            uapi: None,
        };
        let http = match settings.metrics {
            Some(address) => Some(metrics::server::bind(address).await?),
            None => None,
        };
        let uapi = uapi_socket::bind(&settings.uapi_dir, &settings.interface)
            .inspect_err(|error| tracing::warn!("{error:#}: `wg show` will not work"))
            .ok();
        if uapi.is_some() {
            files.uapi = Some((settings.uapi_dir.clone(), settings.interface.clone()));
        }
        Ok(Sockets {
            api,
            uapi,
            http,
            files,
        })
    }

    /// Answers from now on.
    pub fn serve(self, supervisor: &mut Supervisor, node: &Arc<Node>) -> SocketFiles {
        supervisor.spawn("api", api::server::serve(self.api, Arc::clone(node)));
        if let Some(uapi) = self.uapi {
            supervisor.spawn("uapi", uapi_socket::serve(uapi, Arc::clone(node)));
        }
        if let Some(http) = self.http {
            supervisor.spawn("metrics", metrics::server::serve(http, Arc::clone(node)));
        }
        self.files
    }
}

impl Drop for SocketFiles {
    fn drop(&mut self) {
        private_socket::unbind(&self.api);
        if let Some((directory, interface)) = &self.uapi {
            uapi_socket::unbind(directory, interface);
        }
    }
}
