//! Metrics for Prometheus, made at the moment of the scrape from what is measured and composed: a peer
//! that is gone leaves no label behind. Labels hold names as shown, never keys.

mod collect;
mod family;
mod paths;
mod process;
pub mod server;
#[cfg(test)]
mod tests;
