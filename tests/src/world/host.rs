//! A host: a network namespace with a name, and a mount namespace with its own `/run` and `/var/lib`.
//!
//! The mount namespace is kept by a sleeping process, the holder; programs enter both namespaces by its id.
//! Code of the test itself enters the network namespace with a thread: sockets belong to the namespace that
//! their thread was in when they were made.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const HOLDER: &str = "mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /var/lib && ip link set lo up && echo ready && exec sleep infinity";

/// One machine of a world. Clones are the same machine.
#[derive(Clone, Debug)]
pub struct Host {
    name: Arc<str>,
    namespace: Arc<str>,
    holder_id: u32,
    holder: Arc<Mutex<Child>>,
}

impl Host {
    pub(super) fn create(namespace: &str, name: &str) -> Result<Host> {
        ip(&["netns", "add", namespace])?;
        let mut holder = Command::new("ip")
            .args([
                "netns",
                "exec",
                namespace,
                "unshare",
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-c",
                HOLDER,
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start `ip netns exec`: is iproute2 installed?")?;
        let mut line = String::new();
        if let Some(stdout) = holder.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let host = Host {
            name: name.into(),
            namespace: namespace.into(),
            holder_id: holder.id(),
            holder: Arc::new(Mutex::new(holder)),
        };
        if line.trim() != "ready" {
            host.remove();
            bail!("the mount namespace of {name} could not be made");
        }
        Ok(host)
    }

    /// The name that the scenario gave it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What `ip netns` calls it.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The process that keeps its namespaces: `nsenter -t <id> -n -m` enters the host.
    pub fn holder_id(&self) -> u32 {
        self.holder_id
    }

    /// A command that will run on this host.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args([
            "--net",
            "--mount",
            "--target",
            &self.holder_id.to_string(),
            "--",
            program,
        ]);
        command.env("NO_COLOR", "1").stdin(Stdio::null());
        command
    }

    /// Runs a program to its end and returns what it printed.
    ///
    /// # Errors
    /// It did not start or did not exit with 0; the message has its standard error.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let output = self.command(program).args(arguments).output()?;
        succeeded(&output).with_context(|| format!("on {}: {program} {}", self.name, arguments.join(" ")))
    }

    /// `ip <words>` in the host's network namespace.
    ///
    /// # Errors
    /// What ip said.
    pub fn ip(&self, words: &str) -> Result<()> {
        let mut arguments = vec!["-n", &*self.namespace];
        arguments.extend(words.split_whitespace());
        ip(&arguments).with_context(|| format!("on {}", self.name))
    }

    /// Gives an interface an address; an IPv6 one is usable at once.
    ///
    /// # Errors
    /// What ip said.
    pub fn address(&self, interface: &str, address: &str) -> Result<()> {
        let nodad = if address.contains(':') { "nodad" } else { "" };
        self.ip(&format!("address add {address} dev {interface} {nodad}"))
    }

    /// Writes a setting below `/proc/sys/net`, such as `ipv4/ip_forward`.
    ///
    /// # Errors
    /// There is no such setting.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = Path::new("/proc/sys/net").join(key);
        self.inside(|| fs::write(&path, value))?
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Forwards packets of both families, as a router does.
    ///
    /// # Errors
    /// The settings cannot be written.
    pub fn forward(&self) -> Result<()> {
        self.sysctl("ipv4/ip_forward", "1")?;
        self.sysctl("ipv6/conf/all/forwarding", "1")
    }

    /// Loads an nftables ruleset, in the syntax of nft(8).
    ///
    /// # Errors
    /// What nft said.
    pub fn nft(&self, ruleset: &str) -> Result<()> {
        let mut command = self.command("nft");
        let mut nft = command
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = nft.stdin.take() {
            stdin.write_all(ruleset.as_bytes())?;
        }
        succeeded(&nft.wait_with_output()?).with_context(|| format!("nft on {}: {ruleset}", self.name))?;
        Ok(())
    }

    /// Runs `body` in a thread that is inside the network namespace, and waits for it.
    ///
    /// # Errors
    /// The namespace cannot be entered, or `body` panicked.
    pub fn inside<T: Send>(&self, body: impl FnOnce() -> T + Send) -> Result<T> {
        let namespace = self.open_namespace()?;
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| enter(&namespace).map(|()| body()));
            thread
                .join()
                .unwrap_or_else(|_| bail!("a thread on {} panicked", self.name))
        })
    }

    /// Starts `body` in a thread of its own inside the network namespace.
    ///
    /// # Errors
    /// The namespace cannot be opened.
    pub fn background<T: Send + 'static>(
        &self,
        body: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<JoinHandle<Result<T>>> {
        let namespace = self.open_namespace()?;
        Ok(std::thread::spawn(move || {
            enter(&namespace).and_then(|()| body())
        }))
    }

    /// A path as this host sees it, in the eyes of the test.
    pub fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.holder_id))
    }

    /// One echo request, answered within `patience`.
    ///
    /// # Errors
    /// No answer, with what ping said.
    pub fn ping(&self, address: IpAddr, patience: Duration) -> Result<Duration> {
        let seconds = patience.as_secs_f64().to_string();
        let text = self.run("ping", &["-n", "-c", "1", "-W", &seconds, &address.to_string()])?;
        let time = text.split("time=").nth(1).and_then(|rest| rest.split(' ').next());
        let time: f64 = time.context("ping printed no time")?.parse()?;
        Ok(Duration::from_secs_f64(time / 1000.0))
    }

    /// Ends every process on the host and removes its namespaces.
    pub(super) fn remove(&self) {
        remove_namespace(&self.namespace);
        let mut holder = self.holder.lock().unwrap_or_else(PoisonError::into_inner);
        let _dead_already = holder.kill();
        let _reaped = holder.wait();
    }

    fn open_namespace(&self) -> Result<File> {
        let path = Path::new("/run/netns").join(&*self.namespace);
        File::open(&path).with_context(|| format!("cannot open {}", path.display()))
    }
}

/// Kills by process id whatever runs in a namespace of ours, then removes its name.
pub(super) fn remove_namespace(namespace: &str) {
    if let Ok(output) = Command::new("ip").args(["netns", "pids", namespace]).output() {
        let ids = String::from_utf8_lossy(&output.stdout);
        for id in ids.split_whitespace().filter_map(|id| id.parse().ok()) {
            let _gone_already = kill(Pid::from_raw(id), Signal::SIGKILL);
        }
    }
    let _gone_already = ip(&["netns", "delete", namespace]);
}

/// Runs ip(8) from outside of any host.
pub(super) fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .context("cannot start ip")?;
    succeeded(&output).with_context(|| format!("ip {}", arguments.join(" ")))?;
    Ok(())
}

fn enter(namespace: &File) -> Result<()> {
    setns(namespace, CloneFlags::CLONE_NEWNET).context("cannot enter the network namespace")
}

fn succeeded(output: &Output) -> Result<String> {
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{}: {}{}",
        output.status,
        stderr.trim(),
        stdout.trim()
    );
    Ok(stdout.into_owned())
}
