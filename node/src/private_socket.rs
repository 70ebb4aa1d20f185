//! Unix sockets that only their owner may use.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tokio::net::UnixListener;

/// Makes a socket, 0600, in place of whatever is there. Nobody can connect between making and protecting it: it is made
/// under a name of our own first.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    let name = path
        .file_name()
        .ok_or(io::ErrorKind::InvalidInput)?
        .to_string_lossy()
        .into_owned();
    let fresh = path.with_file_name(format!(".{name}.{}", std::process::id()));
    remove(&fresh)?;
    let listener = UnixListener::bind(&fresh)?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&fresh, path)?;
    Ok(listener)
}

/// Removes the socket at the end.
pub fn unbind(path: &Path) {
    if let Err(error) = remove(path) {
        tracing::warn!(%error, "cannot remove the socket {}", path.display());
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
