//! Host settings under /proc/sys/net that forwarding needs.
//!
//! What may be set is set and said; what may not is said with the exact line to run, and the node
//! runs on: a container with a read-only /proc/sys often has the right values already.

use std::fs;
use std::io;
use std::path::PathBuf;

/// One setting that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was `from` and is right now.
    Changed {
        /// As in `sysctl`, with dots.
        key: String,
        /// The value before.
        from: String,
        /// The value now.
        to: String,
    },
    /// It is wrong and could not be changed.
    Refused {
        /// As in `sysctl`, with dots.
        key: String,
        /// The value it should have.
        to: String,
        /// Why not.
        why: String,
    },
}

impl Outcome {
    /// What the user should do, if there is something to do.
    pub fn advice(&self) -> Option<String> {
        match self {
            Outcome::Changed { .. } => None,
            Outcome::Refused { key, to, why } => Some(format!(
                "cannot set {key} ({why}); as root, run: sysctl -w {key}={to}"
            )),
        }
    }

    fn say(&self) {
        match self {
            Outcome::Changed { key, from, to } => tracing::info!("host setting {key}: {from} -> {to}"),
            Outcome::Refused { .. } => {
                tracing::warn!("{}", self.advice().unwrap_or_default());
            }
        }
    }
}

/// A tree of settings: /proc/sys/net, or a copy of it in tests.
#[derive(Debug, Clone)]
pub struct Settings {
    root: PathBuf,
}

impl Settings {
    /// The running kernel's.
    pub fn of_kernel() -> Settings {
        Settings {
            root: PathBuf::from("/proc/sys/net"),
        }
    }

    /// Sets what forwarding between `interface` and the rest of the host needs. `ra_interfaces` have a
    /// default route by router advertisement, which forwarding would switch off.
    pub fn prepare(&self, interface: &str, ra_interfaces: &[String]) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        outcomes.extend(self.set("ipv4/ip_forward", "1"));
        for ra in ra_interfaces {
            outcomes.extend(self.set(&format!("ipv6/conf/{ra}/accept_ra"), "2"));
        }
        if self.ipv6_enabled(interface) {
            outcomes.extend(self.set("ipv6/conf/all/forwarding", "1"));
        }
        outcomes.extend(self.set(&format!("ipv4/conf/{interface}/rp_filter"), "2"));
        // The kernel takes the larger of `all` and the interface's: 2 makes every strict one loose.
        if self.any_strict() {
            outcomes.extend(self.set("ipv4/conf/all/rp_filter", "2"));
        }
        outcomes.iter().for_each(Outcome::say);
        outcomes
    }

    /// True when `interface` (or `default`) may use IPv6.
    pub fn ipv6_enabled(&self, interface: &str) -> bool {
        self.ipv6_of(interface).unwrap_or(false)
    }

    /// `None` for an interface that does not exist, and on kernels without IPv6.
    pub fn ipv6_of(&self, interface: &str) -> Option<bool> {
        self.read(&format!("ipv6/conf/{interface}/disable_ipv6"))
            .map(|value| value == "0")
    }

    fn any_strict(&self) -> bool {
        let Ok(entries) = fs::read_dir(self.root.join("ipv4/conf")) else {
            return false;
        };
        let names = entries.filter_map(|e| e.ok()?.file_name().into_string().ok());
        names
            .filter(|n| n != "default")
            .any(|n| self.read(&format!("ipv4/conf/{n}/rp_filter")).as_deref() == Some("1"))
    }

    /// `None` when it was right already, or when this kernel has no such setting.
    fn set(&self, key: &str, to: &str) -> Option<Outcome> {
        let from = self.read(key)?;
        if from == to {
            return None;
        }
        let name = format!("net.{}", key.replace('/', "."));
        Some(match fs::write(self.root.join(key), to) {
            Ok(()) => Outcome::Changed {
                key: name,
                from,
                to: to.to_owned(),
            },
            Err(error) => Outcome::Refused {
                key: name,
                to: to.to_owned(),
                why: reason(&error),
            },
        })
    }

    fn read(&self, key: &str) -> Option<String> {
        Some(fs::read_to_string(self.root.join(key)).ok()?.trim().to_owned())
    }
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => "/proc/sys is read-only here".to_owned(),
        io::ErrorKind::PermissionDenied => "not permitted".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(values: &[(&str, &str)]) -> (tempfile::TempDir, Settings) {
        let dir = tempfile::tempdir().unwrap();
        for (key, value) in values {
            let path = dir.path().join(key);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{value}\n")).unwrap();
        }
        let root = dir.path().to_owned();
        (dir, Settings { root })
    }

    const PLAIN: [(&str, &str); 6] = [
        ("ipv4/ip_forward", "0"),
        ("ipv4/conf/all/rp_filter", "0"),
        ("ipv4/conf/mesh0/rp_filter", "0"),
        ("ipv6/conf/all/forwarding", "0"),
        ("ipv6/conf/mesh0/disable_ipv6", "0"),
        ("ipv6/conf/eth0/accept_ra", "1"),
    ];

    #[test]
    fn forwarding_is_switched_on_once_and_router_advertisements_are_kept() {
        let (_dir, settings) = tree(&PLAIN);
        let first = settings.prepare("mesh0", &["eth0".to_owned()]);
        assert_eq!(first.len(), 4, "{first:?}");
        assert_eq!(settings.read("ipv6/conf/eth0/accept_ra").as_deref(), Some("2"));
        assert_eq!(settings.read("ipv6/conf/all/forwarding").as_deref(), Some("1"));
        assert_eq!(settings.read("ipv4/conf/all/rp_filter").as_deref(), Some("0"));
        assert!(settings.prepare("mesh0", &["eth0".to_owned()]).is_empty());
    }

    #[test]
    fn a_strict_interface_makes_all_loose() {
        let (dir, settings) = tree(&PLAIN);
        fs::create_dir_all(dir.path().join("ipv4/conf/eth0")).unwrap();
        fs::write(dir.path().join("ipv4/conf/eth0/rp_filter"), "1").unwrap();
        settings.prepare("mesh0", &[]);
        assert_eq!(settings.read("ipv4/conf/all/rp_filter").as_deref(), Some("2"));
    }

    #[test]
    fn with_ipv6_disabled_its_forwarding_is_left_alone() {
        let (dir, settings) = tree(&PLAIN);
        fs::write(dir.path().join("ipv6/conf/mesh0/disable_ipv6"), "1").unwrap();
        settings.prepare("mesh0", &[]);
        assert_eq!(settings.read("ipv6/conf/all/forwarding").as_deref(), Some("0"));
    }

    #[test]
    fn refusal_names_the_line_to_run() {
        let refused = Outcome::Refused {
            key: "net.ipv4.ip_forward".into(),
            to: "1".into(),
            why: "not permitted".into(),
        };
        assert!(
            refused
                .advice()
                .unwrap()
                .ends_with("sysctl -w net.ipv4.ip_forward=1")
        );
    }
}
