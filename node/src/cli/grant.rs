//! `meshnode grant NODE --cidr P..`: more prefixes for a member.

use clap::Args;
use ipnet::IpNet;

use crate::api::types::{GrantAnswer, GrantRequest, Peers};
use crate::config::value;
use crate::output::Failure;
use crate::output::duration;

use super::context::{Context, now};
use super::names;

/// Options of `grant`.
#[derive(Debug, Args)]
pub struct Options {
    /// Name of the node, or the beginning of its id
    #[arg(value_name = "NODE")]
    node: String,
    /// A prefix it may announce from now on; may be given several times
    #[arg(long, value_name = "PREFIX", required = true, value_delimiter = ',', value_parser = value::prefix)]
    cidr: Vec<IpNet>,
}

impl Options {
    pub fn run(&self, context: &Context<'_>) -> Result<(), Failure> {
        let node = context.node()?;
        let answer: GrantAnswer = context.block_on(async {
            let peers: Peers = node.get("/v1/peers").await?;
            let target = names::resolve(&peers, &self.node)?;
            Ok(node
                .post(
                    "/v1/grant",
                    &GrantRequest {
                        node: target.id,
                        cidrs: self.cidr.clone(),
                    },
                )
                .await?)
        })?;
        let cidrs: Vec<String> = answer.cidrs.iter().map(IpNet::to_string).collect();
        context
            .console
            .print(format_args!("{} may announce {}.", answer.name, cidrs.join(", ")))?;
        let left = answer.expires_ms.saturating_sub(now().0) / 1000;
        context.console.hint(format_args!(
            "The grant is good for {} and renews itself.",
            duration::about(left)
        ));
        Ok(())
    }
}
