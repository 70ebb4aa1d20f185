//! `meshnode cidr add|remove P`: what this node announces.

use clap::{Args, Subcommand};
use ipnet::IpNet;

use crate::api::types::{CidrAnswer, CidrRequest};
use crate::config::value;
use crate::output::Failure;

use super::context::Context;

/// Options of `cidr`.
#[derive(Debug, Args)]
pub struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Announce a prefix from now on, also after a restart
    Add {
        /// The prefix, like 172.18.0.0/16
        #[arg(value_name = "PREFIX", value_parser = value::prefix)]
        prefix: IpNet,
        /// Where two nodes announce the same prefix, the higher number carries it [default: 100]
        #[arg(long, value_name = "N")]
        priority: Option<u16>,
    },
    /// Withdraw a prefix
    Remove {
        /// The prefix, as announced
        #[arg(value_name = "PREFIX", value_parser = value::prefix)]
        prefix: IpNet,
    },
}

impl Options {
    pub fn run(&self, context: &Context<'_>) -> Result<(), Failure> {
        let (request, prefix, done, already) = match self.action {
            Action::Add { prefix, priority } => (
                CidrRequest::Add { prefix, priority },
                prefix,
                "is announced",
                "was announced already",
            ),
            Action::Remove { prefix } => (
                CidrRequest::Remove { prefix },
                prefix,
                "is withdrawn",
                "was not announced",
            ),
        };
        let node = context.node()?;
        let answer: CidrAnswer = context.block_on(async { Ok(node.post("/v1/cidr", &request).await?) })?;
        let what = if answer.changed { done } else { already };
        context.console.print(format_args!(
            "{prefix} {what}; this node serves {}.",
            served(&answer.cidrs)
        ))
    }
}

fn served(cidrs: &[IpNet]) -> String {
    match cidrs.is_empty() {
        true => "no prefix now".to_owned(),
        false => cidrs.iter().map(IpNet::to_string).collect::<Vec<_>>().join(", "),
    }
}
