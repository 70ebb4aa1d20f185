//! `meshnode reload`: the configuration file again, without a restart.

use clap::Args;

use crate::api::types::ReloadAnswer;
use crate::output::Failure;

use super::context::Context;

/// Options of `reload`.
#[derive(Debug, Args)]
pub struct Options {}

impl Options {
    pub fn run(&self, context: &Context<'_>) -> Result<(), Failure> {
        let node = context.node()?;
        let answer: ReloadAnswer = context.block_on(async { Ok(node.post("/v1/reload", &()).await?) })?;
        match answer.applied.is_empty() {
            true if answer.restart_needed.is_empty() => context.console.print("Nothing changed.")?,
            true => {}
            false => context
                .console
                .print(format_args!("In force: {}.", answer.applied.join(", ")))?,
        }
        if !answer.restart_needed.is_empty() {
            context.console.warn(format_args!(
                "{} changed too and will be in force after a restart",
                answer.restart_needed.join(", ")
            ));
        }
        Ok(())
    }
}
