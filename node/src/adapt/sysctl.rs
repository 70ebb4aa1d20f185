//! Host settings under /proc/sys/net.

use std::fs;
use std::path::{Path, PathBuf};

const NET: &str = "/proc/sys/net";

/// True when `interface` (or `default`, `all`) may use IPv6.
pub(crate) fn ipv6_enabled(interface: &str) -> bool {
    read(&format!("ipv6/conf/{interface}/disable_ipv6")).is_some_and(|value| value == "0")
}

fn path(key: &str) -> PathBuf {
    Path::new(NET).join(key)
}

fn read(key: &str) -> Option<String> {
    Some(fs::read_to_string(path(key)).ok()?.trim().to_owned())
}
