//! One process at a time in a state directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Held while it lives; the kernel gives it back when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Who has the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its process id, if the file says one.
    pub pid: Option<u32>,
    /// What it runs: the program and its command, without options (they may hold a token).
    pub command: Option<String>,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.pid, &self.command) {
            (Some(pid), Some(command)) => write!(f, "`{command}` (pid {pid})"),
            (Some(pid), None) => write!(f, "pid {pid}"),
            _ => f.write_str("another process"),
        }
    }
}

/// Why there is no lock.
#[derive(Debug)]
pub enum LockError {
    /// Somebody else has it.
    Held(Holder),
    /// The file cannot be used.
    Io(io::Error),
}

impl Lock {
    /// Takes the lock at `path`, at once or not at all.
    pub fn take(path: &Path) -> Result<Lock, LockError> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(LockError::Io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LockError::Held(holder(&mut file))),
            Err(TryLockError::Error(error)) => return Err(LockError::Io(error)),
        }
        note_pid(&mut file).map_err(LockError::Io)?;
        Ok(Lock { _file: file })
    }
}

/// Tells others whom they meet. A full disk must not keep a node from starting, so running out of space
/// here is no failure: the lock itself is in the kernel.
fn note_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    match write!(file, "{}", std::process::id()) {
        Err(error) if error.kind() == io::ErrorKind::StorageFull => Ok(()),
        other => other,
    }
}

fn holder(file: &mut File) -> Holder {
    let mut text = String::new();
    let pid = match file.take(20).read_to_string(&mut text) {
        Ok(_) => text.trim().parse().ok(),
        Err(_) => None,
    };
    Holder {
        pid,
        command: pid.and_then(command_of),
    }
}

/// `meshnode up` from `/usr/bin/meshnode --state-dir /srv up`: the program and its command, nothing else.
fn command_of(pid: u32) -> Option<String> {
    const COMMANDS: [&str; 4] = ["init", "up", "join", "guard"];
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let mut words = line.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    let program = words.next()?;
    let program = program.rsplit('/').next()?.to_owned();
    match words.find(|word| COMMANDS.contains(&word.as_ref())) {
        Some(command) => Some(format!("{program} {command}")),
        None => Some(program),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_the_first_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = Lock::take(&path).unwrap();
        match Lock::take(&path) {
            Err(LockError::Held(holder)) => {
                assert_eq!(holder.pid, Some(std::process::id()));
                assert!(holder.command.unwrap().starts_with("meshnode"));
            }
            other => panic!("{other:?}"),
        }
        drop(first);
        Lock::take(&path).unwrap();
    }
}
