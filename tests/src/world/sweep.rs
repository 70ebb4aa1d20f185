//! Which worlds have an owner, and the end of those that have none.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{host, open_lock};

const LOCKS: &str = "/run/meshnode-worlds";

/// Makes this process the owner of `name` for as long as it keeps the file open.
pub(super) fn claim(name: &str) -> Result<File> {
    fs::create_dir_all(LOCKS).with_context(|| format!("cannot make {LOCKS}"))?;
    let lock = open_lock(&path_of(name))?;
    lock.try_lock()
        .with_context(|| format!("the world {name} has another owner"))?;
    Ok(lock)
}

/// Gives the name up. Its hosts are gone by now.
pub(super) fn release(name: &str) {
    let _gone_already = fs::remove_file(path_of(name));
}

/// Ends the processes in, and removes, the namespaces of every world whose lock is free.
pub(super) fn sweep_dead_worlds() -> Result<()> {
    let Ok(entries) = fs::read_dir(LOCKS) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let lock = open_lock(&entry.path())?;
        if lock.try_lock().is_ok() {
            remove_namespaces(&name);
            remove_directories(&name);
            release(&name);
        }
    }
    Ok(())
}

fn remove_namespaces(world: &str) {
    let Ok(entries) = fs::read_dir("/run/netns") else {
        return;
    };
    for entry in entries.flatten() {
        let namespace = entry.file_name().to_string_lossy().into_owned();
        if namespace
            .strip_prefix(world)
            .is_some_and(|rest| rest.starts_with('-'))
        {
            host::remove_namespace(&namespace);
        }
    }
}

/// Directories of logs begin with the world's name.
pub(super) fn remove_directories(world: &str) {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.strip_prefix(world).is_some_and(|rest| rest.starts_with('-')) {
            let _gone_already = fs::remove_dir_all(entry.path());
        }
    }
}

fn path_of(name: &str) -> PathBuf {
    Path::new(LOCKS).join(name)
}
