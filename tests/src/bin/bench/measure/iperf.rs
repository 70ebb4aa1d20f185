//! One transfer by iperf3, from the left host of a pair to the right one: all figures are the receiver's.

use std::fs::File;
use std::io::{Read, Seek};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use meshnode_tests::wait::eventually;
use meshnode_tests::world::Host;
use serde_json::Value;

use crate::pair::{Pair, RIGHT};

/// What a transfer may take beyond its own time: on a flooded tunnel the control connection waits for its turn.
const GRACE: Duration = Duration::from_secs(30);
/// Between two looks whether iperf3 has ended.
const TICK: Duration = Duration::from_millis(20);

/// A TCP transfer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tcp {
    pub(crate) streams: u32,
    pub(crate) direction: Direction,
    pub(crate) seconds: u32,
}

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Left to right.
    Forward,
    /// Right to left.
    Reverse,
    /// Both at once.
    Both,
}

/// What arrived by TCP.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream {
    /// Payload, both directions together.
    pub(crate) bits_per_second: f64,
    /// Payload of the whole transfer.
    pub(crate) bytes: f64,
    /// The sender's slowest second.
    pub(crate) least_bits_per_second: f64,
    /// Segments sent again.
    pub(crate) retransmits: f64,
}

/// What arrived by UDP.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Datagrams {
    pub(crate) packets_per_second: f64,
}

impl Tcp {
    pub(crate) fn run(&self, pair: &Pair) -> Result<Stream> {
        let (seconds, streams) = (self.seconds.to_string(), self.streams.to_string());
        let mut words = vec!["--time", &seconds, "--parallel", &streams];
        match self.direction {
            Direction::Forward => {}
            Direction::Reverse => words.push("--reverse"),
            Direction::Both => words.push("--bidir"),
        }
        let (client, _) = transfer(pair, &words, self.seconds)?;
        let received = |field| number(&client, &format!("/end/sum_received/{field}"));
        let back =
            |field| number(&client, &format!("/end/sum_received_bidir_reverse/{field}")).unwrap_or(0.0);
        Ok(Stream {
            bits_per_second: received("bits_per_second")? + back("bits_per_second"),
            bytes: received("bytes")? + back("bytes"),
            least_bits_per_second: least_interval(&client),
            retransmits: number(&client, "/end/sum_sent/retransmits")?,
        })
    }
}

/// A flood of UDP datagrams with payloads of `size` bytes: the sender goes as fast as it can, the receiver counts.
pub(crate) fn udp(pair: &Pair, size: u32, seconds: u32) -> Result<Datagrams> {
    let (time, size) = (seconds.to_string(), size.to_string());
    let words = ["--udp", "--bitrate", "0", "--length", &size, "--time", &time];
    let (_, server) = transfer(pair, &words, seconds)?;
    let sum = |field| number(&server, &format!("/end/sum/{field}"));
    let arrived = sum("packets")? - sum("lost_packets")?;
    Ok(Datagrams {
        packets_per_second: arrived / f64::from(seconds),
    })
}

/// Runs a client on the left and a server on the right; returns what both say.
fn transfer(pair: &Pair, words: &[&str], seconds: u32) -> Result<(Value, Value)> {
    let target = RIGHT.to_string();
    let server = ["--server", "--one-off", "--interval", "0", "--bind", &target];
    let server = Running::start(&pair.right, &server)?;
    eventually("iperf3 listens", Duration::from_secs(10), || {
        let sockets = pair.right.run("ss", &["-Hltn", "sport", "=", "5201"])?;
        ensure!(!sockets.trim().is_empty(), "it does not yet");
        Ok(())
    })?;
    let deadline = Instant::now() + Duration::from_secs(seconds.into()) + GRACE;
    let mut all = vec!["--client", &target];
    all.extend(words);
    let client = Running::start(&pair.left, &all)?
        .result(deadline)
        .context("the client")?;
    let server = server.result(deadline).context("the server")?;
    Ok((client, server))
}

/// An iperf3 whose result goes to a file. Dropping it ends it.
struct Running {
    child: Child,
    output: File,
}

impl Running {
    fn start(host: &Host, words: &[&str]) -> Result<Running> {
        let output = tempfile::tempfile()?;
        let mut command: Command = host.command("iperf3");
        command.args(words).arg("--json").stdout(output.try_clone()?);
        let child = command
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start iperf3")?;
        Ok(Running { child, output })
    }

    fn result(mut self, deadline: Instant) -> Result<Value> {
        while self.child.try_wait()?.is_none() {
            ensure!(Instant::now() < deadline, "iperf3 does not end");
            std::thread::sleep(TICK);
        }
        let mut text = String::new();
        self.output.rewind()?;
        self.output.read_to_string(&mut text)?;
        let result: Value = serde_json::from_str(&text).context("iperf3 gave no JSON")?;
        match result["error"].as_str() {
            Some(error) => bail!("iperf3: {error}"),
            None => Ok(result),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn number(result: &Value, path: &str) -> Result<f64> {
    let value = result.pointer(path).and_then(Value::as_f64);
    value.with_context(|| format!("iperf3 gave no {path}"))
}

/// Of the intervals that lasted their whole second.
fn least_interval(result: &Value) -> f64 {
    let intervals = result["intervals"].as_array().into_iter().flatten();
    let sums = intervals.map(|interval| &interval["sum"]);
    let whole = sums.filter(|sum| sum["seconds"].as_f64().is_some_and(|seconds| seconds > 0.9));
    whole
        .filter_map(|sum| sum["bits_per_second"].as_f64())
        .fold(f64::INFINITY, f64::min)
}
