//! HTTP for machines: `/metrics`, `/healthz`, `/readyz`, and a page of text at `/`.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::{Encoder, TextEncoder};
use tokio::net::TcpListener;

use super::collect::{Input, families};
use super::process::Process;
use crate::daemon::node::Node;

/// Opens the port.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot serve metrics on {address}: another node on this host needs its own --metrics, or `--metrics none`")
    })
}

/// Answers until aborted.
pub async fn serve(listener: TcpListener, node: Arc<Node>) -> anyhow::Result<()> {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/", get(page))
        .with_state(node);
    axum::serve(listener, router).await?;
    Ok(())
}

async fn metrics(State(node): State<Arc<Node>>) -> Response {
    match scrape(&node) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}\n")).into_response(),
    }
}

fn scrape(node: &Node) -> anyhow::Result<Vec<u8>> {
    let composed = node.now_composed();
    let families = families(&Input {
        composed: &composed,
        stats: &node.dataplane.stats(),
        membership: &node.membership.stats(),
        repairs: node.netlink.repairs(),
        refusals: node.netlink.refusals(),
        process: Process::read(node.started_at),
    });
    let mut text = Vec::new();
    TextEncoder::new().encode(&families, &mut text)?;
    Ok(text)
}

/// 200 while every part answers; says which one does not.
async fn healthz(State(node): State<Arc<Node>>) -> Response {
    let status = if node.health.is_well() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, node.health.to_string()).into_response()
}

/// 200 once the TUN is attached and routes are installed, until the node begins to stop.
async fn readyz(State(node): State<Arc<Node>>) -> Response {
    match node.is_ready() {
        true => "ready\n".into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response(),
    }
}

async fn page(State(node): State<Arc<Node>>) -> String {
    let composed = node.now_composed();
    let stats = node.dataplane.stats();
    let up = stats
        .peers
        .values()
        .filter(|p| p.state == meshnode_dataplane::PeerState::Up)
        .count();
    format!(
        "meshnode {}\nnode {} in mesh {}\n{} other nodes, {up} tunnels up, {} prefixes\n\n/metrics\n/healthz\n/readyz\n",
        env!("CARGO_PKG_VERSION"),
        composed.settings.name,
        node.mesh.short(),
        composed.view.nodes.len(),
        composed.routes.len(),
    )
}
