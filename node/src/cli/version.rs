//! `meshnode version`.

use clap::Args;

use crate::output::{Console, Failure};

/// Options of `version`.
#[derive(Debug, Args)]
pub struct Options {}

impl Options {
    pub fn run(&self, console: &Console) -> Result<(), Failure> {
        console.print(format_args!("meshnode {}", env!("CARGO_PKG_VERSION")))
    }
}
