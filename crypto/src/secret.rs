//! Key files: the only place here that touches a disk, and only when called.
//!
//! A write is seen whole or not at all, also through a power cut: a temporary file beside the target is
//! written, flushed, renamed over it, and the directory is flushed. A file that others can read or change
//! is refused: what they may have seen is no secret.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::error::SecretError;

/// Most bytes of a secret file; protects memory from a wrong path.
pub const MAX_SECRET_BYTES: u64 = 1024 * 1024;

/// Writes `bytes` to `path` with mode 0600, durable when it returns. The directory must exist.
pub fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), SecretError> {
    let temporary = temporary_beside(path)?;
    remove_leftover(&temporary)?;
    let written = write_new(&temporary, bytes)
        .and_then(|()| fs::rename(&temporary, path).map_err(|source| failed("replace", path, source)));
    if written.is_err() {
        // The reason is already in hand; a leftover is removed by the next write.
        let _ = fs::remove_file(&temporary);
    }
    written.and_then(|()| flush_directory(path))
}

/// Reads a file that only its owner can read or change.
pub fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    let mut file = OpenOptions::new()
        .read(true)
        .open(path)
        .map_err(|source| failed("open", path, source))?;
    let metadata = file
        .metadata()
        .map_err(|source| failed("examine", path, source))?;
    if !metadata.is_file() {
        return Err(SecretError::NotAFile {
            path: path.to_owned(),
        });
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(SecretError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    if metadata.len() > MAX_SECRET_BYTES {
        return Err(SecretError::TooLarge {
            path: path.to_owned(),
            bytes: metadata.len(),
        });
    }
    // Sized once, so that growing leaves no copies behind in freed memory.
    let mut bytes = Zeroizing::new(vec![0; usize::try_from(metadata.len()).unwrap_or(0)]);
    file.read_exact(&mut bytes)
        .map_err(|source| failed("read", path, source))?;
    Ok(bytes)
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<(), SecretError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|source| failed("create", path, source))?;
    file.set_permissions(fs::Permissions::from_mode(0o600))
        .map_err(|source| failed("protect", path, source))?;
    file.write_all(bytes)
        .map_err(|source| failed("write", path, source))?;
    file.sync_all().map_err(|source| failed("flush", path, source))
}

/// `.NAME.new` in the same directory, so that renaming never crosses a file system.
fn temporary_beside(path: &Path) -> Result<PathBuf, SecretError> {
    let Some(name) = path.file_name() else {
        return Err(SecretError::NotAFile {
            path: path.to_owned(),
        });
    };
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(".new");
    Ok(path.with_file_name(temporary))
}

fn remove_leftover(temporary: &Path) -> Result<(), SecretError> {
    match fs::remove_file(temporary) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(failed("remove the leftover", temporary, source))
        }
        _ => Ok(()),
    }
}

fn flush_directory(path: &Path) -> Result<(), SecretError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "a directory is flushed through a descriptor of it"
    )]
    let opened = File::open(directory);
    opened
        .and_then(|directory| directory.sync_all())
        .map_err(|source| failed("flush", directory, source))
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> SecretError {
    SecretError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}
