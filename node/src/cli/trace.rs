//! `meshnode trace ADDR`: over which nodes packets to an address go, each probed now, inside the tunnels.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::api::client::Client;
use crate::api::types::{Explanation, Outcome, PingAnswer, PingRequest, Way};
use crate::output::style::{Paint, Style};
use crate::output::table::{Listing, plain};
use crate::output::{Failure, duration};

use super::context::Context;
use super::peers::{loss, percent};
use super::ping::interval;
use super::watch;

/// Options of `trace`.
#[derive(Debug, Args)]
pub struct Options {
    /// Where to: an address, or the name of a node
    #[arg(value_name = "ADDR")]
    destination: String,
    /// Probes for each hop
    #[arg(short, long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u32).range(1..=1000))]
    count: u32,
    /// Seconds from round to round
    #[arg(short, long, value_name = "S", default_value = "0.2", value_parser = interval)]
    interval: Duration,
    /// How many seconds to wait for an answer
    #[arg(short = 'W', long, value_name = "S", default_value = "2", value_parser = interval)]
    timeout: Duration,
    /// Print JSON, once all probes are done
    #[arg(long)]
    json: bool,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trace {
    /// What happens to a packet from this node to there.
    pub explanation: Explanation,
    /// The hops, nearest first; with several gateways those of each after the other.
    pub hops: Vec<Hop>,
}

/// One node on the way.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Hop {
    /// How many nodes away: 1, or 2 behind a relay.
    pub distance: u8,
    /// Shown name.
    pub node: String,
    /// What it does there: `relay` or `gateway`.
    pub role: String,
    /// `direct`, or `relay:<name>`.
    pub path: String,
    /// Inner MTU of the path to it.
    pub mtu: Option<u16>,
    /// Probes sent.
    pub sent: u32,
    /// Answers.
    pub received: u32,
    /// Share without an answer, 0 to 1.
    pub loss: f64,
    /// Round trip of the last answer.
    pub last_ms: Option<f64>,
    /// The shortest.
    pub best_ms: Option<f64>,
    /// The mean.
    pub mean_ms: Option<f64>,
    /// The longest.
    pub worst_ms: Option<f64>,
    /// Round trip of the leg behind the relay, as the relay measures it.
    pub far_leg_ms: Option<f64>,
    /// Why the last probe had no answer.
    pub error: Option<String>,
    #[serde(skip)]
    id: String,
}

impl Options {
    pub fn run(&self, context: &Context<'_>) -> Result<(), Failure> {
        let node = context.node()?;
        context.block_on(self.trace(context, &node))
    }

    async fn trace(&self, context: &Context<'_>, node: &Client) -> Result<(), Failure> {
        let question = format!("/v1/explain?destination={}", self.destination);
        let explanation: Explanation = node.get(&question).await?;
        let mut trace = Trace::of(explanation);
        if trace.hops.is_empty() {
            return self.without_hops(context, &trace);
        }
        let mut shown = Screen::new(context, self.json);
        shown.begin(&trace, self.count)?;
        let mut tick = tokio::time::interval(self.interval);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for _ in 0..self.count {
            tick.tick().await;
            for hop in &mut trace.hops {
                let answer = self.probe(node, &hop.id).await?;
                hop.add(&answer);
            }
            shown.update(&trace)?;
            if context.console.is_closed() {
                return Ok(());
            }
        }
        shown.end(&trace)?;
        trace.verdict()
    }

    fn without_hops(&self, context: &Context<'_>, trace: &Trace) -> Result<(), Failure> {
        let answer = &trace.explanation;
        if self.json {
            context.console.print(watch::json(trace)?)?;
        }
        match answer.outcome {
            Outcome::Dropped => {
                let reason = answer.drop_reason.as_deref().unwrap_or("unknown");
                let failure =
                    Failure::new(format!("packets to {} are dropped: {reason}", answer.destination));
                let failure = failure.because(&answer.text);
                Err(failure.fix(
                    answer
                        .fix
                        .clone()
                        .unwrap_or_else(|| "see `meshnode explain`".to_owned()),
                ))
            }
            _ if self.json => Ok(()),
            _ => context
                .console
                .print(format_args!("{}: {}", answer.destination, answer.text)),
        }
    }

    async fn probe(&self, node: &Client, id: &str) -> Result<PingAnswer, Failure> {
        let request = PingRequest {
            node: id.to_owned(),
            timeout_ms: u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX),
        };
        Ok(node.post("/v1/ping", &request).await?)
    }
}

impl Trace {
    fn of(explanation: Explanation) -> Trace {
        let hops = explanation.gateways.iter().flat_map(Hop::on).collect();
        Trace { explanation, hops }
    }

    /// A gateway that no probe reached is a failure.
    fn verdict(&self) -> Result<(), Failure> {
        let silent = self
            .hops
            .iter()
            .find(|hop| hop.role == "gateway" && hop.received == 0);
        match silent {
            Some(hop) => Err(Failure::new(format!("nothing came back from {}", hop.node))
                .because(hop.error.as_deref().unwrap_or("no answer"))
                .fix("see `meshnode events` for what happened, `meshnode peers` for its state")),
            None => Ok(()),
        }
    }
}

impl Hop {
    /// The relay, if there is one, then the gateway; an attached device answers no probes.
    fn on(way: &Way) -> Vec<Hop> {
        let relay = way.relay.as_ref().map(|relay| Hop {
            distance: 1,
            node: relay.node.clone(),
            role: "relay".to_owned(),
            path: "direct".to_owned(),
            id: relay.id.clone(),
            ..Hop::default()
        });
        let gateway = Hop {
            distance: 1 + u8::from(relay.is_some()),
            node: way.node.clone(),
            role: "gateway".to_owned(),
            path: way.path.clone(),
            mtu: way.mtu,
            far_leg_ms: way.relay.as_ref().and_then(|relay| relay.far_ms),
            id: way.id.clone(),
            ..Hop::default()
        };
        let is_node = !way.id.is_empty();
        relay.into_iter().chain(is_node.then_some(gateway)).collect()
    }

    fn add(&mut self, answer: &PingAnswer) {
        self.sent += 1;
        self.error.clone_from(&answer.error);
        if let Some(ms) = answer.rtt_ms {
            let before = f64::from(self.received);
            self.received += 1;
            self.last_ms = Some(ms);
            self.best_ms = Some(self.best_ms.map_or(ms, |best| best.min(ms)));
            self.worst_ms = Some(self.worst_ms.map_or(ms, |worst| worst.max(ms)));
            self.mean_ms = Some((self.mean_ms.unwrap_or(0.0) * before + ms) / f64::from(self.received));
        }
        self.loss = 1.0 - f64::from(self.received) / f64::from(self.sent);
    }
}

/// Where the table is drawn: again and again on a terminal, once elsewhere.
struct Screen<'a> {
    context: &'a Context<'a>,
    json: bool,
    drawn: usize,
}

impl<'a> Screen<'a> {
    fn new(context: &'a Context<'_>, json: bool) -> Screen<'a> {
        Screen {
            context,
            json,
            drawn: 0,
        }
    }

    fn begin(&self, trace: &Trace, count: u32) -> Result<(), Failure> {
        match self.json {
            true => Ok(()),
            false => self.context.console.print(title(trace, count)),
        }
    }

    fn update(&mut self, trace: &Trace) -> Result<(), Failure> {
        if self.json || !self.context.console.is_terminal() {
            return Ok(());
        }
        let table = table(trace, self.context.console.style());
        let up = match self.drawn {
            0 => String::new(),
            lines => format!("\x1b[{lines}A"),
        };
        self.drawn = table.lines().count();
        let lines: String = table.lines().map(|line| format!("{line}\x1b[K\n")).collect();
        self.context.console.print_raw(up + &lines)
    }

    fn end(&self, trace: &Trace) -> Result<(), Failure> {
        match (self.json, self.drawn) {
            (true, _) => self.context.console.print(watch::json(trace)?),
            (false, 0) => self
                .context
                .console
                .print(table(trace, self.context.console.style())),
            (false, _) => Ok(()),
        }?;
        match self.json {
            true => Ok(()),
            false => self.context.console.print(ending(trace)),
        }
    }
}

/// `to 10.99.0.1 in 10.99.0.0/16, 5 probes a hop inside the tunnels`.
fn title(trace: &Trace, count: u32) -> String {
    let answer = &trace.explanation;
    let wider = answer
        .prefix
        .filter(|prefix| prefix.prefix_len() < prefix.max_prefix_len());
    let prefix = wider.map_or(String::new(), |prefix| format!(" in {prefix}"));
    let probes = if count == 1 {
        "1 probe"
    } else {
        &format!("{count} probes")
    };
    format!(
        "to {}{prefix}, {probes} a hop, inside the tunnels",
        answer.destination
    )
}

fn table(trace: &Trace, style: Style) -> String {
    let titles = [
        "", "NODE", "ROLE", "PATH", "LOSS", "LAST", "BEST", "MEAN", "WORST", "MTU",
    ];
    let mut table = Listing::new(style, &titles).right(&[0, 4, 5, 6, 7, 8, 9]);
    for hop in &trace.hops {
        let time = |ms: Option<f64>| plain(ms.map_or("-".to_owned(), duration::millis));
        table.row([
            plain(hop.distance),
            (hop.node.clone(), Some(Paint::Strong)),
            plain(&hop.role),
            plain(&hop.path),
            loss((hop.sent > 0).then_some(hop.loss)),
            time(hop.last_ms),
            time(hop.best_ms),
            time(hop.mean_ms),
            time(hop.worst_ms),
            plain(hop.mtu.map_or("-".to_owned(), |mtu| mtu.to_string())),
        ]);
    }
    table.render()
}

/// What the table cannot say: the far leg of a relay, and what lies behind the gateway.
fn ending(trace: &Trace) -> String {
    let answer = &trace.explanation;
    let mut lines = Vec::new();
    for hop in trace.hops.iter().filter(|hop| hop.distance > 1) {
        let relay = hop.path.strip_prefix("relay:").unwrap_or(&hop.path);
        lines.extend(
            hop.far_leg_ms
                .map(|ms| format!("{relay} measures {} to {}", duration::millis(ms), hop.node)),
        );
    }
    let lost = answer
        .gateways
        .iter()
        .filter_map(|way| Some((way, way.loss.filter(|loss| *loss > 0.0)?)));
    lines.extend(lost.map(|(way, loss)| {
        format!(
            "{} of the probes of the last 10 s to {} were lost",
            percent(loss),
            way.node
        )
    }));
    if !answer.candidates.is_empty() {
        lines.push(format!(
            "{} itself is behind that and was not probed",
            answer.destination
        ));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(rtt_ms: Option<f64>) -> PingAnswer {
        PingAnswer { rtt_ms, error: None }
    }

    #[test]
    fn a_hop_sums_up_its_probes() {
        let mut hop = Hop::default();
        for rtt_ms in [Some(1.0), None, Some(2.0), Some(6.0)] {
            hop.add(&answer(rtt_ms));
        }
        assert_eq!((hop.sent, hop.received, hop.loss), (4, 3, 0.25));
        assert_eq!(
            (hop.best_ms, hop.mean_ms, hop.worst_ms),
            (Some(1.0), Some(3.0), Some(6.0))
        );
        assert_eq!(hop.last_ms, Some(6.0));
    }
}
