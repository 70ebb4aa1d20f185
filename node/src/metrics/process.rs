//! The process itself, under the names that every Prometheus client uses: dashboards for any program fit.

use std::fs;
use std::time::Duration;

use meshnode_crypto::UnixMillis;
use rustix::time::{ClockId, clock_gettime};

use super::family::Family;

/// What the kernel says of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Process {
    /// Processor time of all threads, user and kernel.
    pub cpu: Duration,
    /// Memory in RAM, bytes; none where `/proc` is not mounted.
    pub resident: Option<u64>,
    /// Open file descriptors; none where `/proc` is not mounted.
    pub open_files: Option<u64>,
    /// When it began, by the wall clock of then.
    pub started: UnixMillis,
}

impl Process {
    /// Asks the kernel.
    pub fn read(started: UnixMillis) -> Process {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        Process {
            cpu: Duration::new(
                u64::try_from(cpu.tv_sec).unwrap_or_default(),
                u32::try_from(cpu.tv_nsec).unwrap_or_default(),
            ),
            resident: fs::read_to_string("/proc/self/status")
                .ok()
                .and_then(|status| resident(&status)),
            open_files: fs::read_dir("/proc/self/fd").ok().map(|open| open.count() as u64),
            started,
        }
    }

    /// As metrics.
    pub fn families(&self) -> Vec<Family> {
        let mut cpu = Family::counter(
            "process_cpu_seconds_total",
            "Processor time of all threads, user and kernel.",
        );
        cpu.add(&[], self.cpu.as_secs_f64());
        let mut resident = Family::gauge("process_resident_memory_bytes", "Memory in RAM.");
        resident.add(&[], self.resident.map(|bytes| bytes as f64));
        let mut open = Family::gauge("process_open_fds", "Open file descriptors.");
        open.add(&[], self.open_files.map(|count| count as f64));
        let mut started = Family::gauge(
            "process_start_time_seconds",
            "Unix time at which the process began.",
        );
        started.add(&[], self.started.0 as f64 / 1000.0);
        vec![cpu, resident, open, started]
    }
}

/// Bytes, from `/proc/<pid>/status` (proc_pid_status(5): `VmRSS:     17000 kB`).
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_in_bytes() {
        assert_eq!(
            resident("Name:\tmeshnode\nVmRSS:\t   17000 kB\n"),
            Some(17_408_000)
        );
        for odd in [
            "",
            "VmRSS:",
            "VmRSS: x kB",
            "VmRSS: 5",
            "VmRSS: 99999999999999999999 kB",
            "VmRSS: 18446744073709551615 kB",
        ] {
            assert_eq!(resident(odd), None, "{odd}");
        }
    }

    #[test]
    fn the_kernel_knows_this_process() {
        let process = Process::read(UnixMillis(5));
        assert!(process.resident.unwrap() > 0 && process.open_files.unwrap() > 0);
        assert!(process.cpu > Duration::ZERO);
    }
}
