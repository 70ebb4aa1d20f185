//! Starting cargo and what cargo built.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

/// Says what happens next, on standard error: standard output belongs to the task.
pub(crate) fn step(what: &str) {
    eprintln!("\x1b[1m==>\x1b[0m {what}");
}

/// Runs one cargo command with its output shown.
pub(crate) fn cargo(arguments: &[&str]) -> Result<(), String> {
    run(
        Command::new(program()).args(arguments),
        &format!("cargo {}", arguments.join(" ")),
    )
}

/// Both binaries in one command: cargo then builds each dependency once, with the features of both.
pub(crate) fn build_demo() -> Result<(), String> {
    cargo(&[
        "build",
        "--quiet",
        "-p",
        "meshnode",
        "-p",
        "meshnode-tests",
        "--bin",
        "meshnode",
        "--bin",
        "demo",
    ])
}

/// What measures and what is measured are release binaries.
pub(crate) fn build_release(programs: &[&str]) -> Result<(), String> {
    let mut words = vec!["build", "--release", "-p", "meshnode", "-p", "meshnode-tests"];
    words.extend(programs.iter().flat_map(|program| ["--bin", program]));
    cargo(&words)
}

/// Replaces this process by a built program, so that signals from the terminal reach it alone and
/// its clean-up is waited for. Returns only when that failed.
pub(crate) fn become_program(name: &str, profile: &str, arguments: &[&str]) -> String {
    let path = target_directory().join(profile).join(name);
    let error = Command::new(&path).args(arguments).exec();
    format!("cannot start {}: {error}", path.display())
}

/// Runs a command and turns a failure into its description.
pub(crate) fn run(command: &mut Command, shown: &str) -> Result<(), String> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{shown}` failed ({status})")),
        Err(error) => Err(format!("`{shown}` did not start: {error}")),
    }
}

fn program() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

/// Where cargo puts what it builds; this very program stands in `<target>/debug/xtask`.
fn target_directory() -> PathBuf {
    let here = std::env::current_exe().ok();
    here.and_then(|path| Some(path.parent()?.parent()?.to_path_buf()))
        .unwrap_or_else(|| PathBuf::from("target"))
}
