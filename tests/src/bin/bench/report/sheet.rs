//! A page of one small table: what the single tasks write.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::machine::Machine;
use crate::step;

/// Prints `body` and writes it, below a title and what the run was, to `<directory>/<name>.md`.
pub(crate) fn save(directory: &Path, name: &str, title: &str, body: &str) -> Result<()> {
    let machine = Machine::this();
    let page = format!(
        "# {title}\n\n`{}` on {}, commit {}:\n{}. What it measures: [README](README.md).\n\n{body}",
        machine.command,
        machine.date,
        machine.commit,
        machine.describe()
    );
    println!("{page}");
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let path = directory.join(format!("{name}.md"));
    fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
    step(&format!("written: {}", path.display()));
    Ok(())
}
