//! Results once, as JSON, or again and again (`--watch`).

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::client::Client;
use crate::output::Failure;
use crate::output::style::Style;

use super::context::Context;

/// How often the picture is drawn anew.
const EVERY: Duration = Duration::from_secs(1);

/// How to show what a node says.
#[derive(Debug, Clone, Copy, Args)]
pub struct View {
    /// Print JSON, with every field
    #[arg(long)]
    json: bool,
    /// Draw it anew every second, until Ctrl-C; with --json one document a line
    #[arg(long)]
    watch: bool,
}

impl View {
    /// Asks for `path` and shows it, as `draw` does or as JSON.
    pub fn show<A: Serialize + DeserializeOwned>(
        self,
        context: &Context<'_>,
        path: &str,
        draw: impl Fn(&A, Style) -> String,
    ) -> Result<(), Failure> {
        let node = context.node()?;
        context.block_on(async {
            match self.watch {
                false => context
                    .console
                    .print(self.picture(&ask(&node, path).await?, context, &draw)?),
                true => self.again_and_again(context, &node, path, &draw).await,
            }
        })
    }

    async fn again_and_again<A: Serialize + DeserializeOwned>(
        self,
        context: &Context<'_>,
        node: &Client,
        path: &str,
        draw: &impl Fn(&A, Style) -> String,
    ) -> Result<(), Failure> {
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let picture = self.picture(&ask(node, path).await?, context, draw)?;
            match context.console.is_terminal() && !self.json {
                true => context.console.print_raw(over_the_last(&picture))?,
                false => context.console.print(picture)?,
            }
            if context.console.is_closed() {
                return Ok(());
            }
        }
    }

    fn picture<A: Serialize>(
        self,
        answer: &A,
        context: &Context<'_>,
        draw: &impl Fn(&A, Style) -> String,
    ) -> Result<String, Failure> {
        match (self.json, self.watch) {
            (false, _) => Ok(draw(answer, context.console.style())),
            (true, false) => json(answer),
            (true, true) => json_line(answer),
        }
    }
}

/// A document for people and programs.
pub fn json(answer: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(answer).map_err(no_json)
}

/// A document on one line.
pub fn json_line(answer: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(answer).map_err(no_json)
}

fn no_json(error: serde_json::Error) -> Failure {
    Failure::new("cannot write the answer as JSON").because(error)
}

async fn ask<A: DeserializeOwned>(node: &Client, path: &str) -> Result<A, Failure> {
    Ok(node.get(path).await?)
}

/// Home, each line cleared to its end, the rest of the screen cleared: no flicker.
fn over_the_last(picture: &str) -> String {
    let lines: String = picture.lines().map(|line| format!("{line}\x1b[K\n")).collect();
    format!("\x1b[H{lines}\x1b[J")
}
