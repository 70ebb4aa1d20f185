//! `cargo xtask bench latency`: round trips through the idle tunnel, in percentiles. A microscope: it writes no report.

use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use meshnode_tests::world::World;

use crate::contender::Selection;
use crate::measure::echo::{Answers, Carrier, Questions};
use crate::pair::Pair;
use crate::statistics::Sorted;
use crate::step;

#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    selection: Selection,
    /// Round trips of one contender in one round
    #[arg(long, default_value_t = 1_000)]
    count: u64,
    /// Microseconds from an answer to the next question; 0 asks again at once
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 1_000)]
    pause: u64,
    /// Rounds over all contenders
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Who answers
    #[arg(long, value_enum, default_value = "icmp")]
    carrier: Carrier,
}

/// Measures in turn, prints a line per contender: all its rounds together.
pub(crate) fn run(options: &Options) -> Result<()> {
    let world = World::create()?;
    let field = options.selection.start(&world)?;
    let mut answers = vec![Answers::default(); field.present.len()];
    for round in 0..options.rounds {
        step(&format!("round {} of {}", round + 1, options.rounds));
        for turn in 0..answers.len() {
            let number = (round + turn) % answers.len();
            let (_, pair) = &field.present[number];
            let more = ask(options, pair).with_context(|| format!("measuring {}", pair.name))?;
            answers[number].times.extend(more.times);
            answers[number].lost += more.lost;
        }
    }
    println!(
        "{:<16} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>6}   microseconds",
        "", "least", "p10", "median", "p90", "p99", "most", "lost"
    );
    for ((contender, _), answers) in field.present.iter().zip(answers) {
        print_line(&contender.name, answers)?;
    }
    for absent in field.absent {
        println!("{:<16} left out: {}", absent.name, absent.reason);
    }
    Ok(())
}

fn ask(options: &Options, pair: &Pair) -> Result<Answers> {
    let questions = Questions {
        carrier: options.carrier,
        pause: Duration::from_micros(options.pause),
    };
    let count = options.count;
    let answers = questions.ask(pair, move |asked| asked >= count);
    pair.still_runs()?;
    answers
}

fn print_line(name: &str, Answers { times, lost }: Answers) -> Result<()> {
    let times = Sorted::new(times).with_context(|| format!("{name}: no answer at all"))?;
    println!(
        "{name:<16} {:>8.1} {:>8.1} {:>8.1} {:>8.1} {:>8.1} {:>8.1} {lost:>6}",
        times.least(),
        times.percentile(0.10),
        times.median(),
        times.percentile(0.90),
        times.percentile(0.99),
        times.most(),
    );
    Ok(())
}
