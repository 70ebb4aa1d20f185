//! Why a state directory is not used, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use meshnode_crypto::NodeId;

use crate::output::Failure;

use super::lock::Holder;

/// Why a state directory is refused. Nothing in it is changed when one of these is returned.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("no node here: the state directory {} is empty", .0.display())]
    Empty(PathBuf),
    #[error("what `init` or `join` began in {} was not finished", .0.display())]
    Unfinished(PathBuf),
    #[error("there is already a node in {}", directory.display())]
    Occupied { directory: PathBuf, found: &'static str },
    #[error("{} is the authority key of a mesh that was left", .0.display())]
    AuthorityKept(PathBuf),
    #[error("{} holds other things than a node ({found})", directory.display())]
    Foreign { directory: PathBuf, found: String },
    #[error("the state directory {} is in use by {holder}", directory.display())]
    InUse { directory: PathBuf, holder: Holder },
    #[error("{} is damaged: {why}", file.display())]
    Corrupt { file: PathBuf, why: String },
    #[error("the state directory {} is of format {found}; this program knows format {known}", directory.display())]
    Newer {
        directory: PathBuf,
        found: String,
        known: u32,
    },
    #[error("{} can be read by others (mode {mode:04o})", path.display())]
    Readable { path: PathBuf, mode: u32, right: u32 },
    #[error("the state directory {} mixes two nodes: its grant is for {}, its key is {}", directory.display(), granted.short(), key.short())]
    AnotherNode {
        directory: PathBuf,
        granted: NodeId,
        key: NodeId,
    },
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("cannot read random bytes from the kernel: {0}")]
    Entropy(String),
}

impl StateError {
    /// For `map_err`: what was being done to which path.
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
        let path = path.to_owned();
        move |source| StateError::Io { doing, path, source }
    }

    /// For a file whose content is not what was written.
    pub(super) fn corrupt(file: &Path, why: impl std::fmt::Display) -> StateError {
        StateError::Corrupt {
            file: file.to_owned(),
            why: why.to_string(),
        }
    }

    fn advice(&self) -> Option<String> {
        Some(match self {
            StateError::Empty(_) => {
                "run `meshnode init` to make a mesh, or `meshnode join` with a token to enter one".to_owned()
            }
            StateError::Unfinished(directory) => format!(
                "run the same command again, or remove {} to begin anew",
                directory.display()
            ),
            StateError::Occupied { directory, found } => format!(
                "run it with `meshnode up`, or give the new node its own --state-dir ({} holds {found})",
                directory.display()
            ),
            StateError::AuthorityKept(file) => format!(
                "move {} to a safe place first (who has it can admit anybody to that mesh)",
                file.display()
            ),
            StateError::Foreign { .. } => "give the node a directory of its own with --state-dir".to_owned(),
            StateError::InUse { .. } => {
                "stop that one, or give this node its own --state-dir, --socket and --interface".to_owned()
            }
            StateError::Corrupt { file, .. } => match file.parent() {
                Some(directory) => format!(
                    "restore {} from a backup, or remove it and join again with a new token",
                    directory.display()
                ),
                None => "restore it from a backup".to_owned(),
            },
            StateError::Newer { .. } => "run the meshnode version that wrote it, or a later one".to_owned(),
            StateError::Readable { path, right, .. } => format!("chmod {right:o} {}", path.display()),
            StateError::AnotherNode { .. } => {
                "restore all files of one node from one backup, or remove them and join again".to_owned()
            }
            StateError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "run it as root, or choose a directory of your own with --state-dir".to_owned()
            }
            StateError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                "free space on that disk".to_owned()
            }
            StateError::Io { source, .. } if source.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                "choose a directory that can be written with --state-dir".to_owned()
            }
            StateError::Io { .. } | StateError::Entropy(_) => return None,
        })
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Failure {
        let failure = Failure::new(&error);
        match error.advice() {
            Some(advice) => failure.fix(advice),
            None => failure,
        }
    }
}
