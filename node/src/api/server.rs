//! The node's end of the local API: a Unix socket that only root and the node's own user may use.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::serve::IncomingStream;
use tokio::net::{UnixListener, UnixStream};

use super::handlers;
use super::refuse::Refuse;
use crate::daemon::node::Node;
use crate::private_socket;

/// Largest request: a list of prefixes, no more.
const MAX_BODY: usize = 64 << 10;

/// Makes the socket, 0600. One that nobody answers on is a leftover and is replaced.
pub fn bind(path: &Path) -> anyhow::Result<UnixListener> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        anyhow::bail!(
            "the socket {} is in use by another node: give this one its own with --socket",
            path.display()
        );
    }
    private_socket::bind(path).with_context(|| format!("cannot make the socket {}", path.display()))
}

/// Answers until aborted.
pub async fn serve(listener: UnixListener, node: Arc<Node>) -> anyhow::Result<()> {
    serve_router(listener, handlers::router(node)).await
}

async fn serve_router(listener: UnixListener, router: Router) -> anyhow::Result<()> {
    let router = router
        .layer(middleware::from_fn(only_owner))
        .layer(DefaultBodyLimit::max(MAX_BODY));
    axum::serve(listener, router.into_make_service_with_connect_info::<Caller>()).await?;
    Ok(())
}

/// Who is on the other end, as the kernel says (SO_PEERCRED).
#[derive(Debug, Clone, Copy)]
struct Caller {
    user: Option<u32>,
}

impl Connected<IncomingStream<'_, UnixListener>> for Caller {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Caller {
        Caller {
            user: user_of(stream.io()),
        }
    }
}

fn user_of(stream: &UnixStream) -> Option<u32> {
    stream.peer_cred().ok().map(|credentials| credentials.uid())
}

/// The mode keeps others out already; this also holds when somebody widens it.
async fn only_owner(ConnectInfo(caller): ConnectInfo<Caller>, request: Request, next: Next) -> Response {
    let own = rustix::process::geteuid().as_raw();
    match caller.user {
        Some(user) if user == 0 || user == own => next.run(request).await,
        _ => Refuse::forbidden("only root and the node's own user may use this socket").into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::client::{ApiError, Client};
    use crate::private_socket::unbind;
    use axum::Json;
    use axum::http::StatusCode;
    use axum::routing::post;
    use std::os::unix::fs::PermissionsExt;

    async fn echo(Json(text): Json<String>) -> Json<usize> {
        Json(text.len())
    }

    #[tokio::test]
    async fn socket_is_private_answers_its_owner_and_bounds_requests() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/meshnode.sock");
        let listener = bind(&path).unwrap();
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let server = tokio::spawn(serve_router(listener, Router::new().route("/echo", post(echo))));
        let client = Client::new(path.clone());
        assert_eq!(client.post::<usize>("/echo", &"four").await.unwrap(), 4);
        let large = client.post::<usize>("/echo", &"x".repeat(MAX_BODY)).await;
        assert!(matches!(large, Err(ApiError::Unusable { .. })), "{large:?}");
        server.abort();
    }

    #[tokio::test]
    async fn second_node_on_a_socket_is_refused_and_a_leftover_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("meshnode.sock");
        let first = bind(&path).unwrap();
        assert!(
            bind(&path)
                .unwrap_err()
                .to_string()
                .contains("in use by another node")
        );
        drop(first);
        assert!(bind(&path).is_ok());
        unbind(&path);
        assert!(!path.exists());
    }

    #[test]
    fn refusals_have_the_status_that_the_command_understands() {
        let refused = Refuse::wrong("no").fix("yes").into_response();
        assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY);
    }
}
