//! What a process has used: processor time and memory, from proc_pid_stat(5) and proc_pid_status(5).

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

use super::Process;

/// What the kernel counts processor time in (USER_HZ).
const TICK: Duration = Duration::from_millis(10);

impl Process {
    /// User and system time of all its threads since its start.
    ///
    /// # Errors
    /// It is gone.
    pub fn processor_time(&self) -> Result<Duration> {
        let stat = self.read("stat")?;
        // The name, in brackets, may contain anything: count after it. Fields 14 and 15 of the line.
        let after_name = stat.rsplit(") ").next().context("no name")?;
        let ticks = after_name.split(' ').skip(14 - 3).take(2).map(str::parse::<u32>);
        Ok(TICK * ticks.sum::<Result<u32, _>>()?)
    }

    /// Resident memory, in bytes.
    ///
    /// # Errors
    /// It is gone.
    pub fn resident(&self) -> Result<u64> {
        self.status_kilobytes("VmRSS:")
    }

    /// The most memory that was ever resident since its start or [`Process::forget_peak`], in bytes.
    ///
    /// # Errors
    /// It is gone.
    pub fn peak_resident(&self) -> Result<u64> {
        self.status_kilobytes("VmHWM:")
    }

    /// Starts [`Process::peak_resident`] anew. See clear_refs in proc_pid_clear_refs(5).
    ///
    /// # Errors
    /// It is gone, or the kernel was built without this.
    pub fn forget_peak(&self) -> Result<()> {
        let path = format!("/proc/{}/clear_refs", self.id());
        fs::write(&path, "5").with_context(|| format!("cannot write {path}"))
    }

    fn status_kilobytes(&self, key: &str) -> Result<u64> {
        let status = self.read("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let number = line
            .with_context(|| format!("no {key}"))?
            .trim()
            .trim_end_matches(" kB");
        Ok(number.parse::<u64>()? * 1024)
    }

    fn read(&self, file: &str) -> Result<String> {
        let path = format!("/proc/{}/{file}", self.id());
        fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
    }
}
