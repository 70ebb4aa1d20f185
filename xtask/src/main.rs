//! The one front door for tasks: `cargo xtask demo | test | bench | measure | setup`.
//!
//! It depends on the standard library alone, so it builds in seconds on a machine that has nothing but a Rust
//! toolchain. It installs the Debian packages that the task needs, builds the workspace, and starts the rest.

#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool talks to its terminal"
)]

mod cargo;
mod packages;
mod stages;

use std::process::ExitCode;

use packages::Purpose;

const USAGE: &str = "\
cargo xtask <task>

  demo            three VPCs, one mesh: installs, builds, runs it and cleans up
  test            the whole gate: formatting, lints, tests, clusters, fuzz bodies, network worlds
  test --long     the same and what takes hours: soaks, large clusters
  test STAGE..    only those stages (see `cargo xtask test --list`)
  bench           meshnode and other userspace WireGuards in turn, written to docs/benchmarks/
  bench TASK      failover, latency, policer, scale, soak: one question each (see `cargo xtask bench --help`)
  bench engine    nanoseconds per packet of the engine alone, without a network
  measure [N..]   time to join, memory, processor and gossip of idle meshes of N nodes (3 and 20)
  setup           install the Debian packages of all tasks, nothing else
  sweep           remove what killed demos and tests left behind
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["demo", rest @ ..] => demo(rest),
        ["test", rest @ ..] => stages::run(rest),
        ["bench", "engine", rest @ ..] => engine(rest),
        ["bench", rest @ ..] => bench(rest),
        ["measure", rest @ ..] => measure(rest),
        ["setup"] => packages::install(Purpose::Everything),
        ["sweep"] => sweep(),
        [] | ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprint!("error: there is no such task\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn demo(arguments: &[&str]) -> Result<(), String> {
    packages::install(Purpose::Demo)?;
    cargo::step("building meshnode (the first time takes a few minutes)");
    cargo::build_demo()?;
    Err(cargo::become_program("demo", "debug", arguments))
}

fn bench(arguments: &[&str]) -> Result<(), String> {
    packages::install(Purpose::Bench)?;
    cargo::step("building the release binary");
    cargo::build_release(&["meshnode", "meshnode-wg", "bench"])?;
    Err(cargo::become_program("bench", "release", arguments))
}

/// The pure engine has no network and needs no package.
fn engine(filters: &[&str]) -> Result<(), String> {
    let mut words = vec![
        "bench",
        "--quiet",
        "-p",
        "meshnode-dataplane",
        "--bench",
        "engine",
        "--",
    ];
    words.extend(filters);
    cargo::cargo(&words)
}

fn measure(arguments: &[&str]) -> Result<(), String> {
    packages::install(Purpose::Demo)?;
    cargo::step("building the release binary");
    cargo::build_release(&["meshnode", "measure"])?;
    Err(cargo::become_program("measure", "release", arguments))
}

fn sweep() -> Result<(), String> {
    cargo::build_demo()?;
    Err(cargo::become_program("demo", "debug", &["--sweep"]))
}
