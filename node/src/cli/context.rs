//! What every command works with: the console, the settings, the running node.

use std::path::PathBuf;

use meshnode_crypto::UnixMillis;

use crate::api::client::Client;
use crate::config::{ConfigError, Overrides, Settings};
use crate::output::{Console, Failure};

/// The surroundings of one command.
pub struct Context<'a> {
    /// Where it writes.
    pub console: &'a Console,
    overrides: Overrides,
}

impl<'a> Context<'a> {
    /// With these flags and variables over the file.
    pub fn new(console: &'a Console, overrides: Overrides) -> Context<'a> {
        Context { console, overrides }
    }

    /// The settings; a bad file is a failure.
    pub fn settings(&self) -> Result<Settings, ConfigError> {
        Settings::load(self.overrides.clone())
    }

    /// The settings for a command that only needs to find the node: a mistake in the default file is said
    /// and does not stop it, so that a running node can be asked while somebody edits.
    pub fn lenient_settings(&self) -> Result<Settings, ConfigError> {
        match self.settings() {
            Err(error) if !self.overrides.config_is_explicit => {
                self.console
                    .warn(format_args!("{error}; going on without the file"));
                Settings::without_file(self.overrides.clone())
            }
            other => other,
        }
    }

    /// The running node.
    pub fn node(&self) -> Result<Client, Failure> {
        let socket: PathBuf = match &self.overrides.layer.socket {
            Some(given) => given.value.clone(),
            None => self.lenient_settings()?.socket,
        };
        Ok(Client::new(socket))
    }

    /// Runs the asynchronous part of a command on this thread.
    pub fn block_on<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime
            .map_err(|error| Failure::new("cannot start").because(error))?
            .block_on(work)
    }
}

/// The wall clock.
pub fn now() -> UnixMillis {
    UnixMillis::from(std::time::SystemTime::now())
}
