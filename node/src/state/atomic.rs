//! Files that are whole, old or new, whatever happens while they are written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The points between which power may fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing happened yet.
    Start,
    /// The new file exists beside the old one, empty.
    Created,
    /// It holds the bytes.
    Written,
    /// They are on the disk.
    Synced,
    /// It stands in the place of the old one.
    Renamed,
}

/// Replaces `path` (mode 0600) by `bytes`; durable when it returns.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let written = write_in_steps(path, bytes, |_| Ok(()));
    if written.is_err() {
        // The reason is in hand already; a full disk should not keep half a file as well.
        let _swept_at_the_next_start = fs::remove_file(temporary_of(path));
    }
    written
}

/// Like [`write`], asking `reached` before it goes on from each step; an error there ends the writing as a
/// power cut would, with everything left lying.
pub fn write_in_steps(
    path: &Path,
    bytes: &[u8],
    mut reached: impl FnMut(Step) -> io::Result<()>,
) -> io::Result<()> {
    let temporary = temporary_of(path);
    reached(Step::Start)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    reached(Step::Created)?;
    file.write_all(bytes)?;
    reached(Step::Written)?;
    file.sync_all()?;
    reached(Step::Synced)?;
    fs::rename(&temporary, path)?;
    reached(Step::Renamed)?;
    sync_directory_of(path)
}

/// Removes `path` if it is there; durable when it returns.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    }
    sync_directory_of(path)
}

/// Removes what a power cut left beside `path`.
pub fn sweep(path: &Path) -> io::Result<()> {
    remove(&temporary_of(path))
}

fn temporary_of(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    path.with_file_name(name)
}

fn sync_directory_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: [Step; 5] = [
        Step::Start,
        Step::Created,
        Step::Written,
        Step::Synced,
        Step::Renamed,
    ];

    #[test]
    fn a_power_cut_at_any_step_leaves_the_old_or_the_new_file() {
        for cut in STEPS {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("counter");
            write(&path, b"old").unwrap();
            let cut_here = |step| {
                if step == cut {
                    Err(io::Error::other("power cut"))
                } else {
                    Ok(())
                }
            };
            assert!(write_in_steps(&path, b"newer", cut_here).is_err());
            let found = fs::read(&path).unwrap();
            let expected: &[u8] = if cut == Step::Renamed { b"newer" } else { b"old" };
            assert_eq!(found, expected, "{cut:?}");
            write(&path, b"after").unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"after");
        }
    }

    #[test]
    fn a_leftover_is_swept_and_the_file_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("counter");
        write(&path, b"old").unwrap();
        fs::write(temporary_of(&path), b"half").unwrap();
        sweep(&path).unwrap();
        sweep(&path).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn removing_what_is_not_there_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        remove(&dir.path().join("nothing")).unwrap();
    }
}
