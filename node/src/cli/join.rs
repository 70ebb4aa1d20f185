//! `meshnode join`: into a mesh once, then run.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgMatches, Args};
use ipnet::IpNet;
use meshnode_crypto::{MeshId, Token, VerifiedToken, prefix};
use zeroize::Zeroizing;

use crate::config::{NodeOptions, Settings};
use crate::daemon::{JoinRequest, StartMode};
use crate::output::{Console, Failure, progress};
use crate::state::{Presence, StateDir};

use super::context::{Context, now};
use super::launch::launch;
use super::seeds::{self, Seed};

/// More than the longest token.
const MAX_TOKEN_FILE: u64 = 64 << 10;

/// Options of `join`.
#[derive(Debug, Args)]
pub struct Options {
    /// A member to knock at, by address or name, with or without port [default: those in the token]
    #[arg(value_name = "SEED", value_parser = seeds::parse)]
    seeds: Vec<Seed>,
    /// The token that `meshnode invite` printed
    #[arg(
        long,
        value_name = "TOKEN",
        env = "MESHNODE_TOKEN",
        hide_env = true,
        hide_env_values = true
    )]
    token: Option<String>,
    /// A file with the token; - for standard input
    #[arg(long, value_name = "FILE", env = "MESHNODE_TOKEN_FILE", hide_env = true)]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    pub node: NodeOptions,
}

impl Options {
    pub fn run(&self, context: Context<'_>, matches: &ArgMatches) -> Result<(), Failure> {
        let settings = context.settings()?;
        let token = self.token(matches)?;
        match StateDir::presence(&settings.state_dir)? {
            Presence::Member => self.run_again(&context, settings, token),
            _ => self.enrol(&context, settings, token),
        }
    }

    /// A member already: the token is not needed, and one of another mesh changes nothing.
    fn run_again(
        &self,
        context: &Context<'_>,
        settings: Settings,
        token: Option<Zeroizing<String>>,
    ) -> Result<(), Failure> {
        let state = StateDir::open(&settings.state_dir)?;
        let mesh = state.identity()?.mesh;
        if let Some(other) = token.and_then(|text| other_mesh(&text, &mesh)) {
            context.console.warn(format_args!(
                "this node is a member of mesh {}; the token is for mesh {} and is not used",
                mesh.short(),
                other.short()
            ));
        }
        let saved = state.announced()?.name;
        launch(settings.with_saved_name(saved), state, StartMode::Up)
    }

    fn enrol(
        &self,
        context: &Context<'_>,
        settings: Settings,
        token: Option<Zeroizing<String>>,
    ) -> Result<(), Failure> {
        let text = token.ok_or_else(no_token)?;
        let token = Token::parse(text.trim())
            .map_err(|error| Failure::usage("the token cannot be used").because(error))?;
        let verified = token
            .public()
            .verify(now())
            .map_err(|error| Failure::new("the token cannot be used").because(error))?;
        check_wishes(&settings.cidrs, &verified)?;
        let seeds = self.addresses(context, &verified)?;
        let state = StateDir::open_or_create(&settings.state_dir)?;
        let cidrs = settings.cidrs.clone();
        launch(
            settings,
            state,
            StartMode::Join(JoinRequest { token, seeds, cidrs }),
        )
    }

    /// The flag or the file; else the variables, the token before its file.
    fn token(&self, matches: &ArgMatches) -> Result<Option<Zeroizing<String>>, Failure> {
        let is_flag = |id| matches.value_source(id) == Some(ValueSource::CommandLine);
        match (&self.token, &self.token_file) {
            (Some(_), Some(_)) if is_flag("token") && is_flag("token_file") => {
                Err(Failure::usage("both --token and --token-file are given").fix("give one of them"))
            }
            (Some(_), Some(file)) if is_flag("token_file") => read_token(file).map(Some),
            (Some(token), _) => Ok(Some(Zeroizing::new(token.clone()))),
            (None, Some(file)) => read_token(file).map(Some),
            (None, None) => Ok(None),
        }
    }

    fn addresses(
        &self,
        context: &Context<'_>,
        token: &VerifiedToken,
    ) -> Result<Vec<std::net::SocketAddr>, Failure> {
        let mut seeds = self.seeds.clone();
        if seeds.is_empty() {
            seeds.extend(token.seeds().iter().filter_map(|seed| seeds::parse(seed).ok()));
        }
        match seeds.is_empty() {
            true => Err(Failure::usage("no seed to knock at")
                .because("none is given, and the token holds none")
                .fix("name a member: meshnode join 203.0.113.7 --token TOKEN")),
            false => resolve(context, &seeds, context.console),
        }
    }
}

fn resolve(
    context: &Context<'_>,
    seeds: &[Seed],
    console: &Console,
) -> Result<Vec<std::net::SocketAddr>, Failure> {
    context.block_on(progress::during(
        "looking up the seeds",
        seeds::resolve(seeds, console),
    ))
}

fn no_token() -> Failure {
    Failure::usage("no token")
        .because("this host is in no mesh yet, and a token lets it in")
        .fix("run `meshnode invite` on a member, then give its token with --token, --token-file or MESHNODE_TOKEN")
}

fn read_token(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let failed = |error: std::io::Error| {
        Failure::usage(format!("cannot read the token file {}", path.display())).because(error)
    };
    let mut text = Zeroizing::new(String::new());
    let read = match path == Path::new("-") {
        true => std::io::stdin()
            .lock()
            .take(MAX_TOKEN_FILE)
            .read_to_string(&mut text),
        false => std::fs::File::open(path)
            .map_err(failed)?
            .take(MAX_TOKEN_FILE)
            .read_to_string(&mut text),
    };
    match read.map_err(failed)? {
        0 => Err(Failure::usage(format!(
            "the token file {} is empty",
            path.display()
        ))),
        _ => Ok(text),
    }
}

/// The mesh that a token leads to, if it is another one.
fn other_mesh(text: &str, mesh: &MeshId) -> Option<MeshId> {
    let body = Token::parse(text.trim()).ok()?.public().read_unverified().ok()?;
    (body.mesh != *mesh).then_some(body.mesh)
}

/// Says before any packet is sent what the admitting member would refuse.
fn check_wishes(cidrs: &[IpNet], token: &VerifiedToken) -> Result<(), Failure> {
    let Some(cidr) = prefix::first_outside(token.serve(), cidrs) else {
        return Ok(());
    };
    let allowed: Vec<String> = token.serve().iter().map(IpNet::to_string).collect();
    let allows = if allowed.is_empty() {
        "no prefix".to_owned()
    } else {
        allowed.join(", ")
    };
    Err(Failure::new(format!("the token does not allow {cidr}"))
        .because(format!("it allows {allows}"))
        .fix(format!(
            "ask for a token made with `meshnode invite --cidr {cidr}`, or serve what this one allows"
        )))
}
