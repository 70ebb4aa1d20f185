//! Debian packages: installs exactly those that a task needs and the machine lacks.
//!
//! Packages of daemons would start them at once. While apt runs, `/usr/sbin/policy-rc.d` forbids that
//! (Debian's own mechanism, see invoke-rc.d(8)), and services that came with a package are disabled.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::cargo::{run, step};

/// What the packages are for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Demo,
    Test,
    Bench,
    Everything,
}

/// A package, a file it brings, and who needs it.
struct Package {
    name: &'static str,
    file: &'static str,
    needed: &'static [Purpose],
}

use Purpose::{Bench, Demo, Test};

const PACKAGES: &[Package] = &[
    Package {
        name: "iproute2",
        file: "/sbin/ip",
        needed: &[Demo, Test, Bench],
    },
    Package {
        name: "iputils-ping",
        file: "/bin/ping",
        needed: &[Demo, Test, Bench],
    },
    Package {
        name: "procps",
        file: "/sbin/sysctl",
        needed: &[Demo, Test, Bench],
    },
    Package {
        name: "nftables",
        file: "/usr/sbin/nft",
        needed: &[Demo, Test, Bench],
    },
    Package {
        name: "tcpdump",
        file: "/usr/bin/tcpdump",
        needed: &[Demo, Test, Bench],
    },
    Package {
        name: "wireguard-tools",
        file: "/usr/bin/wg",
        needed: &[Test, Bench],
    },
    Package {
        name: "wireguard-go",
        file: "/usr/bin/wireguard-go",
        needed: &[Test, Bench],
    },
    Package {
        name: "prometheus",
        file: "/usr/bin/prometheus",
        needed: &[Test],
    },
    Package {
        name: "libfaketime",
        file: "/usr/lib/*/faketime/libfaketime.so.1",
        needed: &[Test],
    },
    Package {
        name: "iperf3",
        file: "/usr/bin/iperf3",
        needed: &[Bench],
    },
    Package {
        name: "ethtool",
        file: "/usr/sbin/ethtool",
        needed: &[Bench],
    },
];

const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs what `purpose` needs and is missing; does nothing, in milliseconds, when all is there.
pub(crate) fn install(purpose: Purpose) -> Result<(), String> {
    let missing: Vec<&str> = PACKAGES
        .iter()
        .filter(|package| is_for(package, purpose) && !is_there(package))
        .map(|p| p.name)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    must_be_root(&missing)?;
    step(&format!(
        "installing {} (apt-get, without starting any service)",
        missing.join(" ")
    ));
    let _policy = NoServices::forbid()?;
    if apt_install(&missing).is_err() {
        retry_after_update(&missing)?;
    }
    disable_services(&missing);
    Ok(())
}

fn is_for(package: &Package, purpose: Purpose) -> bool {
    purpose == Purpose::Everything || package.needed.contains(&purpose)
}

/// Looks for the file and not the package: a tool installed by hand is as good.
fn is_there(package: &Package) -> bool {
    match package.file.split_once("/*/") {
        None => Path::new(package.file).exists(),
        Some((above, below)) => fs::read_dir(above)
            .map(|entries| entries.flatten().any(|entry| entry.path().join(below).exists()))
            .unwrap_or(false),
    }
}

fn must_be_root(missing: &[&str]) -> Result<(), String> {
    let uid = Command::new("id")
        .arg("-u")
        .output()
        .map_err(|error| format!("id -u: {error}"))?;
    if uid.stdout.trim_ascii() == b"0" {
        return Ok(());
    }
    let list = missing.join(" ");
    Err(format!(
        "these packages are missing and installing them needs root: {list}\n  fix: apt-get install {list}"
    ))
}

/// Package lists on a fresh machine are absent or old, and mirrors fail now and then.
fn retry_after_update(missing: &[&str]) -> Result<(), String> {
    let mut last = String::new();
    for _ in 0..3 {
        let update = run(apt().arg("update"), "apt-get update");
        match update.and_then(|()| apt_install(missing)) {
            Ok(()) => return Ok(()),
            Err(error) => last = error,
        }
    }
    Err(format!(
        "{last}\n  fix: see the messages of apt above, then run the same command again"
    ))
}

fn apt_install(missing: &[&str]) -> Result<(), String> {
    let mut command = apt();
    command.args([
        "install",
        "--yes",
        "--no-install-recommends",
        "-o",
        "Dpkg::Options::=--force-confold",
    ]);
    run(
        command.args(missing),
        &format!("apt-get install {}", missing.join(" ")),
    )
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["-qq", "-o", "DPkg::Lock::Timeout=120"]);
    command
}

/// A later boot must not start them either. Without systemd there is nothing to disable.
fn disable_services(installed: &[&str]) {
    for service in ["prometheus", "nftables", "iperf3"] {
        if installed.contains(&service) {
            let unit = format!("{service}.service");
            let _not_running_systemd = Command::new("systemctl")
                .args(["disable", "--quiet", &unit])
                .output();
        }
    }
}

/// While this lives, no package's scripts start a service.
struct NoServices {
    ours: bool,
}

impl NoServices {
    fn forbid() -> Result<NoServices, String> {
        if Path::new(POLICY).exists() {
            return Ok(NoServices { ours: false });
        }
        let write = fs::write(POLICY, "#!/bin/sh\nexit 101\n")
            .and_then(|()| fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755)));
        write
            .map(|()| NoServices { ours: true })
            .map_err(|error| format!("cannot write {POLICY}: {error}"))
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours {
            let _gone_already = fs::remove_file(POLICY);
        }
    }
}
