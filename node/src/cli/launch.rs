//! From settings and state to a running node: what `up` and `join` share.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::Directive;

use crate::config::Settings;
use crate::daemon::{self, StartMode};
use crate::output::Failure;
use crate::output::style::Style;
use crate::state::StateDir;

/// Runs a node until it stops.
pub fn launch(settings: Settings, state: StateDir, mode: StartMode) -> Result<(), Failure> {
    start_logging(&settings.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::new("cannot start the node's threads").because(error))?;
    match runtime.block_on(daemon::run(settings, state, mode)) {
        Ok(_reason) => Ok(()),
        Err(error) => Err(Failure::from_chain(error)),
    }
}

/// Logs go to stderr; the journal stamps its own time.
fn start_logging(filter: &str) -> Result<(), Failure> {
    let filter = filter_of(filter)?;
    let colours = Style::detect(io::stderr().is_terminal()).colours();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(colours);
    let started = match std::env::var_os("JOURNAL_STREAM") {
        Some(_) => log.without_time().with_target(false).try_init(),
        None => log.with_target(false).try_init(),
    };
    started.map_err(|error| Failure::new("cannot start logging").because(error))
}

/// The user's filter, with boringtun silent unless named: it calls idle and expired tunnels errors.
fn filter_of(text: &str) -> Result<EnvFilter, Failure> {
    let wrong =
        |error: &dyn std::fmt::Display| Failure::usage(format!("`{text}` is no log filter")).because(error);
    let filter = EnvFilter::builder().parse(text).map_err(|error| wrong(&error))?;
    if text.contains("boringtun") {
        return Ok(filter);
    }
    let silence: Directive = "boringtun=off".parse().map_err(|error| wrong(&error))?;
    Ok(filter.add_directive(silence))
}
