//! `meshnode revoke NODE | --token SERIAL`: expel a node, or make a token worthless.

use clap::Args;

use crate::api::types::{Peers, RevokeAnswer, RevokeRequest, RevokeTarget};
use crate::output::Failure;

use super::context::Context;
use super::names;

/// Options of `revoke`.
#[derive(Debug, Args)]
#[group(id = "target", required = true, multiple = false, args = ["node", "token"])]
pub struct Options {
    /// Name of the node, or the beginning of its id
    #[arg(value_name = "NODE")]
    node: Option<String>,
    /// Serial of the token, as `invite` said it
    #[arg(long, value_name = "SERIAL")]
    token: Option<String>,
    /// Expel also every node that was admitted by it, and by those
    #[arg(long)]
    descendants: bool,
}

impl Options {
    pub fn run(&self, context: &Context<'_>) -> Result<(), Failure> {
        let node = context.node()?;
        let (what, answer) = context.block_on(async {
            let (what, target) = match (&self.node, &self.token) {
                (Some(wanted), _) => {
                    let peers: Peers = node.get("/v1/peers").await?;
                    let found = names::resolve_or_id(&peers, wanted)?;
                    (format!("{} is revoked", found.name), RevokeTarget::Node(found.id))
                }
                (None, token) => {
                    let serial = token.clone().unwrap_or_default();
                    (format!("token {serial} is revoked"), RevokeTarget::Token(serial))
                }
            };
            let request = RevokeRequest {
                target,
                descendants: self.descendants,
            };
            let answer: RevokeAnswer = node.post("/v1/revoke", &request).await?;
            Ok((what, answer))
        })?;
        context.console.print(match answer.nodes {
            0 | 1 => format!("{what}."),
            several => format!("{what}; {several} members are expelled."),
        })
    }
}
