//! `meshnode leave`: out of the mesh, for good.

use clap::Args;

use crate::api::types::LeaveAnswer;
use crate::output::Failure;
use crate::output::progress;

use super::context::Context;

/// Options of `leave`.
#[derive(Debug, Args)]
pub struct Options {}

impl Options {
    pub fn run(&self, context: &Context<'_>) -> Result<(), Failure> {
        let node = context.node()?;
        let answer: LeaveAnswer = context.block_on(async {
            Ok(progress::during("telling the others", node.post("/v1/leave", &())).await?)
        })?;
        context.console.print(match answer.told {
            0 => "Left the mesh. No other node was connected: they will notice when the record expires."
                .to_owned(),
            1 => "Left the mesh; one connected node was told.".to_owned(),
            told => format!("Left the mesh; {told} connected nodes were told."),
        })?;
        if let Some(kept) = answer.kept {
            context
                .console
                .hint(format_args!("The mesh's authority key was kept: {kept}"));
            context
                .console
                .hint("Move it to a safe place: who has it can admit anybody.");
        }
        Ok(())
    }
}
