//! A process on a host, and its log.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::lock;
use crate::wait::eventually;

/// A started program. Clones are the same process.
#[derive(Clone, Debug)]
pub struct Process {
    name: Arc<str>,
    id: u32,
    log: Arc<PathBuf>,
    child: Arc<Mutex<Child>>,
    expected_errors: Arc<Mutex<Vec<String>>>,
}

impl Process {
    pub(super) fn spawn(mut command: Command, name: &str, log: &Path) -> Result<Process> {
        let out = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        command.stdout(out.try_clone()?).stderr(out);
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Process {
            name: name.into(),
            id: child.id(),
            log: Arc::new(log.to_owned()),
            child: Arc::new(Mutex::new(child)),
            expected_errors: Arc::default(),
        })
    }

    /// Its process id, as seen from everywhere.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// What it printed so far.
    pub fn log(&self) -> String {
        fs::read(&*self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Lines at ERROR that contain `text` belong to the scenario.
    pub fn expect_error(&self, text: &str) {
        lock(&self.expected_errors).push(text.to_owned());
    }

    /// # Errors
    /// The log has a line at ERROR, or a panic, that nobody expected.
    pub fn no_unexpected_error(&self) -> Result<()> {
        let expected = lock(&self.expected_errors).clone();
        let log = self.log();
        let unexpected = log
            .lines()
            .find(|line| is_error(line) && !expected.iter().any(|text| line.contains(text.as_str())));
        ensure!(
            unexpected.is_none(),
            "{} logged an error: {}",
            self.name,
            unexpected.unwrap_or_default()
        );
        Ok(())
    }

    /// Sends a signal; a process that is gone does not mind.
    pub fn signal(&self, signal: Signal) {
        let mut child = self.child();
        if matches!(child.try_wait(), Ok(None)) {
            let _gone_meanwhile = kill(Pid::from_raw(self.id.cast_signed()), signal);
        }
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&self) {
        let mut child = self.child();
        let _gone_already = child.kill();
        let _reaped = child.wait();
    }

    /// Has it ended, and how?
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.child().try_wait().ok().flatten()
    }

    /// Waits for its own end.
    ///
    /// # Errors
    /// It still runs after `within`.
    pub fn wait(&self, within: Duration) -> Result<ExitStatus> {
        eventually(&format!("the end of {}", self.name), within, || {
            self.exit_status().context("it still runs")
        })
    }

    /// # Errors
    /// It ended; the message says how, and has the end of its log.
    pub fn still_runs(&self) -> Result<()> {
        let Some(status) = self.exit_status() else {
            return Ok(());
        };
        let how = match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (None, signal) => format!("signal {}", signal.unwrap_or_default()),
        };
        let log = self.log();
        let tail: Vec<&str> = log.lines().rev().take(5).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        anyhow::bail!("{} ended with {how}: {}", self.name, tail.join(" | "))
    }

    #[allow(clippy::print_stderr, reason = "what a failed test shows")]
    pub(super) fn print_log(&self, lines: usize) {
        let log = self.log();
        let skipped = log.lines().count().saturating_sub(lines);
        eprintln!(
            "--- log of {} (process {}, {skipped} earlier lines left out)",
            self.name, self.id
        );
        for line in log.lines().skip(skipped) {
            eprintln!("    {line}");
        }
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_error(line: &str) -> bool {
    let level = line.split_whitespace().take(3).any(|word| word == "ERROR");
    level || line.contains("panicked at")
}
