//! `meshnode ping NODE`: round trips inside the tunnel, shown as ping(8) does.

use std::time::Duration;

use clap::Args;

use crate::api::client::Client;
use crate::api::types::{Peers, PingAnswer, PingRequest};
use crate::output::{Console, Failure};

use super::context::Context;
use super::names::{self, Node};

/// Options of `ping`.
#[derive(Debug, Args)]
pub struct Options {
    /// Name of the node, the beginning of its id, or its mesh address
    #[arg(value_name = "NODE")]
    node: String,
    /// Stop after this many probes [default: at Ctrl-C]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Seconds from probe to probe
    #[arg(short, long, value_name = "S", default_value = "1", value_parser = interval)]
    interval: Duration,
    /// How many seconds to wait for an answer
    #[arg(short = 'W', long, value_name = "S", default_value = "2", value_parser = interval)]
    timeout: Duration,
}

impl Options {
    pub fn run(&self, context: &Context<'_>) -> Result<(), Failure> {
        let node = context.node()?;
        context.block_on(async {
            let peers: Peers = node.get("/v1/peers").await?;
            let target = names::resolve(&peers, &self.node)?;
            if target.id == peers.id {
                return Err(Failure::new(format!("`{}` is this node", self.node)).fix("name another one"));
            }
            self.ping(context.console, &node, &target).await
        })
    }

    async fn ping(&self, console: &Console, node: &Client, target: &Node) -> Result<(), Failure> {
        let mut tally = Tally::default();
        let mut tick = tokio::time::interval(self.interval);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let stopped = tokio::signal::ctrl_c();
        tokio::pin!(stopped);
        console.print(format_args!(
            "PING {} ({}), inside the tunnel",
            target.name,
            &target.id[..8]
        ))?;
        while self.count.is_none_or(|count| tally.sent < count) {
            let answer = tokio::select! {
                answer = async { tick.tick().await; self.probe(node, target).await } => answer?,
                _interrupted = &mut stopped => break,
            };
            tally.add(&answer);
            console.print(line(&target.name, tally.sent, &answer))?;
            if console.is_closed() {
                return Ok(());
            }
        }
        console.print(tally.summary(&target.name))?;
        match tally.round_trips.is_empty() {
            true => Err(Failure::new(format!("nothing came back from {}", target.name))
                .fix("see `meshnode peers` for its state")),
            false => Ok(()),
        }
    }

    async fn probe(&self, node: &Client, target: &Node) -> Result<PingAnswer, Failure> {
        let timeout_ms = u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX);
        Ok(node
            .post(
                "/v1/ping",
                &PingRequest {
                    node: target.id.clone(),
                    timeout_ms,
                },
            )
            .await?)
    }
}

/// What went out and came back.
#[derive(Debug, Default)]
struct Tally {
    sent: u64,
    round_trips: Vec<f64>,
}

impl Tally {
    fn add(&mut self, answer: &PingAnswer) {
        self.sent += 1;
        self.round_trips.extend(answer.rtt_ms);
    }

    fn summary(&self, name: &str) -> String {
        let received = self.round_trips.len() as u64;
        let lost = 100.0 * self.sent.saturating_sub(received) as f64 / self.sent.max(1) as f64;
        let counts = format!(
            "\n--- {name} ---\n{} sent, {received} received, {lost:.0} % lost",
            self.sent
        );
        if self.round_trips.is_empty() {
            return counts;
        }
        let least = self.round_trips.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.round_trips.iter().copied().fold(0.0, f64::max);
        let mean = self.round_trips.iter().sum::<f64>() / received as f64;
        format!("{counts}\nrtt min/avg/max = {least:.3}/{mean:.3}/{most:.3} ms")
    }
}

fn line(name: &str, number: u64, answer: &PingAnswer) -> String {
    match (answer.rtt_ms, &answer.error) {
        (Some(milliseconds), _) => format!("{name}: probe={number} time={milliseconds:.3} ms"),
        (None, Some(why)) => format!("{name}: probe={number} {why}"),
        (None, None) => format!("{name}: probe={number} no answer"),
    }
}

/// Seconds, with a fraction if wanted.
pub fn interval(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.01..=3600.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(format!("`{text}` is no number of seconds from 0.01 to 3600")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(rtt_ms: Option<f64>) -> PingAnswer {
        PingAnswer { rtt_ms, error: None }
    }

    #[test]
    fn the_summary_counts_what_was_lost() {
        let mut tally = Tally::default();
        for rtt_ms in [Some(1.0), None, Some(2.0), Some(6.0)] {
            tally.add(&answer(rtt_ms));
        }
        let summary = tally.summary("hk");
        assert_eq!(
            summary,
            "\n--- hk ---\n4 sent, 3 received, 25 % lost\nrtt min/avg/max = 1.000/3.000/6.000 ms"
        );
    }

    #[test]
    fn a_summary_of_nothing_has_no_times() {
        assert_eq!(
            Tally::default().summary("hk"),
            "\n--- hk ---\n0 sent, 0 received, 0 % lost"
        );
    }

    #[test]
    fn intervals_are_seconds() {
        assert_eq!(interval("0.2"), Ok(Duration::from_millis(200)));
        for wrong in ["0", "-1", "nan", "inf", "1s", "1e9"] {
            assert!(interval(wrong).is_err(), "{wrong}");
        }
    }
}
