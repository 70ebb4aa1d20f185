//! Entering a mesh: over the data plane's sockets, before there is a TUN.

use std::net::SocketAddr;

use bytes::Bytes;
use meshnode_membership::admission::enrol;
use meshnode_membership::api::EnrolRequest;
use meshnode_membership::quic::endpoint::QuicEndpoint;

use super::JoinRequest;
use super::node::wall_now;
use crate::config::Settings;
use crate::state::StateDir;
use crate::state::entries::{Announced, Announcement};

/// What a join leaves to begin with.
#[derive(Default)]
pub struct Arrival {
    /// Where membership looks first.
    pub seeds: Vec<SocketAddr>,
    /// The members as the admitting one knew them.
    pub first_records: Vec<Bytes>,
}

/// Enrols, and writes down what came of it before anything else happens.
pub async fn join(
    settings: &Settings,
    state: &StateDir,
    quic: &QuicEndpoint,
    request: JoinRequest,
) -> anyhow::Result<Arrival> {
    let key = state.node_key()?;
    let wishes = EnrolRequest {
        name: settings.name.clone(),
        serve: request.cidrs.clone(),
    };
    let enrolment = enrol(quic, &key, &request.token, &request.seeds, wishes, wall_now()).await?;
    let chain = enrolment.chain.verify_at_any_time(&enrolment.mesh)?;
    // What the configuration file says is not written down again: it is read at every start.
    let prefixes = match request.cidrs.is_empty() {
        true => chain
            .serve()
            .iter()
            .filter(|p| p.prefix_len() > 0)
            .copied()
            .collect(),
        false => settings.passing_cidrs(),
    };
    let announced = Announced {
        name: chain.name().or(settings.given_name()).cloned(),
        prefixes: prefixes.into_iter().map(Announcement::usual).collect(),
        draining: false,
    };
    state.enrolled(&enrolment.mesh, &enrolment.chain, &announced)?;
    tracing::info!(mesh = enrolment.mesh.short(), "enrolled");
    Ok(Arrival {
        seeds: request.seeds,
        first_records: enrolment.first_records,
    })
}
