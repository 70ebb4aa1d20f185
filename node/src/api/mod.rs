//! The local API: HTTP with JSON on the node's Unix socket.
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/status` | [`types::Status`] |
//! | `GET /v1/peers` | [`types::Peers`] |
//! | `GET /v1/routes` | [`types::Routes`] |
//! | `GET /v1/events?after=N&limit=M&wait_ms=W` | [`types::Events`]; with `wait_ms` it waits for news |
//! | `GET /v1/explain?source=S&destination=D&from=NODE` | [`types::Explanation`] |
//! | `GET /v1/clients` | [`types::Clients`] |
//! | `POST /v1/invite` [`types::InviteRequest`] | [`types::InviteAnswer`] |
//! | `POST /v1/grant` [`types::GrantRequest`] | [`types::GrantAnswer`] |
//! | `POST /v1/revoke` [`types::RevokeRequest`] | [`types::RevokeAnswer`] |
//! | `POST /v1/cidr` [`types::CidrRequest`] | [`types::CidrAnswer`] |
//! | `POST /v1/reload` | [`types::ReloadAnswer`] |
//! | `POST /v1/drain` [`types::DrainRequest`] | [`types::DrainAnswer`], once the others send nothing any more, or cannot |
//! | `POST /v1/leave` | [`types::LeaveAnswer`], sent before the node stops |
//! | `POST /v1/ping` [`types::PingRequest`] | [`types::PingAnswer`] |
//! | `POST /v1/guard/clear` | [`types::GuardAnswer`] |
//! | `POST /v1/clients` [`types::ClientAddRequest`] | [`types::ClientConfig`] |
//! | `GET /v1/clients/NAME/config` | [`types::ClientConfig`] |
//! | `DELETE /v1/clients/NAME` | [`types::ClientRemoved`] |
//!
//! Every refusal is a 4xx or 5xx status with a [`types::Refusal`].

pub mod client;
mod explain;
mod handlers;
pub mod refuse;
pub mod seeing;
pub mod server;
mod status;
pub mod types;
