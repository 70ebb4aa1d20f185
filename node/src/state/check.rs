//! Looking at a state directory before it is used.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::FORMAT;
use super::error::StateError;

/// Every file that this program makes there, but for those under `clients/`.
pub const FILES: [&str; 15] = [
    "version",
    "lock",
    "node.key",
    "client.key",
    "authority.key",
    "mesh",
    "chain",
    "peers.cache",
    "revocations",
    "admissions",
    "tokens",
    "counter",
    "announced.json",
    "clients.json",
    "owned.json",
];

/// Those whose content must stay with their owner.
const SECRET: [&str; 4] = ["node.key", "client.key", "authority.key", "clients"];

/// What a state directory holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Nothing of ours, or it does not exist.
    Empty,
    /// Only the authority key of a mesh that was left.
    Left,
    /// Keys, but no grant: `init` or `join` began and did not end.
    Unfinished,
    /// A member.
    Member,
}

/// What `path` holds.
pub fn presence(path: &Path) -> Result<Presence, StateError> {
    let has = |name: &str| -> Result<bool, StateError> {
        let file = path.join(name);
        file.try_exists().map_err(StateError::io("look at", &file))
    };
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Presence::Empty),
        Ok(metadata) if !metadata.is_dir() => {
            return Err(StateError::corrupt(
                path,
                "it is a file where the state directory should be",
            ));
        }
        other => other.map_err(StateError::io("look at", path))?,
    };
    Ok(match (has("chain")?, has("node.key")?, has("authority.key")?) {
        (true, _, _) => Presence::Member,
        (false, true, _) => Presence::Unfinished,
        (false, false, true) => Presence::Left,
        (false, false, false) => Presence::Empty,
    })
}

/// What to call the node that is there.
pub fn found(path: &Path) -> &'static str {
    match path.join("authority.key").exists() {
        true => "the founder of a mesh",
        false => "a member of a mesh",
    }
}

/// Something there that is not ours, if there is any.
pub fn foreign(path: &Path) -> Result<Option<String>, StateError> {
    for entry in fs::read_dir(path).map_err(StateError::io("read", path))? {
        let name = entry
            .map_err(StateError::io("read", path))?
            .file_name()
            .to_string_lossy()
            .into_owned();
        let plain = name
            .strip_prefix('.')
            .and_then(|rest| rest.strip_suffix(".new"))
            .unwrap_or(&name);
        if !FILES.contains(&plain) && !matches!(plain, "lost+found" | "clients") {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Refuses formats that this program does not know.
pub fn format(path: &Path) -> Result<(), StateError> {
    let file = path.join("version");
    let text = match fs::read_to_string(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(StateError::corrupt(&file, "it is missing"));
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(StateError::corrupt(&file, "it is not a number"));
        }
        other => other.map_err(StateError::io("read", &file))?,
    };
    match text.trim().parse::<u32>() {
        Ok(FORMAT) => Ok(()),
        Ok(found) if found > FORMAT => Err(StateError::Newer {
            directory: path.to_owned(),
            found: found.to_string(),
            known: FORMAT,
        }),
        _ => Err(StateError::corrupt(&file, "it is not a format that ever was")),
    }
}

/// Like [`format`], for a directory that may have none yet.
pub fn format_if_any(path: &Path) -> Result<(), StateError> {
    match path.join("version").exists() {
        true => format(path),
        false => Ok(()),
    }
}

/// Refuses what others could read: the directory, and what is secret in it.
pub fn permissions(path: &Path) -> Result<(), StateError> {
    private(path, 0o700)?;
    for name in SECRET {
        let right = if name == "clients" { 0o700 } else { 0o600 };
        private(&path.join(name), right)?;
    }
    Ok(())
}

fn private(path: &Path, right: u32) -> Result<(), StateError> {
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(StateError::io("look at", path))?,
    };
    let mode = metadata.permissions().mode() & 0o7777;
    match mode & 0o077 {
        0 => Ok(()),
        _ => Err(StateError::Readable {
            path: path.to_owned(),
            mode,
            right,
        }),
    }
}
