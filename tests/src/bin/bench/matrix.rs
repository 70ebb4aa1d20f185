//! `cargo xtask bench`: every contender, every figure, in rounds; a report with a table, JSON and a chart.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use meshnode_tests::world::World;

use crate::contender::Selection;
use crate::measure::metric::{Group, Metric};
use crate::measure::suite::{Sample, Suite};
use crate::report::Report;
use crate::step;

#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    selection: Selection,
    /// Rounds over all contenders; the medians of the rounds count
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Length of each transfer
    #[arg(long, default_value_t = 4)]
    seconds: u32,
    /// Measure only these, separated by commas
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Group>,
    /// One short round, to see that everything works: the figures mean little
    #[arg(long)]
    quick: bool,
    /// Where the report goes
    #[arg(long, value_name = "DIRECTORY", default_value = "docs/benchmarks")]
    output: PathBuf,
    /// What its files are called
    #[arg(long, default_value = "pair")]
    name: String,
}

/// Measures, prints the tables, writes the files.
pub(crate) fn run(options: &Options) -> Result<()> {
    let (rounds, seconds) = if options.quick {
        (1, 2)
    } else {
        (options.rounds, options.seconds)
    };
    let suite = Suite {
        groups: groups(&options.only),
        seconds,
    };
    let world = World::create()?;
    let field = options.selection.start(&world)?;
    let mut report = Report::new(rounds, seconds, &field);
    for round in 0..rounds {
        step(&format!("round {} of {rounds}", round + 1));
        // Each round begins with another contender: none always comes after the same one.
        for turn in 0..field.present.len() {
            let number = (round + turn) % field.present.len();
            let (contender, pair) = &field.present[number];
            let sample = suite.run(pair, |error| {
                step(&format!("{} FAILED: {error:#}", contender.name));
                report.fail(format!("{}, round {}: {error:#}", contender.name, round + 1));
            });
            eprintln!("    {:<14} {}", contender.name, in_one_line(&sample));
            report.add(number, sample);
        }
    }
    println!("{}", report.markdown());
    let files = report.write(&options.output, &options.name)?;
    step(&format!("written: {}", files.join(", ")));
    report.complete()
}

fn groups(only: &[Group]) -> Vec<Group> {
    match only {
        [] => vec![Group::Rtt, Group::Tcp, Group::Udp],
        some => some.to_vec(),
    }
}

fn in_one_line(sample: &Sample) -> String {
    let words = sample.iter().map(|(metric, value)| {
        let (title, unit) = metric.title();
        format!("{title} {} {unit}", Metric::show(*value))
    });
    words.collect::<Vec<_>>().join(" · ")
}
