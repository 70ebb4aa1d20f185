//! `meshnode completions SHELL`.

use clap::{Args, Command};
use clap_complete::Shell;

use crate::output::{Console, Failure};

/// Options of `completions`.
#[derive(Debug, Args)]
pub struct Options {
    /// For which shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

impl Options {
    pub fn run(&self, mut command: Command, console: &Console) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "meshnode", &mut script);
        console.print_raw(String::from_utf8_lossy(&script))
    }
}
