//! A `meshnode` on a host: its command line, its process, its local API.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::http;
use crate::wait::eventually;
use crate::world::{Host, Process, World};

/// A node must answer on its socket after this long, also on a loaded machine.
pub const STARTS: Duration = Duration::from_secs(60);
/// All tunnels of a small mesh must be up after this long.
pub const MEETS: Duration = Duration::from_secs(15);
/// A node that was asked to stop must be gone after this long, also on a loaded machine: it waits until others moved.
const STOPS: Duration = Duration::from_secs(15);

/// What a command printed and how it ended.
#[derive(Clone, Debug)]
pub struct Said {
    /// The exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Said {
    /// # Errors
    /// The command failed; the message is what it said.
    pub fn succeeded(self) -> Result<Said> {
        ensure!(
            self.code == Some(0),
            "exit code {:?}: {}{}",
            self.code,
            self.stderr.trim(),
            self.stdout.trim()
        );
        Ok(self)
    }

    /// A refusal: this exit code, and each of the words somewhere in the message, as the user reads it.
    ///
    /// # Errors
    /// The code differs or a word is missing.
    pub fn refused(self, code: i32, words: &[&str]) -> Result<Said> {
        ensure!(
            self.code == Some(code),
            "exit code {:?} instead of {code}: {self:?}",
            self.code
        );
        for word in words {
            ensure!(
                self.stderr.contains(word),
                "the message does not contain `{word}`: {}",
                self.stderr
            );
        }
        Ok(self)
    }
}

/// One node. It is started and stopped as a user would, and may be started again.
#[derive(Debug)]
pub struct Node<'a> {
    world: &'a World,
    host: Host,
    name: String,
    environment: Vec<(String, String)>,
    process: Mutex<Option<Process>>,
}

/// Where cargo put the binary: beside the test, or where `MESHNODE_BIN` says.
///
/// # Errors
/// It was not built.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("MESHNODE_BIN") {
        return Ok(path.into());
    }
    let here = std::env::current_exe()?;
    let found = here
        .ancestors()
        .skip(1)
        .take(2)
        .map(|directory| directory.join("meshnode"))
        .find(|path| path.is_file());
    found.context("there is no meshnode binary beside this program: run `cargo build -p meshnode`")
}

impl<'a> Node<'a> {
    /// A node on `host`, not yet started.
    pub fn new(world: &'a World, host: &Host, name: &str) -> Node<'a> {
        let environment = vec![("MESHNODE_NAME".to_owned(), name.to_owned())];
        Node {
            world,
            host: host.clone(),
            name: name.to_owned(),
            environment,
            process: Mutex::default(),
        }
    }

    /// Sets `MESHNODE_<KEY>` for every command of this node.
    pub fn set(&mut self, key: &str, value: &str) {
        self.environment
            .push((format!("MESHNODE_{key}"), value.to_owned()));
    }

    /// The machine that it runs on.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The name that it announces.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs one command of the CLI to its end.
    ///
    /// # Errors
    /// The binary does not start.
    pub fn cli(&self, arguments: &[&str]) -> Result<Said> {
        let output = self.command(arguments)?.output()?;
        Ok(Said {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Like [`Node::cli`], of a command that must succeed; returns its standard output.
    ///
    /// # Errors
    /// It failed; the message has what it said.
    pub fn ok(&self, arguments: &[&str]) -> Result<String> {
        let said = self.cli(arguments)?.succeeded();
        Ok(said
            .with_context(|| format!("{}: meshnode {}", self.name, arguments.join(" ")))?
            .stdout)
    }

    /// `meshnode invite`: the token.
    ///
    /// # Errors
    /// The node refused.
    pub fn invite(&self, arguments: &[&str]) -> Result<String> {
        let mut all = vec!["invite"];
        all.extend(arguments);
        Ok(self.ok(&all)?.trim().to_owned())
    }

    /// Starts `meshnode up` and waits until it answers.
    ///
    /// # Errors
    /// It ended, or does not answer.
    pub fn up(&self, arguments: &[&str]) -> Result<()> {
        let mut all = vec!["up"];
        all.extend(arguments);
        self.start(&all)?;
        self.answers()
    }

    /// Starts `meshnode join` with seeds and a token, and waits until it answers.
    ///
    /// # Errors
    /// It ended, or does not answer.
    pub fn join(&self, seeds: &[&str], token: &str, arguments: &[&str]) -> Result<()> {
        let mut all = vec!["join"];
        all.extend(seeds);
        all.extend(["--token", token]);
        all.extend(arguments);
        self.start(&all)?;
        self.answers()
    }

    /// Starts any command that keeps running, without waiting for anything.
    ///
    /// # Errors
    /// The binary does not start.
    pub fn start(&self, arguments: &[&str]) -> Result<Process> {
        let process = self.world.spawn(self.command(arguments)?, &self.name)?;
        *self.slot() = Some(process.clone());
        Ok(process)
    }

    /// Waits until the running node answers on its socket.
    ///
    /// # Errors
    /// It ended, or does not answer in time.
    pub fn answers(&self) -> Result<()> {
        self.wait_status("the node answers", STARTS, |_| true).map(drop)
    }

    /// `GET /v1/status` of the local API.
    ///
    /// # Errors
    /// The node does not answer.
    pub fn status(&self) -> Result<Value> {
        let body = http::get_unix(&self.host.path("/run/meshnode.sock"), "/v1/status")?;
        serde_json::from_str(&body).context("the status is not JSON")
    }

    /// `GET /v1/events` of the local API: what happened after the event of this number (0: all that it remembers).
    ///
    /// # Errors
    /// The node does not answer.
    pub fn events(&self, after: u64) -> Result<Vec<Value>> {
        let path = format!("/v1/events?after={after}");
        let body = http::get_unix(&self.host.path("/run/meshnode.sock"), &path)?;
        let mut answer: Value = serde_json::from_str(&body).context("the events are not JSON")?;
        match answer["events"].take() {
            Value::Array(events) => Ok(events),
            other => bail!("no list of events: {other}"),
        }
    }

    /// The number of its latest event.
    ///
    /// # Errors
    /// The node does not answer.
    pub fn latest_event(&self) -> Result<u64> {
        let events = self.events(0)?;
        let latest = events.last().context("there is no event yet")?;
        latest["number"].as_u64().context("an event without a number")
    }

    /// Waits until `holds` says yes to the status, which is returned.
    ///
    /// # Errors
    /// The node ended, or it did not hold in time; the message has the last status.
    pub fn wait_status(&self, what: &str, within: Duration, holds: impl Fn(&Value) -> bool) -> Result<Value> {
        // A node that ended will not hold anything any more: that is known at once.
        eventually(&format!("{}: {what}", self.name), within, || {
            if let Err(ended) = self.process()?.still_runs() {
                return Ok(Err(ended));
            }
            let status = self.status()?;
            ensure!(holds(&status), "the status is {status}");
            Ok(Ok(status))
        })?
        .with_context(|| format!("{}: {what}", self.name))
    }

    /// Waits until exactly the peers of these names are up.
    ///
    /// # Errors
    /// They are not, in time.
    pub fn meets(&self, names: &[&str]) -> Result<Value> {
        let mut wanted = names.to_vec();
        wanted.sort_unstable();
        self.wait_status(&format!("{wanted:?} are up"), MEETS, |status| {
            let mut up: Vec<&str> = peers(status)
                .filter(|peer| peer["state"] == "up")
                .filter_map(name_of)
                .collect();
            up.sort_unstable();
            up == wanted
        })
    }

    /// Waits until the route to `prefix` has this state.
    ///
    /// # Errors
    /// It has not, in time.
    pub fn wait_route(&self, prefix: &str, via: &str, state: &str) -> Result<Value> {
        self.wait_status(&format!("{prefix} via {via} is {state}"), MEETS, |status| {
            routes(status)
                .any(|route| route["prefix"] == prefix && route["via"] == via && route["state"] == state)
        })
    }

    /// A counter, gauge or histogram sample as the metrics page has it, label set included.
    ///
    /// # Errors
    /// The page does not answer or has no such line.
    pub fn metric(&self, series: &str) -> Result<f64> {
        let page = self.metrics()?;
        let line = page
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.with_context(|| format!("there is no metric {series}"))?
            .trim()
            .parse()
            .context("not a number")
    }

    /// The whole metrics page.
    ///
    /// # Errors
    /// It does not answer.
    pub fn metrics(&self) -> Result<String> {
        let address = SocketAddr::from(([127, 0, 0, 1], 9586));
        self.host.inside(|| http::get_tcp(address, "/metrics"))?
    }

    /// SIGKILL: no time for anything.
    ///
    /// # Errors
    /// It was not started.
    pub fn kill(&self) -> Result<()> {
        self.process()?.kill();
        Ok(())
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Errors
    /// It was not started, or does not end.
    pub fn terminate(&self) -> Result<ExitStatus> {
        let process = self.process()?;
        process.signal(Signal::SIGTERM);
        process.wait(STOPS)
    }

    /// The process of the last start.
    ///
    /// # Errors
    /// It was not started.
    pub fn process(&self) -> Result<Process> {
        let Some(process) = self.slot().clone() else {
            bail!("{} was not started", self.name)
        };
        Ok(process)
    }

    /// Its mesh address, from its status.
    ///
    /// # Errors
    /// The node does not answer.
    pub fn mesh_address(&self) -> Result<IpAddr> {
        let status = self.status()?;
        Ok(status["node"]["mesh_ip"]
            .as_str()
            .context("the status has no mesh_ip")?
            .parse()?)
    }

    /// Its id in hexadecimal, from its status.
    ///
    /// # Errors
    /// The node does not answer.
    pub fn id(&self) -> Result<String> {
        let status = self.status()?;
        Ok(status["node"]["id"]
            .as_str()
            .context("the status has no id")?
            .to_owned())
    }

    /// A `meshnode` command on this node's host, with its settings in the environment.
    ///
    /// # Errors
    /// The binary was not built.
    pub fn command(&self, arguments: &[&str]) -> Result<Command> {
        let program = binary()?;
        let mut command = self.host.command(&program.to_string_lossy());
        command.args(arguments);
        command.envs(self.environment.iter().map(|(key, value)| (key, value)));
        Ok(command)
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The peers of a status.
pub fn peers(status: &Value) -> impl Iterator<Item = &Value> {
    status["peers"].as_array().into_iter().flatten()
}

/// The routes of a status.
pub fn routes(status: &Value) -> impl Iterator<Item = &Value> {
    status["routes"].as_array().into_iter().flatten()
}

fn name_of(value: &Value) -> Option<&str> {
    value["name"].as_str()
}
