//! What each request of the local API does.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use ipnet::IpNet;
use meshnode_crypto::{Name, NodeId, RevocationTarget, Serial};
use meshnode_dataplane::PingError;
use meshnode_membership::api as mesh;

use super::refuse::Refuse;
use super::status;
use super::types::{
    CidrAnswer, CidrRequest, ClientAddRequest, ClientConfig, ClientRemoved, Clients, DrainAnswer,
    DrainRequest, Events, EventsQuery, ExplainQuery, Explanation, GrantAnswer, GrantRequest, GuardAnswer,
    InviteAnswer, InviteRequest, LeaveAnswer, Peers, PingAnswer, PingRequest, ReloadAnswer, RevokeAnswer,
    RevokeRequest, RevokeTarget, Routes, Status,
};
use crate::daemon::core::Command;
use crate::daemon::leaving::{self, Moved};
use crate::daemon::node::{Node, wall_now};

type Answer<T> = Result<Json<T>, Refuse>;
type Shared = State<Arc<Node>>;

/// Longest wait for one probe.
const MAX_PING: Duration = Duration::from_secs(20);
/// How long telling the others of our leaving may take.
const TELL: Duration = Duration::from_secs(2);

/// How long a node that has just started is given to make its first record.
const OWN_RECORD: Duration = Duration::from_secs(3);

/// All routes.
pub fn router(node: Arc<Node>) -> Router {
    Router::new()
        .route("/v1/status", get(status_of))
        .route("/v1/peers", get(peers))
        .route("/v1/routes", get(routes))
        .route("/v1/events", get(events))
        .route("/v1/explain", get(explain))
        .route("/v1/clients", get(clients).post(add_client))
        .route("/v1/clients/{name}", delete(remove_client))
        .route("/v1/clients/{name}/config", get(client_config))
        .route("/v1/invite", post(invite))
        .route("/v1/grant", post(grant))
        .route("/v1/revoke", post(revoke))
        .route("/v1/cidr", post(cidr))
        .route("/v1/reload", post(reload))
        .route("/v1/drain", post(drain))
        .route("/v1/leave", post(leave))
        .route("/v1/ping", post(ping))
        .route("/v1/guard/clear", post(clear_guards))
        .with_state(node)
}

async fn status_of(State(node): Shared) -> Json<Status> {
    Json(status::status(&node))
}

async fn peers(State(node): Shared) -> Json<Peers> {
    Json(status::peers(&node))
}

async fn routes(State(node): Shared) -> Json<Routes> {
    Json(Routes {
        routes: status::routes(&node.now_composed(), &node.dataplane.health()),
    })
}

async fn events(State(node): Shared, Query(query): Query<EventsQuery>) -> Answer<Events> {
    node.journal.read(&query).await.map(Json)
}

async fn explain(State(node): Shared, Query(query): Query<ExplainQuery>) -> Answer<Explanation> {
    super::explain::explain(&node, &query).map(Json)
}

async fn clients(State(node): Shared) -> Json<Clients> {
    Json(Clients {
        clients: status::clients(&node.now_composed(), &node.dataplane.stats()),
    })
}

async fn cidr(State(node): Shared, Json(request): Json<CidrRequest>) -> Answer<CidrAnswer> {
    node.ask(|reply| Command::Cidr(request, reply)).await.map(Json)
}

async fn reload(State(node): Shared) -> Answer<ReloadAnswer> {
    node.ask(Command::Reload).await.map(Json)
}

async fn clear_guards(State(node): Shared) -> Answer<GuardAnswer> {
    node.ask(Command::GuardClear).await.map(Json)
}

async fn add_client(State(node): Shared, Json(request): Json<ClientAddRequest>) -> Answer<ClientConfig> {
    let name = name_of(&request.name)?;
    node.ask(|reply| Command::ClientAdd(name, reply)).await.map(Json)
}

async fn client_config(State(node): Shared, Path(name): Path<String>) -> Answer<ClientConfig> {
    let name = name_of(&name)?;
    node.ask(|reply| Command::ClientConfig(name, reply))
        .await
        .map(Json)
}

async fn remove_client(State(node): Shared, Path(name): Path<String>) -> Answer<ClientRemoved> {
    let name = name_of(&name)?;
    let removed = ClientRemoved {
        name: name.to_string(),
    };
    node.ask(|reply| Command::ClientRemove(name, reply))
        .await
        .map(|()| Json(removed))
}

async fn invite(State(node): Shared, Json(request): Json<InviteRequest>) -> Answer<InviteAnswer> {
    let delegate = own_delegate(&node).await;
    if delegate.is_empty() {
        return Err(Refuse::conflict("this node may not invite")
            .fix("invite on a node that was invited with `--inviter`, or on the founder"));
    }
    let composed = node.now_composed();
    let seeds: Vec<String> = composed.reachable_at().iter().map(ToString::to_string).collect();
    let lifetime = Duration::from_secs(request.ttl_s);
    let wanted = mesh::InviteRequest {
        serve: if request.cidrs.is_empty() {
            delegate.clone()
        } else {
            request.cidrs
        },
        delegate: match (request.inviter, request.delegate.is_empty()) {
            (_, false) => request.delegate,
            (true, true) => delegate,
            (false, true) => Vec::new(),
        },
        name: request.name.as_deref().map(name_of).transpose()?,
        uses: request.uses,
        lifetime,
        seeds: seeds.clone(),
    };
    let token = node.membership.invite(wanted).await.map_err(refuse_invite)?;
    Ok(Json(InviteAnswer {
        token: token.to_text().to_string(),
        serial: token.public().serial().to_string(),
        seeds,
        expires_ms: (wall_now() + lifetime).0,
    }))
}

fn refuse_invite(error: mesh::InviteError) -> Refuse {
    match error {
        mesh::InviteError::Store(_) => Refuse::failed(error),
        mesh::InviteError::Stopped => Refuse::stopping(),
        mesh::InviteError::Token(_) | mesh::InviteError::ClockUnsure { .. } => Refuse::conflict(error),
    }
}

/// A node answers a moment before its own record is made: that moment is waited for.
async fn own_delegate(node: &Node) -> Vec<IpNet> {
    let mut composed = node.composed.clone();
    let published = composed.wait_for(|composed| composed.view.own.is_some());
    let Ok(Ok(composed)) = tokio::time::timeout(OWN_RECORD, published).await else {
        return Vec::new();
    };
    composed
        .view
        .own
        .as_ref()
        .map(|own| own.grant_delegate.clone())
        .unwrap_or_default()
}

async fn grant(State(node): Shared, Json(request): Json<GrantRequest>) -> Answer<GrantAnswer> {
    let id = node_of(&request.node)?;
    let composed = node.now_composed();
    let known = composed
        .view
        .nodes
        .get(&id)
        .or(composed.view.own.as_ref().filter(|own| own.id == id));
    let known = known.ok_or_else(|| Refuse::unknown(format!("no member {} is known here", id.short())))?;
    let mut serve: Vec<IpNet> = known.grant_serve.iter().chain(&request.cidrs).copied().collect();
    serve = meshnode_crypto::prefix::normalise(serve).map_err(Refuse::wrong)?;
    let wanted = mesh::GrantRequest {
        node: id,
        serve: serve.clone(),
        delegate: None,
    };
    let outcome = node.membership.grant(wanted).await.map_err(Refuse::conflict)?;
    Ok(Json(GrantAnswer {
        name: known.name.clone(),
        cidrs: serve,
        expires_ms: outcome.not_after.0,
    }))
}

async fn revoke(State(node): Shared, Json(request): Json<RevokeRequest>) -> Answer<RevokeAnswer> {
    let before = node.now_composed().view.nodes.len();
    let target = match &request.target {
        RevokeTarget::Node(id) => RevocationTarget::Node(node_of(id)?),
        RevokeTarget::Token(serial) => RevocationTarget::Token(serial_of(serial)?),
    };
    node.membership
        .revoke(target, request.descendants)
        .await
        .map_err(Refuse::conflict)?;
    let after = node.membership.view().borrow().nodes.len();
    Ok(Json(RevokeAnswer {
        nodes: u32::try_from(before.saturating_sub(after)).unwrap_or(u32::MAX),
    }))
}

async fn drain(State(node): Shared, Json(request): Json<DrainRequest>) -> Answer<DrainAnswer> {
    let told = connected(&node);
    let changed = node.ask(|reply| Command::Drain(request.drained, reply)).await?;
    let quiet = match changed && request.drained {
        false => None,
        true => match leaving::wait(&node).await {
            Moved::NoOtherWay => None,
            moved => Some(moved == Moved::Quiet),
        },
    };
    Ok(Json(DrainAnswer { changed, told, quiet }))
}

/// How many members can be told something at once.
fn connected(node: &Node) -> u32 {
    let connections = node.membership.stats().quic_connections;
    let members = node.now_composed().view.nodes.len();
    u32::try_from(connections.min(members)).unwrap_or(u32::MAX)
}

async fn leave(State(node): Shared) -> Answer<LeaveAnswer> {
    let told = connected(&node);
    leaving::move_away(&node).await;
    if tokio::time::timeout(TELL, node.membership.depart())
        .await
        .is_err()
    {
        tracing::info!("not everybody could be told in time");
    }
    let kept = node.state.authority().map_err(Refuse::failed)?;
    let kept = kept.map(|_| node.state.path().join("authority.key").display().to_string());
    node.leave.send(()).await.map_err(|_| Refuse::stopping())?;
    Ok(Json(LeaveAnswer { told, kept }))
}

async fn ping(State(node): Shared, Json(request): Json<PingRequest>) -> Answer<PingAnswer> {
    let id = node_of(&request.node)?;
    let patience = Duration::from_millis(request.timeout_ms).min(MAX_PING);
    let answer = match node.dataplane.ping(*id.as_bytes(), patience).await {
        Ok(rtt) => PingAnswer {
            rtt_ms: Some(rtt.as_secs_f64() * 1000.0),
            error: None,
        },
        Err(PingError::UnknownPeer) => {
            return Err(Refuse::unknown(format!("no member {} is known here", id.short())));
        }
        Err(error) => PingAnswer {
            rtt_ms: None,
            error: Some(error.to_string()),
        },
    };
    Ok(Json(answer))
}

fn name_of(text: &str) -> Result<Name, Refuse> {
    Name::parse(text).map_err(Refuse::wrong)
}

fn node_of(text: &str) -> Result<NodeId, Refuse> {
    text.parse()
        .map_err(|error| Refuse::wrong(format!("`{text}` is no node id: {error}")))
}

fn serial_of(text: &str) -> Result<Serial, Refuse> {
    text.parse()
        .map_err(|error| Refuse::wrong(format!("`{text}` is no token serial: {error}")))
}
