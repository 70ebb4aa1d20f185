//! `meshnode drain` and `undrain`: traffic away from this node, and back.

use clap::Args;

use crate::api::types::{DrainAnswer, DrainRequest};
use crate::output::{Failure, progress};

use super::context::Context;

/// Options of `drain` and `undrain`.
#[derive(Debug, Args)]
pub struct Options {}

impl Options {
    /// Others send nothing here that has another way; also after a restart.
    pub fn drain(&self, context: &Context<'_>) -> Result<(), Failure> {
        let answer = ask(context, true)?;
        let told = told(&answer);
        context.console.print(match (answer.changed, answer.quiet) {
            (false, _) => "This node was drained already.".to_owned(),
            (true, Some(true)) => format!("Drained: {told}, and nothing comes from them any more."),
            (true, Some(false)) => {
                format!("Drained: {told}, but packets still come: some have no other way.")
            }
            (true, None) => {
                format!("Drained: {told}, but no other node serves what this one does: packets still come.")
            }
        })?;
        context
            .console
            .hint("`meshnode undrain` ends it; a restart does not.");
        Ok(())
    }

    /// Others use this node again.
    pub fn undrain(&self, context: &Context<'_>) -> Result<(), Failure> {
        let answer = ask(context, false)?;
        context.console.print(match answer.changed {
            true => format!("In service again: {}.", told(&answer)),
            false => "This node was not drained.".to_owned(),
        })
    }
}

fn ask(context: &Context<'_>, drained: bool) -> Result<DrainAnswer, Failure> {
    let node = context.node()?;
    let request = DrainRequest { drained };
    context.block_on(async {
        let asked = node.post("/v1/drain", &request);
        Ok(progress::during("telling the others", asked).await?)
    })
}

fn told(answer: &DrainAnswer) -> String {
    match answer.told {
        0 => "no other node is connected".to_owned(),
        1 => "one connected node was told".to_owned(),
        told => format!("{told} connected nodes were told"),
    }
}
