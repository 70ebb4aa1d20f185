//! A share of the processor: control groups, of whichever version the machine has.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::Process;

/// Version 2 has all controllers in one tree.
const UNIFIED: &str = "/sys/fs/cgroup";
/// Version 1 has a tree for the processor.
const OF_PROCESSOR: &str = "/sys/fs/cgroup/cpu";
/// In microseconds: a share is so much of each.
const PERIOD: u32 = 100_000;

/// A group with one process. It is lifted when this is dropped.
#[derive(Debug)]
pub struct Share {
    group: PathBuf,
    above: PathBuf,
    process: u32,
}

impl Share {
    /// At most so many hundredths of one core.
    pub(super) fn limit(name: &str, process: &Process, percent: u32) -> Result<Share> {
        let quota = PERIOD / 100 * percent;
        let (above, settings) = if Path::new(OF_PROCESSOR).join("cpu.cfs_quota_us").exists() {
            let settings = [
                ("cpu.cfs_period_us", PERIOD.to_string()),
                ("cpu.cfs_quota_us", quota.to_string()),
            ];
            (Path::new(OF_PROCESSOR), settings.to_vec())
        } else if Path::new(UNIFIED).join("cgroup.controllers").exists() {
            let _on_already = fs::write(Path::new(UNIFIED).join("cgroup.subtree_control"), "+cpu");
            (Path::new(UNIFIED), vec![("cpu.max", format!("{quota} {PERIOD}"))])
        } else {
            bail!("there are no control groups for the processor below {UNIFIED}");
        };
        let share = Share {
            group: above.join(name),
            above: above.to_owned(),
            process: process.id(),
        };
        fs::create_dir_all(&share.group).with_context(|| format!("cannot make {}", share.group.display()))?;
        for (file, value) in settings {
            share.write(file, &value)?;
        }
        share.write("cgroup.procs", &process.id().to_string())?;
        Ok(share)
    }

    /// The process may run as it likes again.
    ///
    /// # Errors
    /// The group cannot be left.
    pub fn lift(self) -> Result<()> {
        self.leave()
    }

    fn leave(&self) -> Result<()> {
        if !self.group.exists() {
            return Ok(());
        }
        let _gone = fs::write(self.above.join("cgroup.procs"), self.process.to_string());
        fs::remove_dir(&self.group).with_context(|| format!("cannot remove {}", self.group.display()))
    }

    fn write(&self, file: &str, value: &str) -> Result<()> {
        let path = self.group.join(file);
        fs::write(&path, value).with_context(|| format!("cannot write {value} to {}", path.display()))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let _gone_already = self.leave();
    }
}
