//! The command line: one file a command, each with its options and a `run`.
//!
//! `init`, `up` and `join` work on the state directory; all others ask the running node over its socket.

mod context;
mod launch;
mod names;
mod seeds;
mod watch;

mod cidr;
mod client;
mod completions;
mod drain;
mod events;
mod explain;
mod grant;
mod guard;
mod init;
mod invite;
mod join;
mod leave;
mod peers;
mod ping;
mod reload;
mod revoke;
mod routes;
mod status;
mod trace;
mod up;
mod version;

use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::config::{CommonOptions, Overrides};
use crate::output::{Console, Failure};
use context::Context;

/// A mesh VPN without a controller: WireGuard tunnels between gateways that find each other by gossip.
#[derive(Debug, Parser)]
#[command(
    name = "meshnode",
    version,
    propagate_version = false,
    disable_help_subcommand = true
)]
#[command(
    after_help = "Every option is also a variable (--state-dir: MESHNODE_STATE_DIR) and a key in the \
                        configuration file (state_dir).\nThe flag wins over the variable, the variable over the file."
)]
struct Cli {
    #[command(flatten)]
    common: CommonOptions,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a new mesh, with this host as its first node
    Init(init::Options),
    /// Run this node in the foreground, as systemd and containers do
    Up(up::Options),
    /// Print a token that lets another node join
    Invite(invite::Options),
    /// Enter a mesh once, then run; where this host is a member, just run
    Join(join::Options),
    /// Show this node, its peers and its routes
    Status(status::Options),
    /// Show the other nodes and the records that were refused
    Peers(peers::Options),
    /// Show every prefix of the mesh and where it goes
    Routes(routes::Options),
    /// Show what happened to paths and routes, and why
    Events(events::Options),
    /// Measure the round trip to a node, inside the tunnel
    Ping(ping::Options),
    /// Show over which nodes packets to an address go, probing each
    Trace(trace::Options),
    /// Say what happens to a packet from one address to another, and why
    Explain(explain::Options),
    /// Announce or withdraw a prefix
    Cidr(cidr::Options),
    /// Read the configuration file again
    Reload(reload::Options),
    /// Allow a node to announce more prefixes
    Grant(grant::Options),
    /// Expel a node, or make a token worthless
    Revoke(revoke::Options),
    /// Attach stock WireGuard devices: phones, laptops, servers
    Client(client::Options),
    /// Move traffic away from this node, until `undrain`
    Drain(drain::Options),
    /// Take traffic again after `drain`
    Undrain(drain::Options),
    /// Leave the mesh for good and forget this node's keys
    Leave(leave::Options),
    /// The routes that keep mesh traffic from leaving in clear while no node runs
    Guard(guard::Options),
    /// Print the version
    Version(version::Options),
    /// Print a completion script for a shell
    Completions(completions::Options),
}

/// Reads the command line, runs the command, says how it failed.
pub fn run() -> ExitCode {
    let matches = Cli::command().get_matches();
    let console = Console::of_process();
    let outcome = match Cli::from_arg_matches(&matches) {
        Ok(cli) => dispatch(cli, &matches, &console),
        Err(error) => error.exit(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            console.fail(&failure);
            failure.exit_code()
        }
    }
}

fn dispatch(cli: Cli, matches: &ArgMatches, console: &Console) -> Result<(), Failure> {
    let own = matches.subcommand().map_or(matches, |(_, own)| own);
    let context = |node| Context::new(console, Overrides::new(&cli.common, node, own));
    match &cli.command {
        Command::Init(options) => options.run(&context(None)),
        Command::Up(options) => options.run(context(Some(&options.node))),
        Command::Invite(options) => options.run(&context(None)),
        Command::Join(options) => options.run(context(Some(&options.node)), own),
        Command::Status(options) => options.run(&context(None)),
        Command::Peers(options) => options.run(&context(None)),
        Command::Routes(options) => options.run(&context(None)),
        Command::Events(options) => options.run(&context(None)),
        Command::Ping(options) => options.run(&context(None)),
        Command::Trace(options) => options.run(&context(None)),
        Command::Explain(options) => options.run(&context(None)),
        Command::Cidr(options) => options.run(&context(None)),
        Command::Reload(options) => options.run(&context(None)),
        Command::Grant(options) => options.run(&context(None)),
        Command::Revoke(options) => options.run(&context(None)),
        Command::Client(options) => options.run(&context(None)),
        Command::Drain(options) => options.drain(&context(None)),
        Command::Undrain(options) => options.undrain(&context(None)),
        Command::Leave(options) => options.run(&context(None)),
        Command::Guard(options) => options.run(&context(None)),
        Command::Version(options) => options.run(console),
        Command::Completions(options) => options.run(Cli::command(), console),
    }
}

#[cfg(test)]
mod tests;
