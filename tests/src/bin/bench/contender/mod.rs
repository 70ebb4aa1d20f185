//! What is measured: how each is called, found, installed and started.

mod device;
mod install;
mod mesh;

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use meshnode_tests::world::World;

use crate::pair::{OUTER_LEFT, OUTER_RIGHT, Pair};
use crate::step;
pub(crate) use device::Device;

/// The names that are always known, in the order of the tables.
pub(crate) const NO_TUNNEL: &str = "no tunnel";
pub(crate) const MESHNODE: &str = "meshnode";
pub(crate) const MESHNODE_WG: &str = "meshnode-wg";
pub(crate) const BORINGTUN: &str = "boringtun-cli";
pub(crate) const GOTATUN: &str = "gotatun-cli";
pub(crate) const WIREGUARD_GO: &str = "wireguard-go";

const KNOWN: [&str; 6] = [NO_TUNNEL, MESHNODE, MESHNODE_WG, BORINGTUN, GOTATUN, WIREGUARD_GO];

/// Which contenders take part.
#[derive(Args, Clone, Debug)]
pub(crate) struct Selection {
    /// Only these, separated by commas: "no tunnel", meshnode, meshnode-wg, boringtun-cli, gotatun-cli, wireguard-go
    #[arg(long, value_delimiter = ',')]
    pub(crate) contenders: Vec<String>,
    /// One more: any program that is started like wireguard-go and configured by wg(8)
    #[arg(long = "with", value_name = "NAME=PATH", value_parser = other)]
    pub(crate) others: Vec<(String, PathBuf)>,
}

fn other(word: &str) -> Result<(String, PathBuf), String> {
    let (name, path) = word.split_once('=').ok_or("write NAME=PATH")?;
    let path = PathBuf::from(path)
        .canonicalize()
        .map_err(|error| format!("{path}: {error}"))?;
    Ok((name.to_owned(), path))
}

/// One contender, ready to be started.
#[derive(Clone, Debug)]
pub(crate) struct Contender {
    pub(crate) name: String,
    pub(crate) version: String,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    /// A route, and nothing between.
    NoTunnel,
    /// Two nodes of one mesh, with settings beyond their defaults.
    Mesh(mesh::Settings),
    /// A plain WireGuard device.
    Device(Device),
}

/// A contender that does not take part, and why.
#[derive(Clone, Debug)]
pub(crate) struct Absent {
    pub(crate) name: String,
    pub(crate) reason: String,
}

/// All contenders of a run.
#[derive(Default)]
pub(crate) struct Field {
    pub(crate) present: Vec<(Contender, Pair)>,
    pub(crate) absent: Vec<Absent>,
}

impl Selection {
    /// Builds a pair for each contender. One that does not come up is absent, with the reason, and the rest go on.
    pub(crate) fn start(&self, world: &World) -> Result<Field> {
        let (contenders, absent) = self.resolve()?;
        let mut field = Field {
            present: Vec::new(),
            absent,
        };
        for (number, contender) in contenders.into_iter().enumerate() {
            step(&format!("starting {} {}", contender.name, contender.version));
            match contender.start(world, &format!("c{number}")) {
                Ok(pair) => field.present.push((contender, pair)),
                Err(error) => field.leave_out(&contender.name, &error),
            }
        }
        ensure!(!field.present.is_empty(), "no contender came up");
        Ok(field)
    }

    /// Finds or installs what was selected; what cannot be had is absent, with the reason.
    pub(crate) fn resolve(&self) -> Result<(Vec<Contender>, Vec<Absent>)> {
        for name in &self.contenders {
            let given = self.others.iter().any(|(other, _)| other == name);
            ensure!(
                given || KNOWN.contains(&name.as_str()),
                "there is no contender `{name}`: known are {}, and others by --with NAME=PATH",
                KNOWN.join(", ")
            );
        }
        let (mut found, mut missing) = (Vec::new(), Field::default());
        for name in self.names() {
            match self.find(&name) {
                Ok(contender) => found.push(contender),
                Err(error) => missing.leave_out(&name, &error),
            }
        }
        Ok((found, missing.absent))
    }

    /// The selected ones of the known, and all others. A known name with a path of its own is one of the others.
    fn names(&self) -> Vec<String> {
        let others: Vec<String> = self.others.iter().map(|(name, _)| name.clone()).collect();
        let known = KNOWN.map(str::to_owned).into_iter();
        known
            .filter(|name| self.contenders.is_empty() || self.contenders.contains(name))
            .filter(|name| !others.contains(name))
            .chain(others.iter().cloned())
            .collect()
    }

    fn find(&self, name: &str) -> Result<Contender> {
        let other = self.others.iter().find(|(other, _)| other == name);
        let (kind, version) = match (other, name) {
            (Some((_, path)), _) => device(path.clone())?,
            (None, NO_TUNNEL) => (Kind::NoTunnel, String::new()),
            (None, MESHNODE) => (Kind::Mesh(mesh::Settings::new()), mesh::version()?),
            (None, MESHNODE_WG) => device(beside(MESHNODE_WG)?)?,
            (None, BORINGTUN) => device(install::BORINGTUN.program()?)?,
            (None, GOTATUN) => device(install::GOTATUN.program()?)?,
            (None, WIREGUARD_GO) => device(install::debian(WIREGUARD_GO)?)?,
            _ => bail!("nobody knows how to start it"),
        };
        Ok(Contender {
            name: name.to_owned(),
            version,
            kind,
        })
    }
}

impl Field {
    /// Loudly, and in the report.
    fn leave_out(&mut self, name: &str, error: &anyhow::Error) {
        step(&format!("{name} is LEFT OUT: {error:#}"));
        self.absent.push(Absent {
            name: name.to_owned(),
            reason: format!("{error:#}"),
        });
    }
}

impl Contender {
    /// Two nodes with settings: `MESHNODE_<KEY>` and its value.
    pub(crate) fn mesh(name: &str, settings: &[(&str, &str)]) -> Result<Contender> {
        let owned = settings
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Ok(Contender {
            name: name.to_owned(),
            version: mesh::version()?,
            kind: Kind::Mesh(owned.collect()),
        })
    }

    /// How it is started, if it is a plain WireGuard device.
    pub(crate) fn device(&self) -> Option<&Device> {
        match &self.kind {
            Kind::Device(device) => Some(device),
            Kind::NoTunnel | Kind::Mesh(_) => None,
        }
    }

    /// A pair of hosts joined by this contender, after its first packet.
    pub(crate) fn start(&self, world: &World, tag: &str) -> Result<Pair> {
        let pair = Pair::cabled(world, tag, &self.name)?;
        let pair = match &self.kind {
            Kind::NoTunnel => routed(pair)?,
            Kind::Mesh(settings) => mesh::start(world, pair, settings)?,
            Kind::Device(device) => device.start(world, pair)?,
        };
        pair.connected()
    }
}

/// No tunnel: what the machine can do at most.
fn routed(pair: Pair) -> Result<Pair> {
    pair.left
        .ip(&format!("route add 10.2.0.0/24 via {OUTER_RIGHT} src 10.1.0.1"))?;
    pair.right
        .ip(&format!("route add 10.1.0.0/24 via {OUTER_LEFT} src 10.2.0.1"))?;
    Ok(pair)
}

fn device(program: PathBuf) -> Result<(Kind, String)> {
    let device = Device { program };
    let version = device.version();
    Ok((Kind::Device(device), version))
}

/// A program that was built together with this one.
fn beside(name: &str) -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    let path = here.parent().context("this program has no directory")?.join(name);
    ensure!(path.is_file(), "{} was not built", path.display());
    Ok(path)
}
