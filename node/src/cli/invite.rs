//! `meshnode invite`: a token, on stdout, and nothing else there.

use std::time::Duration;

use clap::Args;
use ipnet::IpNet;
use meshnode_crypto::Name;

use crate::api::types::{InviteAnswer, InviteRequest};
use crate::config::value;
use crate::output::{Failure, duration, progress};

use super::context::{Context, now};

/// Options of `invite`.
#[derive(Debug, Args)]
pub struct Options {
    /// A prefix that the invited may announce [default: what it asks for, inside what this node may delegate]
    #[arg(long, value_name = "PREFIX", value_delimiter = ',', value_parser = value::prefix)]
    cidr: Vec<IpNet>,
    /// Let the invited invite others
    #[arg(long)]
    inviter: bool,
    /// Within which prefixes it may invite, with --inviter [default: within all that this node may]
    #[arg(long, value_name = "PREFIX", value_delimiter = ',', requires = "inviter", value_parser = value::prefix)]
    delegate: Vec<IpNet>,
    /// How many nodes may use the token; 0 for any number, admitted also while this node is down
    #[arg(long, value_name = "N", default_value_t = 1)]
    uses: u32,
    /// How long the token is good: 30m, 24h, 7d
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = duration::parse)]
    ttl: Duration,
    /// Bind this name to the invited node
    #[arg(long, value_name = "NAME", value_parser = value::name)]
    name: Option<Name>,
}

impl Options {
    pub fn run(&self, context: &Context<'_>) -> Result<(), Failure> {
        let node = context.node()?;
        let request = InviteRequest {
            cidrs: self.cidr.clone(),
            inviter: self.inviter,
            delegate: self.delegate.clone(),
            uses: self.uses,
            ttl_s: self.ttl.as_secs(),
            name: self.name.as_ref().map(Name::to_string),
        };
        let answer: InviteAnswer = context.block_on(async {
            Ok(progress::during("making a token", node.post("/v1/invite", &request)).await?)
        })?;
        context.console.print(&answer.token)?;
        self.advise(context, &answer);
        Ok(())
    }

    fn advise(&self, context: &Context<'_>, answer: &InviteAnswer) {
        let uses = match self.uses {
            0 => "any number of nodes".to_owned(),
            1 => "one node".to_owned(),
            several => format!("{several} nodes"),
        };
        let left = answer.expires_ms.saturating_sub(now().0).div_ceil(1000);
        let seed = answer.seeds.first().map_or("HOST", String::as_str);
        context.console.hint(format_args!(
            "\nGood for {uses}, for {}. On the new node:\n  meshnode join {seed} --token TOKEN --cidr PREFIX\n\
             To make it worthless:\n  meshnode revoke --token {}",
            duration::about(left),
            answer.serial,
        ));
        if self.cidr.is_empty() {
            context.console.hint(format_args!(
                "\nWhoever holds this token may announce any prefix that this node may delegate: \
                 say which ones it is for with --cidr."
            ));
        }
    }
}
