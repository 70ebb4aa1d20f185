//! What is measured: a bare cable, meshnode, and boringtun-cli, each between two hosts of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use meshnode_tests::node::Node;
use meshnode_tests::wait::eventually;
use meshnode_tests::world::{Host, World};

const BORINGTUN_VERSION: &str = "0.7.1";

/// The same inner MTU for every tunnel: WireGuard's usual one.
const MTU: &str = "1420";

/// How long a tunnel may take to carry its first packet.
const CONNECTS: Duration = Duration::from_secs(30);

/// What carries the packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tool {
    Plain,
    Meshnode,
    Boringtun,
}

impl Tool {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Tool::Plain => "veth",
            Tool::Meshnode => "meshnode",
            Tool::Boringtun => "boringtun",
        }
    }
}

/// Two hosts and what joins them.
pub(crate) struct Pair {
    pub(crate) tool: Tool,
    pub(crate) left: Host,
    pub(crate) right: Host,
    /// Where the right host is reached through the tool.
    pub(crate) target: &'static str,
}

impl Pair {
    /// No tunnel: what the machine can do at most.
    pub(crate) fn plain(world: &World) -> Result<Pair> {
        let (left, right) = cabled(world, "v")?;
        left.ip("route add 10.2.0.0/24 via 192.0.2.2 src 10.1.0.1")?;
        right.ip("route add 10.1.0.0/24 via 192.0.2.1 src 10.2.0.1")?;
        Pair {
            tool: Tool::Plain,
            left,
            right,
            target: "10.2.0.1",
        }
        .connected()
    }

    /// Two meshnodes, made with its own command line.
    pub(crate) fn meshnode(world: &World) -> Result<Pair> {
        let (left, right) = cabled(world, "m")?;
        let mut nodes = [Node::new(world, &left, "left"), Node::new(world, &right, "right")];
        nodes.iter_mut().for_each(|node| node.set("MTU", MTU));
        let [first, second] = nodes;
        first.ok(&["init", "--cidr", "10.1.0.0/24"])?;
        first.up(&[])?;
        let token = first.invite(&["--cidr", "10.2.0.0/24"])?;
        second.join(&["192.0.2.1"], &token, &["--cidr", "10.2.0.0/24"])?;
        Pair {
            tool: Tool::Meshnode,
            left,
            right,
            target: "10.2.0.1",
        }
        .connected()
    }

    /// Two boringtun-cli with their defaults (four threads, multi-queue).
    pub(crate) fn boringtun(world: &World, program: &Path) -> Result<Pair> {
        let (left, right) = cabled(world, "b")?;
        let keys = [
            start_boringtun(world, &left, program)?,
            start_boringtun(world, &right, program)?,
        ];
        configure(&left, &keys[1], "10.2.0.0/24", "192.0.2.2", "10.1.0.1")?;
        configure(&right, &keys[0], "10.1.0.0/24", "192.0.2.1", "10.2.0.1")?;
        Pair {
            tool: Tool::Boringtun,
            left,
            right,
            target: "10.2.0.1",
        }
        .connected()
    }

    fn connected(self) -> Result<Pair> {
        let what = format!("the first packet through {}", self.tool.name());
        eventually(&what, CONNECTS, || {
            self.left.ping(self.target.parse()?, Duration::from_millis(500))
        })?;
        Ok(self)
    }
}

/// Two hosts on one cable, each with an inner address.
fn cabled(world: &World, prefix: &str) -> Result<(Host, Host)> {
    let left = world.host(&format!("{prefix}l"))?;
    let right = world.host(&format!("{prefix}r"))?;
    world.cable((&left, "eth0"), (&right, "eth0"))?;
    left.address("eth0", "192.0.2.1/24")?;
    right.address("eth0", "192.0.2.2/24")?;
    left.address("lo", "10.1.0.1/32")?;
    right.address("lo", "10.2.0.1/32")?;
    Ok((left, right))
}

/// Starts boringtun-cli on `wg0` with a new key; returns the public one.
fn start_boringtun(world: &World, host: &Host, program: &Path) -> Result<String> {
    host.run("mkdir", &["-p", "/run/wireguard", "/var/run/wireguard"])?;
    let mut command = host.command(&program.to_string_lossy());
    command
        .args(["--foreground", "--disable-drop-privileges", "wg0"])
        .env("WG_SUDO", "1");
    world.spawn(command, &format!("boringtun-{}", host.name()))?;
    let socket = || host.run("wg", &["show", "wg0"]).map(drop);
    eventually("boringtun-cli answers", CONNECTS, socket)?;
    let public = host.run("sh", &["-c", "umask 077; wg genkey | tee /run/key | wg pubkey"])?;
    Ok(public.trim().to_owned())
}

fn configure(host: &Host, peer: &str, prefix: &str, endpoint: &str, source: &str) -> Result<()> {
    let endpoint = format!("{endpoint}:51820");
    let mut words = vec!["set", "wg0", "listen-port", "51820", "private-key", "/run/key"];
    words.extend(["peer", peer, "allowed-ips", prefix, "endpoint", &endpoint]);
    host.run("wg", &words)?;
    host.ip(&format!("link set wg0 up mtu {MTU}"))?;
    host.ip(&format!("route add {prefix} dev wg0 src {source}"))
}

/// Builds boringtun-cli beside this program, once.
pub(crate) fn install_boringtun() -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    let root = here
        .parent()
        .context("this program has no directory")?
        .join("boringtun");
    let program = root.join("bin/boringtun-cli");
    if !program.is_file() {
        eprintln!("==> installing boringtun-cli {BORINGTUN_VERSION} (once)");
        let status = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()))
            .args([
                "install",
                "boringtun-cli",
                "--version",
                BORINGTUN_VERSION,
                "--root",
            ])
            .arg(&root)
            .status()
            .context("cannot start cargo")?;
        ensure!(status.success(), "cargo install boringtun-cli failed ({status})");
    }
    Ok(program)
}
