//! Where and when a run was: figures of another machine do not compare.

use std::fs;
use std::process::Command;

/// The machine, the day and the command.
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    pub(crate) memory_gb: f64,
    /// UTC, as 2026-11-30.
    pub(crate) date: String,
    /// The commit of this source tree, if there is one.
    pub(crate) commit: String,
    pub(crate) iperf3: String,
    pub(crate) command: String,
}

impl Machine {
    pub(crate) fn this() -> Machine {
        Machine {
            processor: processor(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: read("/proc/sys/kernel/osrelease"),
            memory_gb: memory_gb(),
            date: says("date", &["--utc", "+%Y-%m-%d"]),
            commit: says("git", &["describe", "--always", "--dirty", "--exclude=*"]),
            iperf3: says("iperf3", &["--version"]),
            command: command(),
        }
    }

    /// In one line.
    pub(crate) fn describe(&self) -> String {
        format!(
            "{} × {}, {:.0} GB, Linux {}",
            self.cores, self.processor, self.memory_gb, self.kernel
        )
    }
}

fn processor() -> String {
    let text = read("/proc/cpuinfo");
    let line = text.lines().find_map(|line| line.strip_prefix("model name"));
    let name = line.and_then(|line| line.split(": ").nth(1));
    name.unwrap_or("unknown processor").to_owned()
}

fn memory_gb() -> f64 {
    let text = read("/proc/meminfo");
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kilobytes.unwrap_or(0.0) * 1024.0 / 1e9
}

/// The arguments as they were given to `cargo xtask bench`.
fn command() -> String {
    let words = std::env::args().skip(1).map(|word| match word.contains(' ') {
        true => format!("'{word}'"),
        false => word,
    });
    let words: Vec<String> = words.collect();
    format!("cargo xtask bench {}", words.join(" "))
        .trim_end()
        .to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// The first line that a program prints; "unknown" if there is none.
fn says(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.lines().next().unwrap_or("unknown").trim().to_owned()
}
