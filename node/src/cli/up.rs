//! `meshnode up`: run this node.

use clap::Args;

use crate::config::NodeOptions;
use crate::daemon::StartMode;
use crate::output::Failure;
use crate::state::StateDir;

use super::context::Context;
use super::launch::launch;

/// Options of `up`.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    pub node: NodeOptions,
}

impl Options {
    pub fn run(&self, context: Context<'_>) -> Result<(), Failure> {
        let settings = context.settings()?;
        let state = StateDir::open(&settings.state_dir)?;
        let saved = state.announced()?.name;
        launch(settings.with_saved_name(saved), state, StartMode::Up)
    }
}
