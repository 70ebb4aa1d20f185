//! `meshnode guard clear`: lets mesh traffic go where the host's other routes point.

use std::sync::Arc;

use clap::{Args, Subcommand};
use ipnet::IpNet;

use crate::adapt::netlink;
use crate::api::client::ApiError;
use crate::api::types::GuardAnswer;
use crate::output::Failure;
use crate::state::{Presence, StateDir, StateError};

use super::context::Context;

/// Options of `guard`.
#[derive(Debug, Args)]
pub struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Remove the guards: mesh traffic may leave in clear until a node runs again
    Clear,
}

impl Options {
    pub fn run(&self, context: &Context<'_>) -> Result<(), Failure> {
        let Action::Clear = self.action;
        let node = context.node()?;
        let cleared = context.block_on(async {
            match node.post::<GuardAnswer>("/v1/guard/clear", &()).await {
                Ok(answer) => Ok(answer.cleared),
                Err(ApiError::NoNode { .. }) => clear_alone(context).await,
                Err(error) => Err(error.into()),
            }
        })?;
        context.console.print(match cleared.is_empty() {
            true => "No guard stood.".to_owned(),
            false => format!(
                "Removed: {}.",
                cleared
                    .iter()
                    .map(IpNet::to_string)
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        })
    }
}

/// Without a running node: what the state directory says is ours, and only that.
async fn clear_alone(context: &Context<'_>) -> Result<Vec<IpNet>, Failure> {
    let path = context.settings()?.state_dir;
    if StateDir::presence(&path)? == Presence::Empty {
        return Err(StateError::Empty(path).into());
    }
    let state = StateDir::open_to_clean(&path)?;
    let guards = state.owned()?.guards;
    let refused = netlink::clear_guards(Arc::new(state))
        .await
        .map_err(Failure::new)?;
    match refused.is_empty() {
        true => Ok(guards.into_iter().collect()),
        false => Err(refused.iter().fold(
            Failure::new("some guards could not be removed"),
            |failure, refused| failure.because(format_args!("{}: {}", refused.what, refused.why)),
        )),
    }
}
