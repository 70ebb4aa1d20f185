//! Logging, by the `LOG_LEVEL` that wireguard-go understands.

use std::io::{self, IsTerminal};

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

const VARIABLE: &str = "LOG_LEVEL";

/// `verbose` and `debug`, `error`, `silent`; anything else: warnings and what happens to the interface.
fn level(text: &str) -> LevelFilter {
    match text {
        "verbose" | "debug" => LevelFilter::DEBUG,
        "error" => LevelFilter::ERROR,
        "silent" => LevelFilter::OFF,
        _ => LevelFilter::INFO,
    }
}

/// Whether a device in the background keeps its standard error to log to.
pub fn is_wanted() -> bool {
    std::env::var(VARIABLE).is_ok_and(|text| level(&text) != LevelFilter::OFF)
}

/// Logs to standard error from now on. boringtun is silent: it calls idle and expired tunnels errors.
pub fn start() {
    let level = level(&std::env::var(VARIABLE).unwrap_or_default());
    let filter = Targets::new()
        .with_default(level)
        .with_target("boringtun", LevelFilter::OFF);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    tracing_subscriber::registry().with(lines).with(filter).init();
}
