//! `meshnode-wg` in the place of wireguard-go: a plain WireGuard interface in the hands of `wg`, `wg-quick` and `ip`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use meshnode_tests::node::binary;
use meshnode_tests::traffic::transfer;
use meshnode_tests::{Host, Process, World, eventually, in_world};
use nix::sys::signal::Signal;

use crate::AMPLY;

/// How long a device may take to notice what happened to its interface.
const NOTICED: Duration = Duration::from_secs(3);

/// A key pair in the words of `wg`.
struct Key {
    private: String,
    public: String,
}

/// Two machines on one cable, 10.0.0.1 and 10.0.0.2; 192.168.241.1 and .2 are inside the tunnel.
struct Pair<'a> {
    world: &'a World,
    hosts: [Host; 2],
    keys: [Key; 2],
}

impl<'a> Pair<'a> {
    fn build(world: &'a World) -> Result<Pair<'a>> {
        let hosts = [world.host("left")?, world.host("right")?];
        world.cable((&hosts[0], "eth0"), (&hosts[1], "eth0"))?;
        for (host, n) in hosts.iter().zip(1..) {
            host.address("eth0", &format!("10.0.0.{n}/24"))?;
            host.address("eth0", &format!("fd00:aa::{n}/64"))?;
        }
        let keys = [key(&hosts[0])?, key(&hosts[1])?];
        Ok(Pair { world, hosts, keys })
    }

    /// Starts an implementation in the foreground on one side, with the other side as its peer, and sets it up.
    fn device(&self, side: usize, program: &str) -> Result<Process> {
        self.device_with(side, program, &endpoint(1 - side))
    }

    /// The same, with these lines for the peer.
    fn device_with(&self, side: usize, program: &str, lines: &str) -> Result<Process> {
        let process = self.start(side, program)?;
        self.configure(side, lines)?;
        let host = &self.hosts[side];
        host.address("wg0", &format!("192.168.241.{}/24", side + 1))?;
        host.ip("link set wg0 up")?;
        Ok(process)
    }

    fn start(&self, side: usize, program: &str) -> Result<Process> {
        let host = &self.hosts[side];
        let mut command = host.command(program);
        // boringtun-cli cannot give up root in a namespace; the others do not know the variable.
        command.args(["-f", "wg0"]).env("WG_SUDO", "true");
        let process = self.world.spawn(command, program_name(program))?;
        eventually("the control socket answers", AMPLY, || {
            process.still_runs()?;
            host.run("wg", &["show", "wg0"])
        })?;
        Ok(process)
    }

    /// `wg setconf`, with these lines for the peer.
    fn configure(&self, side: usize, lines: &str) -> Result<()> {
        let host = &self.hosts[side];
        std::fs::write(host.path("/run/wg0.conf"), self.config(side, lines))?;
        host.run("wg", &["setconf", "wg0", "/run/wg0.conf"])?;
        Ok(())
    }

    /// What `wg setconf` takes.
    fn config(&self, side: usize, lines: &str) -> String {
        format!(
            "[Interface]\nPrivateKey = {}\nListenPort = 51820\n\
             [Peer]\nPublicKey = {}\nAllowedIPs = 192.168.241.{}/32\n{lines}",
            self.keys[side].private,
            self.keys[1 - side].public,
            2 - side,
        )
    }

    /// `wg set wg0 <words>` on one side.
    fn set(&self, side: usize, words: &str) -> Result<()> {
        let words: Vec<&str> = ["set", "wg0"]
            .into_iter()
            .chain(words.split_whitespace())
            .collect();
        self.hosts[side].run("wg", &words)?;
        Ok(())
    }

    /// `wg show wg0 <what>` on one side.
    fn show(&self, side: usize, what: &str) -> Result<String> {
        Ok(self.hosts[side]
            .run("wg", &["show", "wg0", what])?
            .trim()
            .to_owned())
    }

    /// The last word about the only peer: its endpoint, its last handshake.
    fn show_peer(&self, side: usize, what: &str) -> Result<String> {
        let line = self.show(side, what)?;
        Ok(line.split_whitespace().last().unwrap_or_default().to_owned())
    }

    /// The other side answers through the tunnel.
    fn reaches(&self, side: usize) -> Result<()> {
        eventually("an answer through the tunnel", AMPLY, || {
            self.hosts[side].ping(inner(1 - side), Duration::from_secs(1))
        })?;
        Ok(())
    }
}

fn endpoint(side: usize) -> String {
    format!("Endpoint = 10.0.0.{}:51820\n", side + 1)
}

fn inner(side: usize) -> IpAddr {
    IpAddr::from([192, 168, 241, side as u8 + 1])
}

fn key(host: &Host) -> Result<Key> {
    let private = host.run("wg", &["genkey"])?.trim().to_owned();
    let public = piped(host, &["pubkey"], &private)?;
    Ok(Key { private, public })
}

fn piped(host: &Host, arguments: &[&str], input: &str) -> Result<String> {
    use std::io::Write;
    let mut command = host.command("wg");
    let mut child = command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    child
        .stdin
        .take()
        .context("no pipe")?
        .write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "wg {arguments:?}: {}", output.status);
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// `meshnode-wg`, beside `meshnode`.
fn ours() -> Result<String> {
    let path: PathBuf = binary()?.with_file_name("meshnode-wg");
    ensure!(
        path.is_file(),
        "{} was not built: `cargo build -p meshnode`",
        path.display()
    );
    Ok(path.to_string_lossy().into_owned())
}

fn program_name(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}

/// Nothing is left of an interface.
fn is_gone(host: &Host) -> Result<()> {
    ensure!(host.ip("link show wg0").is_err(), "the interface is there");
    ensure!(
        !host.path("/run/wireguard/wg0.sock").exists(),
        "the control socket is there"
    );
    Ok(())
}

#[test]
fn wg_quick_takes_it_up_and_down() -> Result<()> {
    in_world(|world| {
        let pair = Pair::build(world)?;
        let program = ours()?;
        let _peer = pair.device(1, &program)?;
        let host = &pair.hosts[0];
        let config = pair.config(0, &format!("{}PersistentKeepalive = 1\n", endpoint(1)));
        let config = config.replace("ListenPort", "Address = 192.168.241.1/24\nListenPort");
        std::fs::write(host.path("/run/wg0.conf"), config)?;
        let quick = |word: &str| {
            let mut command = host.command("wg-quick");
            command
                .args([word, "/run/wg0.conf"])
                .env("WG_QUICK_USERSPACE_IMPLEMENTATION", &program);
            let said = command.output()?;
            let stderr = String::from_utf8_lossy(&said.stderr);
            ensure!(said.status.success(), "wg-quick {word}: {stderr}");
            anyhow::Ok(())
        };
        quick("up")?;
        pair.reaches(0)?;
        transfer(host, &pair.hosts[1], inner(1), 1_000_000)?;
        quick("down")?;
        eventually("everything is gone", NOTICED, || is_gone(host))
    })
}

#[test]
fn a_failed_start_is_told_with_its_reason() -> Result<()> {
    in_world(|world| {
        let host = world.host("alone")?;
        let program = ours()?;
        host.run(&program, &["wg0"])?;
        host.run("wg", &["show", "wg0"])?;
        let twice = host.command(&program).arg("wg0").output()?;
        let said = String::from_utf8_lossy(&twice.stderr);
        ensure!(
            twice.status.code() == Some(1) && said.contains("wg0.sock") && said.contains("in use"),
            "{twice:?}"
        );
        let named = host.command(&program).arg("wg/0").output()?;
        ensure!(named.status.code() == Some(1), "{named:?}");
        host.ip("link delete wg0")?;
        eventually("it ends", NOTICED, || is_gone(&host))?;
        host.run(&program, &["wg0"])?;
        host.ip("link delete wg0")
    })
}

/// Both as the one that begins and as the one that answers, with a pre-shared key. Only who begins knows where the other is.
fn speaks_with(program: &str) -> Result<()> {
    for first in [0, 1] {
        in_world(|world| {
            let pair = Pair::build(world)?;
            let secret = format!("PresharedKey = {}", pair.hosts[0].run("wg", &["genpsk"])?);
            let lines = |side: usize| match side == first {
                true => secret.clone() + &endpoint(1 - side),
                false => secret.clone(),
            };
            let _ours = pair.device_with(0, &ours()?, &lines(0))?;
            let _theirs = pair.device_with(1, program, &lines(1))?;
            pair.reaches(first)?;
            pair.reaches(1 - first)?;
            ensure!(pair.show_peer(1 - first, "endpoints")? == format!("10.0.0.{}:51820", first + 1));
            for (from, to) in [(0, 1), (1, 0)] {
                transfer(&pair.hosts[from], &pair.hosts[to], inner(to), 3_000_000)?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn it_speaks_with_wireguard_go() -> Result<()> {
    speaks_with("wireguard-go")
}

#[test]
#[ignore = "builds boringtun-cli"]
fn it_speaks_with_boringtun() -> Result<()> {
    speaks_with(&boringtun()?)
}

/// boringtun-cli where `cargo xtask bench` has it too, built the first time.
fn boringtun() -> Result<String> {
    const VERSION: &str = "0.7.1";
    let here = std::env::current_exe()?;
    let target = here.ancestors().nth(3).context("this program has no directory")?;
    let root = target.join("contenders").join(format!("boringtun-cli-{VERSION}"));
    let program = root.join("bin/boringtun-cli");
    if !program.is_file() {
        let status = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()))
            .args([
                "install",
                "boringtun-cli",
                "--version",
                VERSION,
                "--locked",
                "--quiet",
                "--root",
            ])
            .arg(&root)
            .status()?;
        ensure!(status.success(), "cargo install boringtun-cli: {status}");
    }
    Ok(program.to_string_lossy().into_owned())
}

#[test]
fn a_configuration_that_says_what_is_resets_nothing() -> Result<()> {
    in_world(|world| {
        let pair = Pair::build(world)?;
        let program = ours()?;
        let _devices = [pair.device(0, &program)?, pair.device(1, &program)?];
        pair.reaches(0)?;
        let handshakes = pair.show_peer(0, "latest-handshakes")?;
        pair.configure(0, &endpoint(1))?;
        pair.hosts[0].run("wg", &["syncconf", "wg0", "/run/wg0.conf"])?;
        pair.set(0, "listen-port 51820 fwmark 0")?;
        pair.reaches(0)?;
        pair.reaches(1)?;
        let now = pair.show_peer(0, "latest-handshakes")?;
        // The time is measured from now backwards, so it may read a second more or less.
        let apart = now.parse::<i64>()? - handshakes.parse::<i64>()?;
        ensure!(apart.abs() <= 1, "a handshake at {handshakes}, another at {now}");
        let shown = pair.hosts[0].run("wg", &["showconf", "wg0"])?;
        for line in [
            &format!("PrivateKey = {}", pair.keys[0].private),
            "ListenPort = 51820",
            &format!("PublicKey = {}", pair.keys[1].public),
            "AllowedIPs = 192.168.241.2/32",
            "Endpoint = 10.0.0.2:51820",
        ] {
            ensure!(shown.contains(line), "no line `{line}` in:\n{shown}");
        }
        Ok(())
    })
}

#[test]
fn port_mark_and_endpoint_change_under_traffic() -> Result<()> {
    in_world(|world| {
        let pair = Pair::build(world)?;
        let program = ours()?;
        let devices = [pair.device(0, &program)?, pair.device(1, &program)?];
        pair.reaches(0)?;
        pair.set(0, "listen-port 9999")?;
        pair.reaches(0)?;
        ensure!(pair.show_peer(1, "endpoints")? == "10.0.0.1:9999");
        pair.set(0, "fwmark 0x77")?;
        pair.hosts[0].ip("rule add fwmark 0x77 prohibit")?;
        ensure!(
            pair.hosts[0].ping(inner(1), Duration::from_millis(500)).is_err(),
            "packets do not carry the mark"
        );
        pair.set(0, "fwmark 0")?;
        pair.reaches(0)?;
        let peer = &pair.keys[1].public;
        pair.set(0, &format!("peer {peer} endpoint [fd00:aa::2]:51820"))?;
        pair.reaches(0)?;
        ensure!(pair.show_peer(1, "endpoints")? == "[fd00:aa::1]:9999");
        devices[0].expect_error("7777/udp is in use");
        let taken = pair.hosts[0].inside(|| std::net::UdpSocket::bind("0.0.0.0:7777"))??;
        ensure!(
            pair.set(0, "listen-port 7777").is_err(),
            "a taken port is refused"
        );
        drop(taken);
        ensure!(pair.show(0, "listen-port")? == "9999", "and the old one kept");
        pair.reaches(0)
    })
}

#[test]
fn an_inner_source_is_taken_from_its_owner_alone() -> Result<()> {
    in_world(|world| {
        let pair = Pair::build(world)?;
        let program = ours()?;
        let _devices = [pair.device(0, &program)?, pair.device(1, &program)?];
        pair.reaches(1)?;
        let stranger = key(&pair.hosts[0])?.public;
        pair.set(0, &format!("peer {stranger} allowed-ips 192.168.241.2/32"))?;
        ensure!(
            pair.hosts[1].ping(inner(0), Duration::from_millis(500)).is_err(),
            "the prefix has moved to another peer"
        );
        let peer = &pair.keys[1].public;
        pair.set(
            0,
            &format!("peer {stranger} remove peer {peer} allowed-ips 192.168.241.2/32"),
        )?;
        pair.reaches(1)
    })
}

/// A way to end a device.
type End<'a> = &'a dyn Fn(&Process) -> Result<()>;

#[test]
fn it_ends_cleanly_with_its_interface_its_socket_or_a_signal() -> Result<()> {
    in_world(|world| {
        let pair = Pair::build(world)?;
        let (host, program) = (&pair.hosts[0], ours()?);
        let ends: [End<'_>; 3] = [
            &|_| host.ip("link delete wg0"),
            &|_| Ok(std::fs::remove_file(host.path("/run/wireguard/wg0.sock"))?),
            &|process| {
                process.signal(Signal::SIGTERM);
                Ok(())
            },
        ];
        for end in ends {
            let process = pair.device(0, &program)?;
            end(&process)?;
            let status = process.wait(NOTICED)?;
            ensure!(status.success(), "{status}: {}", process.log());
            is_gone(host)?;
        }
        Ok(())
    })
}

#[test]
fn its_sockets_stay_where_it_was_started_when_the_interface_moves() -> Result<()> {
    in_world(|world| {
        let pair = Pair::build(world)?;
        let program = ours()?;
        let _peer = pair.device(1, &program)?;
        let process = pair.start(0, &program)?;
        pair.configure(0, &endpoint(1))?;
        // A host without any cable: the tunnel is all that it has.
        let cell = world.host("cell")?;
        pair.hosts[0].ip(&format!("link set wg0 netns {}", cell.namespace()))?;
        cell.address("wg0", "192.168.241.1/24")?;
        cell.ip("link set wg0 up")?;
        let reaches = || {
            eventually("an answer through the tunnel", AMPLY, || {
                cell.ping(inner(1), Duration::from_secs(1))
            })
        };
        reaches()?;
        cell.ip("link set wg0 down")?;
        cell.ip("link set wg0 up")?;
        reaches()?;
        cell.ip("link delete wg0")?;
        ensure!(process.wait(NOTICED)?.success());
        Ok(())
    })
}

#[test]
fn the_interface_may_be_set_down_renamed_and_of_any_size() -> Result<()> {
    in_world(|world| {
        let pair = Pair::build(world)?;
        let program = ours()?;
        let _devices = [pair.device(0, &program)?, pair.device(1, &program)?];
        pair.reaches(0)?;
        let host = &pair.hosts[0];
        let listens = || {
            anyhow::Ok(
                host.run("ss", &["-Hulnp", "sport = :51820"])?
                    .contains("meshnode-wg"),
            )
        };
        host.ip("link set wg0 down")?;
        eventually("its sockets are closed", NOTICED, || {
            ensure!(!listens()?, "it listens");
            Ok(())
        })?;
        host.ip("link set wg0 name tunnel0")?;
        host.ip("link set tunnel0 up")?;
        pair.reaches(0)?;
        ensure!(listens()?);
        for mtu in [68, 576, 1280, 9000, 34_736, 65_455, 65_535] {
            host.ip(&format!("link set tunnel0 mtu {mtu}"))?;
            pair.hosts[1].ip(&format!("link set wg0 mtu {mtu}"))?;
            pair.reaches(0)?;
        }
        // Larger than any cable: the outer packets are fragmented.
        let size = ["-M", "dont", "-c", "1", "-W", "2", "-s", "20000", "192.168.241.2"];
        host.run("ping", &size)?;
        for side in &pair.hosts {
            let name = if side.ip("link show wg0").is_ok() {
                "wg0"
            } else {
                "tunnel0"
            };
            side.ip(&format!("link set {name} mtu 34736"))?;
        }
        transfer(host, &pair.hosts[1], inner(1), 3_000_000)?;
        Ok(())
    })
}

#[test]
fn a_hundred_and_thirty_thousand_prefixes_are_read_back() -> Result<()> {
    in_world(|world| {
        let pair = Pair::build(world)?;
        let host = &pair.hosts[0];
        let _device = pair.start(0, &ours()?)?;
        let mut config = format!("[Peer]\nPublicKey = {}\n", pair.keys[1].public);
        for a in 1..=255 {
            for b in 0..=255 {
                config.push_str(&format!("AllowedIPs = {a}.{b}.0.0/16, {a}::{b}/128\n"));
            }
        }
        std::fs::write(host.path("/run/many.conf"), config)?;
        host.run("wg", &["setconf", "wg0", "/run/many.conf"])?;
        let shown = pair.show(0, "allowed-ips")?;
        ensure!(shown.split_whitespace().count() == 255 * 256 * 2 + 1);
        Ok(())
    })
}
