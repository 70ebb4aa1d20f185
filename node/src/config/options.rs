//! The options that are settings, as clap reads them from flags and environment.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args};
use ipnet::IpNet;
use meshnode_crypto::Name;
use meshnode_dataplane::Offloads;

use super::origin::{Key, Origin};
use super::settings::{DEFAULT_CONFIG, Given, Layer};
use super::value::{self, Advertise};

/// Options that every command has.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Common options")]
pub struct CommonOptions {
    /// The configuration file; it may be missing unless named here
    #[arg(long, global = true, value_name = "FILE", env = "MESHNODE_CONFIG", default_value = DEFAULT_CONFIG, hide_env = true)]
    pub config: PathBuf,
    /// Where keys and what was learned are kept [default: /var/lib/meshnode]
    #[arg(long, global = true, value_name = "DIR", env = "MESHNODE_STATE_DIR", hide_env = true, value_parser = value::path)]
    pub state_dir: Option<PathBuf>,
    /// The local socket of the running node [default: /run/meshnode.sock]
    #[arg(long, global = true, value_name = "PATH", env = "MESHNODE_SOCKET", hide_env = true, value_parser = value::path)]
    pub socket: Option<PathBuf>,
    /// error, warn, info, debug, trace, or a filter such as info,meshnode_membership=debug [default: info]
    #[arg(long, global = true, value_name = "FILTER", env = "MESHNODE_LOG", hide_env = true, value_parser = value::log)]
    pub log: Option<String>,
}

/// Options of the commands that run a node.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Node options")]
pub struct NodeOptions {
    /// A prefix behind this node that the mesh shall reach; may be given several times
    #[arg(long, value_name = "PREFIX", env = "MESHNODE_CIDR", hide_env = true, value_delimiter = ',', value_parser = value::prefix)]
    pub cidr: Vec<IpNet>,
    /// This node's name [default: the host's]
    #[arg(long, value_name = "NAME", env = "MESHNODE_NAME", hide_env = true, value_parser = value::name)]
    pub name: Option<Name>,
    /// Where to listen (UDP): an address with a port, or a port [default: 0.0.0.0:51820 and [::]:51820]
    #[arg(long, value_name = "ADDR:PORT", env = "MESHNODE_LISTEN", hide_env = true, value_delimiter = ',', value_parser = listen)]
    pub listen: Vec<Listen>,
    /// An address under which others reach this node, beside those that they find by themselves
    #[arg(long, value_name = "ADDR[:PORT]", env = "MESHNODE_ADVERTISE", hide_env = true, value_delimiter = ',', value_parser = value::advertise)]
    pub advertise: Vec<Advertise>,
    /// A prefix to take from others although it is a default route or overlaps a connected subnet
    #[arg(long, value_name = "PREFIX", env = "MESHNODE_ACCEPT", hide_env = true, value_delimiter = ',', value_parser = value::prefix)]
    pub accept: Vec<IpNet>,
    /// Name of the mesh interface [default: mesh0]
    #[arg(long, value_name = "IF", env = "MESHNODE_INTERFACE", hide_env = true, value_parser = value::interface)]
    pub interface: Option<String>,
    /// Where to serve /metrics, /healthz and /readyz; none for nowhere [default: 127.0.0.1:9586]
    #[arg(long, value_name = "ADDR:PORT", env = "MESHNODE_METRICS", hide_env = true, value_parser = metrics)]
    pub metrics: Option<Metrics>,
    /// MTU of the mesh interface [default: what the paths carry]
    #[arg(long, value_name = "BYTES", env = "MESHNODE_MTU", hide_env = true, value_parser = value::mtu)]
    pub mtu: Option<u16>,
    /// How many cores carry packets, 1 to 8 [default: all, at most 8]
    #[arg(long, value_name = "N", env = "MESHNODE_LANES", hide_env = true, value_parser = value::lanes)]
    pub lanes: Option<u8>,
    /// Which offloads to use where the kernel has them: tso, uso, merge, gso, gro; all; none [default: all]
    #[arg(long, value_name = "NAMES", env = "MESHNODE_OFFLOAD", hide_env = true, value_parser = value::offload)]
    pub offload: Option<Offloads>,
    /// Whether to relay between members that do not reach each other, without reading what they say [default: true]
    #[arg(long, value_name = "TRUE|FALSE", env = "MESHNODE_RELAY", hide_env = true, value_parser = value::truth)]
    pub relay: Option<bool>,
    /// Most relayed bits a second, such as 100M; none for no limit [default: none]
    #[arg(long, value_name = "RATE", env = "MESHNODE_RELAY_LIMIT", hide_env = true, value_parser = rate)]
    pub relay_limit: Option<Rate>,
    /// Where `wg` looks for sockets [default: /var/run/wireguard]
    #[arg(long, value_name = "DIR", env = "MESHNODE_UAPI_DIR", hide = true, value_parser = value::path)]
    pub uapi_dir: Option<PathBuf>,
}

/// What one `--listen` means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen(pub Vec<SocketAddr>);

/// What `--metrics` means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metrics(pub Option<SocketAddr>);

/// What `--relay-limit` means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rate(pub Option<u64>);

/// What flags and environment say; the file lies beneath.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overrides {
    /// The configuration file.
    pub config: PathBuf,
    /// True if the file was named, so that it must exist.
    pub config_is_explicit: bool,
    /// The settings given.
    pub layer: Layer,
}

impl Overrides {
    /// From the parsed options; `matches` (of the command itself) tells flags from environment.
    pub fn new(common: &CommonOptions, node: Option<&NodeOptions>, matches: &ArgMatches) -> Overrides {
        let mut layer = Layer {
            state_dir: given(&common.state_dir, Key::StateDir, matches),
            socket: given(&common.socket, Key::Socket, matches),
            log: given(&common.log, Key::Log, matches),
            ..Layer::default()
        };
        if let Some(node) = node {
            fill(&mut layer, node, matches);
        }
        Overrides {
            config: common.config.clone(),
            config_is_explicit: !matches!(
                matches.value_source("config"),
                None | Some(ValueSource::DefaultValue)
            ),
            layer,
        }
    }
}

fn fill(layer: &mut Layer, node: &NodeOptions, matches: &ArgMatches) {
    let listen: Vec<SocketAddr> = node.listen.iter().flat_map(|listen| listen.0.clone()).collect();
    layer.cidr = each(&node.cidr, Key::Cidr, matches);
    layer.name = given(&node.name, Key::Name, matches);
    layer.listen = each(&listen, Key::Listen, matches);
    layer.advertise = each(&node.advertise, Key::Advertise, matches);
    layer.accept = each(&node.accept, Key::Accept, matches);
    layer.interface = given(&node.interface, Key::Interface, matches);
    layer.metrics = given(
        &node.metrics.as_ref().map(|metrics| metrics.0),
        Key::Metrics,
        matches,
    );
    layer.mtu = given(&node.mtu, Key::Mtu, matches);
    layer.lanes = given(&node.lanes, Key::Lanes, matches);
    layer.offload = given(&node.offload, Key::Offload, matches);
    layer.relay = given(&node.relay, Key::Relay, matches);
    let limit = node.relay_limit.as_ref().map(|rate| rate.0);
    layer.relay_limit = given(&limit, Key::RelayLimit, matches);
    layer.uapi_dir = given(&node.uapi_dir, Key::UapiDir, matches);
}

fn given<T: Clone>(value: &Option<T>, key: Key, matches: &ArgMatches) -> Option<Given<T>> {
    value.clone().map(|value| Given {
        value,
        origin: origin(key, matches),
    })
}

fn each<T: Clone>(values: &[T], key: Key, matches: &ArgMatches) -> Vec<Given<T>> {
    values
        .iter()
        .map(|value| Given {
            value: value.clone(),
            origin: origin(key, matches),
        })
        .collect()
}

fn origin(key: Key, matches: &ArgMatches) -> Origin {
    match matches.value_source(key.as_str()) {
        Some(ValueSource::EnvVariable) => Origin::Environment(key),
        _ => Origin::Flag(key),
    }
}

fn listen(text: &str) -> Result<Listen, String> {
    value::listen(text).map(Listen)
}

fn rate(text: &str) -> Result<Rate, String> {
    value::rate(text).map(Rate)
}

fn metrics(text: &str) -> Result<Metrics, String> {
    value::metrics(text).map(Metrics)
}
