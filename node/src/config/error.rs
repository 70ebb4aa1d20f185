//! What is wrong with a configuration, to the line.

use std::io;
use std::path::PathBuf;

use crate::output::Failure;

use super::origin::Key;
use super::prefix::PrefixKey;

/// Why a configuration is refused. Every one ends the command with exit code 2.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the configuration {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("the configuration {} is larger than {limit} bytes", path.display())]
    TooLarge { path: PathBuf, limit: u64 },
    #[error("{}:{line}: the file is not UTF-8 text", path.display())]
    NotText { path: PathBuf, line: usize },
    #[error("{}:{line}: {message}", path.display())]
    Syntax {
        path: PathBuf,
        line: usize,
        message: String,
    },
    #[error("{}:{line}: unknown key `{key}`{}", path.display(), suggestion(*.nearest))]
    UnknownKey {
        path: PathBuf,
        line: usize,
        key: String,
        nearest: Option<Key>,
    },
    #[error("{}:{line}: `{key}`: {message}", path.display())]
    Value {
        path: PathBuf,
        line: usize,
        key: Key,
        message: String,
    },
    #[error("{}:{line}: unknown key `{key}`{}", path.display(), option_suggestion(*.nearest))]
    UnknownOption {
        path: PathBuf,
        line: usize,
        key: String,
        nearest: Option<PrefixKey>,
    },
    #[error("{}:{line}: `{key}`: {message}", path.display())]
    Option {
        path: PathBuf,
        line: usize,
        key: PrefixKey,
        message: String,
    },
    #[error("{}:{line}: [prefix]: {message}", path.display())]
    NoPrefix {
        path: PathBuf,
        line: usize,
        message: String,
    },
    #[error("no name for this node: {0}")]
    NoName(String),
}

impl ConfigError {
    fn advice(&self) -> Option<String> {
        match self {
            ConfigError::Unreadable { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("give the right path to --config, or leave the option away".to_owned())
            }
            ConfigError::TooLarge { .. } => {
                Some("give the configuration file, not another one, to --config".to_owned())
            }
            ConfigError::UnknownKey { nearest: None, .. } => Some(format!(
                "the known keys are {}",
                Key::ALL.map(Key::as_str).join(", ")
            )),
            ConfigError::UnknownOption { nearest: None, .. } => Some(format!(
                "a prefix has the keys {}",
                PrefixKey::ALL.map(PrefixKey::as_str).join(", ")
            )),
            ConfigError::NoName(_) => {
                Some("give it one with --name, MESHNODE_NAME or `name` in the file".to_owned())
            }
            _ => None,
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Failure {
        let failure = Failure::usage(&error);
        match error.advice() {
            Some(advice) => failure.fix(advice),
            None => failure,
        }
    }
}

fn suggestion(nearest: Option<Key>) -> String {
    nearest
        .map(|key| format!("; did you mean `{key}`?"))
        .unwrap_or_default()
}

fn option_suggestion(nearest: Option<PrefixKey>) -> String {
    nearest
        .map(|key| format!("; did you mean `{key}`?"))
        .unwrap_or_default()
}
