//! One round of one contender: everything that is measured, in a fixed order.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use meshnode_tests::world::Process;

use super::echo::{Carrier, Questions};
use super::iperf::{self, Direction, Stream, Tcp};
use super::metric::{Group, Metric};
use crate::pair::Pair;
use crate::statistics::Sorted;

/// Echo requests on the idle tunnel: one each ten milliseconds, as `ping -i 0.01` sends them.
const IDLE: Questions = Questions {
    carrier: Carrier::Icmp,
    pause: Duration::from_millis(10),
};
const IDLE_COUNT: u64 = 200;

/// Echo requests beside a TCP transfer: too few to slow it.
const LOADED: Questions = Questions {
    carrier: Carrier::Icmp,
    pause: Duration::from_millis(20),
};

/// What a round is made of.
#[derive(Clone, Debug)]
pub(crate) struct Suite {
    pub(crate) groups: Vec<Group>,
    /// Length of each transfer.
    pub(crate) seconds: u32,
}

/// What was measured.
pub(crate) type Sample = Vec<(Metric, f64)>;

impl Suite {
    /// Measures a pair once. What fails is told to `failed` and left out; the rest goes on.
    pub(crate) fn run(&self, pair: &Pair, mut failed: impl FnMut(anyhow::Error)) -> Sample {
        let mut sample = Sample::new();
        for step in self.steps() {
            let measured = pair.still_runs().and_then(|()| step.run(pair, self.seconds));
            match measured.with_context(|| step.name()) {
                Ok(values) => sample.extend(values),
                Err(error) => failed(error),
            }
        }
        sample
    }

    fn steps(&self) -> impl Iterator<Item = Step> {
        let all = [
            (Group::Rtt, Step::Idle),
            (Group::Tcp, Step::Loaded),
            (Group::Tcp, Step::Tcp(Metric::TcpDown1, 1, Direction::Reverse)),
            (Group::Tcp, Step::Tcp(Metric::TcpUp4, 4, Direction::Forward)),
            (Group::Tcp, Step::Tcp(Metric::TcpDown4, 4, Direction::Reverse)),
            (Group::Tcp, Step::Tcp(Metric::TcpBoth, 1, Direction::Both)),
            (Group::Udp, Step::Udp(Metric::UdpSmall, 64)),
            (Group::Udp, Step::Udp(Metric::UdpLarge, 1350)),
        ];
        all.into_iter()
            .filter(|(group, _)| self.groups.contains(group))
            .map(|(_, step)| step)
    }
}

/// One transfer, or one series of pings.
#[derive(Clone, Copy, Debug)]
enum Step {
    Idle,
    /// One TCP stream, with everything that is watched meanwhile.
    Loaded,
    Tcp(Metric, u32, Direction),
    Udp(Metric, u32),
}

impl Step {
    fn name(self) -> String {
        match self {
            Step::Idle => Metric::IdleRtt.title().0.to_owned(),
            Step::Loaded => Metric::TcpUp1.title().0.to_owned(),
            Step::Tcp(metric, ..) | Step::Udp(metric, _) => metric.title().0.to_owned(),
        }
    }

    fn run(self, pair: &Pair, seconds: u32) -> Result<Sample> {
        match self {
            Step::Idle => {
                let answers = IDLE.ask(pair, |asked| asked >= IDLE_COUNT)?;
                let times = Sorted::new(answers.times).context("no echo request was answered")?;
                Ok(vec![(Metric::IdleRtt, times.median())])
            }
            Step::Loaded => loaded(pair, seconds),
            Step::Tcp(metric, streams, direction) => {
                let stream = tcp(streams, direction, seconds).run(pair)?;
                Ok(vec![(metric, stream.bits_per_second / 1e9)])
            }
            Step::Udp(metric, size) => {
                let datagrams = iperf::udp(pair, size, seconds)?;
                Ok(vec![(metric, datagrams.packets_per_second / 1e3)])
            }
        }
    }
}

fn tcp(streams: u32, direction: Direction, seconds: u32) -> Tcp {
    Tcp {
        streams,
        direction,
        seconds,
    }
}

/// One TCP stream; round trips meanwhile; and what the daemons used for it.
fn loaded(pair: &Pair, seconds: u32) -> Result<Sample> {
    // A kernel without this shows the peak since the start instead: never less.
    let _unsupported = pair.daemons.iter().try_for_each(Process::forget_peak);
    let before = processor_time(pair)?;
    let (stream, times) = stream_and_echo(pair, tcp(1, Direction::Forward, seconds))?;
    let used = processor_time(pair)?.saturating_sub(before);
    let mut sample = vec![(Metric::TcpUp1, stream.bits_per_second / 1e9)];
    sample.extend(Sorted::new(times).map(|times| (Metric::LoadedRtt, times.median() / 1e3)));
    if !pair.daemons.is_empty() {
        sample.push((Metric::Processor, used.as_secs_f64() / (stream.bytes / 1e9)));
        sample.push((Metric::Memory, peak_resident(pair)? as f64 / 1e6));
    }
    Ok(sample)
}

fn stream_and_echo(pair: &Pair, tcp: Tcp) -> Result<(Stream, Vec<f64>)> {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let echo = scope.spawn(|| LOADED.ask(pair, |_| over.load(Ordering::Relaxed)));
        let stream = tcp.run(pair);
        over.store(true, Ordering::Relaxed);
        let answers = echo
            .join()
            .unwrap_or_else(|_| Err(anyhow::anyhow!("the echo thread panicked")));
        Ok((stream?, answers?.times))
    })
}

/// Both daemons together.
fn processor_time(pair: &Pair) -> Result<Duration> {
    pair.daemons.iter().map(Process::processor_time).sum()
}

/// The larger one of both daemons.
fn peak_resident(pair: &Pair) -> Result<u64> {
    let peaks: Result<Vec<u64>> = pair.daemons.iter().map(Process::peak_resident).collect();
    peaks?.into_iter().max().context("no daemon")
}
