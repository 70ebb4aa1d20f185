//! A plain WireGuard device: a program started as `PROGRAM -f wg0` and configured by wg(8), the same way for all.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use meshnode_tests::wait::eventually;
use meshnode_tests::world::{Host, Process, World};

use crate::pair::{CONNECTS, MTU, OUTER_LEFT, OUTER_RIGHT, Pair};

/// A userspace implementation of WireGuard.
#[derive(Clone, Debug)]
pub(crate) struct Device {
    pub(crate) program: PathBuf,
}

impl Device {
    /// Starts it on both hosts with its defaults, and makes each the other's only peer.
    pub(crate) fn start(&self, world: &World, mut pair: Pair) -> Result<Pair> {
        let (left, left_key) = self.up(world, &pair.left)?;
        let (right, right_key) = self.up(world, &pair.right)?;
        pair.daemons = vec![left, right];
        configure(&pair.left, &right_key, "10.2.0.0/24", OUTER_RIGHT, "10.1.0.1")?;
        configure(&pair.right, &left_key, "10.1.0.0/24", OUTER_LEFT, "10.2.0.1")?;
        Ok(pair)
    }

    /// What `--version` says first, if it knows that option.
    pub(crate) fn version(&self) -> String {
        let output = Command::new(&self.program).arg("--version").output();
        let text = output.map(|output| output.stdout).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let first = text.lines().find(|line| !line.trim().is_empty());
        first.unwrap_or("unknown version").trim().to_owned()
    }

    /// Starts the program on `wg0` of a host with a new key; returns the public one.
    pub(crate) fn up(&self, world: &World, host: &Host) -> Result<(Process, String)> {
        host.run("mkdir", &["-p", "/run/wireguard", "/var/run/wireguard"])?;
        let mut command = host.command(&self.program.to_string_lossy());
        command.args(["-f", "wg0"]);
        // Quiet logs; root stays root; and wireguard-go's word for "yes, even where the kernel could".
        command.env("LOG_LEVEL", "error").env("WG_LOG_LEVEL", "error");
        command.env("WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD", "1");
        command.env("WG_SUDO", "true");
        let process = world.spawn(command, &format!("device-{}", host.name()))?;
        // A program that ended will never answer: that is known at once.
        eventually("the device answers wg(8)", CONNECTS, || {
            if let Err(ended) = process.still_runs() {
                return Ok(Err(ended));
            }
            host.run("wg", &["show", "wg0"]).map(|_| Ok(()))
        })??;
        let public = host.run("sh", &["-c", "umask 077; wg genkey | tee /run/key | wg pubkey"])?;
        Ok((process, public.trim().to_owned()))
    }
}

fn configure(host: &Host, peer: &str, prefix: &str, endpoint: &str, source: &str) -> Result<()> {
    let endpoint = format!("{endpoint}:51820");
    let mut words = vec!["set", "wg0", "listen-port", "51820", "private-key", "/run/key"];
    words.extend(["peer", peer, "allowed-ips", prefix, "endpoint", &endpoint]);
    host.run("wg", &words).context("wg set")?;
    host.ip(&format!("link set wg0 up mtu {MTU}"))?;
    host.ip(&format!("route add {prefix} dev wg0 src {source}"))
}
