//! The settings in force, put together from their layers.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipnet::IpNet;
use meshnode_crypto::Name;
use meshnode_dataplane::{Offloads, RelayPolicy};

use super::error::ConfigError;
use super::file;
use super::options::Overrides;
use super::origin::{Key, Origin};
use super::prefix::PrefixTable;
use super::value::{self, Advertise};

/// Where the configuration is looked for if nobody says otherwise. It may be missing.
pub const DEFAULT_CONFIG: &str = "/etc/meshnode/meshnode.toml";
/// Where state is kept if nobody says otherwise.
pub const DEFAULT_STATE_DIR: &str = "/var/lib/meshnode";
const DEFAULT_SOCKET: &str = "/run/meshnode.sock";
const DEFAULT_INTERFACE: &str = "mesh0";
const DEFAULT_METRICS: ([u8; 4], u16) = ([127, 0, 0, 1], 9586);
const DEFAULT_UAPI_DIR: &str = "/var/run/wireguard";

/// A value and who gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given<T> {
    /// The value.
    pub value: T,
    /// Who gave it.
    pub origin: Origin,
}

/// What one layer (the file, or the command line with its environment) gives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layer {
    pub state_dir: Option<Given<PathBuf>>,
    pub socket: Option<Given<PathBuf>>,
    pub interface: Option<Given<String>>,
    pub listen: Vec<Given<SocketAddr>>,
    pub advertise: Vec<Given<Advertise>>,
    pub name: Option<Given<Name>>,
    pub cidr: Vec<Given<IpNet>>,
    pub accept: Vec<Given<IpNet>>,
    pub metrics: Option<Given<Option<SocketAddr>>>,
    pub mtu: Option<Given<u16>>,
    pub lanes: Option<Given<u8>>,
    pub offload: Option<Given<Offloads>>,
    pub relay: Option<Given<bool>>,
    pub relay_limit: Option<Given<Option<u64>>>,
    pub log: Option<Given<String>>,
    pub uapi_dir: Option<Given<PathBuf>>,
    pub prefixes: Vec<PrefixTable>,
}

/// The settings of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The configuration file, read or not.
    pub config: PathBuf,
    /// Keys, peer cache and what was announced.
    pub state_dir: PathBuf,
    /// The local API.
    pub socket: PathBuf,
    /// Name of the mesh interface.
    pub interface: String,
    /// Where the one UDP port is bound; never empty.
    pub listen: Vec<SocketAddr>,
    /// Addresses to tell others, beside those found by looking.
    pub advertise: Vec<Advertise>,
    /// This node's name; one bound in its grant wins over it.
    pub name: Name,
    /// Prefixes to announce, beside those in the state directory.
    pub cidrs: Vec<IpNet>,
    /// Prefixes of others that are taken although they are default routes or overlap a connected subnet.
    pub accept: Vec<IpNet>,
    /// Where metrics and health are served, if anywhere.
    pub metrics: Option<SocketAddr>,
    /// MTU of the mesh interface; without one, the best that the paths carry.
    pub mtu: Option<u16>,
    /// How many lanes, 1 to 8: one per core unless told.
    pub lanes: u8,
    /// Which offloads to use where the kernel has them.
    pub offload: Offloads,
    /// What this node relays for others.
    pub relay: RelayPolicy,
    /// The log filter.
    pub log: String,
    /// Where the WireGuard UAPI socket is made.
    pub uapi_dir: PathBuf,
    /// How announced prefixes are served, sorted.
    pub prefixes: Vec<PrefixTable>,
    overrides: Arc<Overrides>,
    layer: Arc<Layer>,
    saved_name: Option<Name>,
}

impl Settings {
    /// Reads the file and puts flags and environment over it.
    pub fn load(overrides: Overrides) -> Result<Settings, ConfigError> {
        Settings::compose(Arc::new(overrides), None)
    }

    /// The same flags and environment over the file as it is now. If that fails, these settings stay good.
    pub fn reload(&self) -> Result<Settings, ConfigError> {
        Settings::compose(Arc::clone(&self.overrides), self.saved_name.clone())
    }

    /// These settings as if the file were absent: enough to find the socket of a running node.
    pub fn without_file(overrides: Overrides) -> Result<Settings, ConfigError> {
        let layer = overrides.layer.clone();
        Settings::from_layer(Arc::new(overrides), layer, None)
    }

    /// Uses the name that `init` or `join` saved, unless a flag, a variable or the file gives another.
    pub fn with_saved_name(mut self, saved: Option<Name>) -> Settings {
        if let (None, Some(name)) = (&self.layer.name, &saved) {
            self.name = name.clone();
        }
        self.saved_name = saved;
        self
    }

    /// Who gave the announced prefix `prefix`, if the settings did (and not the state directory).
    pub fn cidr_origin(&self, prefix: &IpNet) -> Option<&Origin> {
        self.layer
            .cidr
            .iter()
            .find(|given| given.value == *prefix)
            .map(|given| &given.origin)
    }

    /// What the file says of how a prefix is served.
    pub fn prefix(&self, prefix: &IpNet) -> Option<&PrefixTable> {
        let found = self.prefixes.binary_search_by_key(prefix, |table| table.prefix);
        found.ok().and_then(|at| self.prefixes.get(at))
    }

    /// The name, if a flag, a variable or the file gives one.
    pub fn given_name(&self) -> Option<&Name> {
        self.layer.name.as_ref().map(|given| &given.value)
    }

    /// The announced prefixes that will be gone with this command line unless they are remembered.
    pub fn passing_cidrs(&self) -> Vec<IpNet> {
        let passing = |given: &&Given<IpNet>| !matches!(given.origin, Origin::File { .. });
        self.layer
            .cidr
            .iter()
            .filter(passing)
            .map(|given| given.value)
            .collect()
    }

    /// Keys whose change needs a restart, with the values in `next` that differ from these.
    pub fn restart_needed(&self, next: &Settings) -> Vec<Key> {
        let changed = [
            (Key::StateDir, self.state_dir != next.state_dir),
            (Key::Socket, self.socket != next.socket),
            (Key::Interface, self.interface != next.interface),
            (Key::Listen, self.listen != next.listen),
            (Key::Metrics, self.metrics != next.metrics),
            (Key::Mtu, self.mtu != next.mtu),
            (Key::Lanes, self.lanes != next.lanes),
            (Key::Offload, self.offload != next.offload),
            (Key::Log, self.log != next.log),
            (Key::UapiDir, self.uapi_dir != next.uapi_dir),
        ];
        changed
            .into_iter()
            .filter(|(_, differs)| *differs)
            .map(|(key, _)| key)
            .collect()
    }

    fn compose(overrides: Arc<Overrides>, saved_name: Option<Name>) -> Result<Settings, ConfigError> {
        let layer = match file::read(&overrides.config, overrides.config_is_explicit)? {
            Some(text) => over(overrides.layer.clone(), file::parse(&overrides.config, &text)?),
            None => overrides.layer.clone(),
        };
        Settings::from_layer(overrides, layer, saved_name)
    }

    fn from_layer(
        overrides: Arc<Overrides>,
        layer: Layer,
        saved_name: Option<Name>,
    ) -> Result<Settings, ConfigError> {
        let name = match (&layer.name, &saved_name) {
            (Some(given), _) => given.value.clone(),
            (None, Some(saved)) => saved.clone(),
            (None, None) => host_name(Path::new("/proc/sys/kernel/hostname"))?,
        };
        Ok(Settings {
            config: overrides.config.clone(),
            state_dir: chosen(&layer.state_dir).unwrap_or_else(|| DEFAULT_STATE_DIR.into()),
            socket: chosen(&layer.socket).unwrap_or_else(|| DEFAULT_SOCKET.into()),
            interface: chosen(&layer.interface).unwrap_or_else(|| DEFAULT_INTERFACE.to_owned()),
            listen: match layer.listen.is_empty() {
                true => value::everywhere(value::DEFAULT_PORT),
                false => values(&layer.listen),
            },
            advertise: values(&layer.advertise),
            name,
            cidrs: values(&layer.cidr),
            accept: values(&layer.accept),
            metrics: chosen(&layer.metrics).unwrap_or_else(|| Some(DEFAULT_METRICS.into())),
            mtu: chosen(&layer.mtu),
            offload: chosen(&layer.offload).unwrap_or_default(),
            relay: RelayPolicy {
                enabled: chosen(&layer.relay).unwrap_or(true),
                limit: chosen(&layer.relay_limit).flatten(),
            },
            lanes: chosen(&layer.lanes).unwrap_or_else(one_per_core),
            log: chosen(&layer.log).unwrap_or_else(|| "info".to_owned()),
            uapi_dir: chosen(&layer.uapi_dir).unwrap_or_else(|| DEFAULT_UAPI_DIR.into()),
            prefixes: layer.prefixes.clone(),
            overrides,
            layer: Arc::new(layer),
            saved_name,
        })
    }
}

/// What `upper` gives, and `lower` where it gives nothing. Lists replace each other whole.
fn over(upper: Layer, lower: Layer) -> Layer {
    Layer {
        state_dir: upper.state_dir.or(lower.state_dir),
        socket: upper.socket.or(lower.socket),
        interface: upper.interface.or(lower.interface),
        listen: first_given(upper.listen, lower.listen),
        advertise: first_given(upper.advertise, lower.advertise),
        name: upper.name.or(lower.name),
        cidr: first_given(upper.cidr, lower.cidr),
        accept: first_given(upper.accept, lower.accept),
        metrics: upper.metrics.or(lower.metrics),
        mtu: upper.mtu.or(lower.mtu),
        lanes: upper.lanes.or(lower.lanes),
        offload: upper.offload.or(lower.offload),
        relay: upper.relay.or(lower.relay),
        relay_limit: upper.relay_limit.or(lower.relay_limit),
        log: upper.log.or(lower.log),
        uapi_dir: upper.uapi_dir.or(lower.uapi_dir),
        prefixes: first_given(upper.prefixes, lower.prefixes),
    }
}

/// As many lanes as cores, at most eight: what a record can name.
fn one_per_core() -> u8 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    cores.min(8) as u8
}

fn first_given<T>(upper: Vec<T>, lower: Vec<T>) -> Vec<T> {
    if upper.is_empty() { lower } else { upper }
}

fn chosen<T: Clone>(given: &Option<Given<T>>) -> Option<T> {
    given.as_ref().map(|given| given.value.clone())
}

/// In the order given, each once.
fn values<T: Clone + PartialEq>(given: &[Given<T>]) -> Vec<T> {
    let mut values = Vec::new();
    for item in given {
        if !values.contains(&item.value) {
            values.push(item.value.clone());
        }
    }
    values
}

/// The host's name up to its first dot, with what a node's name may not hold replaced by `-`.
fn host_name(source: &Path) -> Result<Name, ConfigError> {
    let text = fs::read_to_string(source)
        .map_err(|error| ConfigError::NoName(format!("{} says none: {error}", source.display())))?;
    let label = text.trim().split('.').next().unwrap_or_default().to_lowercase();
    let clean: String = label
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(63)
        .collect();
    value::name(clean.trim_matches('-'))
        .map_err(|_| ConfigError::NoName(format!("the host's name `{}` cannot be one", text.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overrides(config: &Path, explicit: bool) -> Overrides {
        Overrides {
            config: config.to_owned(),
            config_is_explicit: explicit,
            layer: Layer::default(),
        }
    }

    #[test]
    fn a_missing_default_file_is_fine_and_a_named_one_must_exist() {
        let missing = Path::new("/nonexistent/meshnode.toml");
        let settings = Settings::load(overrides(missing, false)).unwrap();
        assert_eq!(settings.interface, "mesh0");
        assert_eq!(settings.listen, value::everywhere(51820));
        assert!(matches!(
            Settings::load(overrides(missing, true)),
            Err(ConfigError::Unreadable { .. })
        ));
    }

    #[test]
    fn flags_win_over_the_file_and_lists_replace_each_other_whole() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("meshnode.toml");
        fs::write(
            &file,
            "interface = \"mesh7\"\ncidr = [\n  \"10.1.0.0/16\",\n  \"10.2.0.0/16\",\n]\nlanes = 2\n",
        )
        .unwrap();
        let mut with_flags = overrides(&file, true);
        with_flags.layer.lanes = Some(Given {
            value: 4,
            origin: Origin::Flag(Key::Lanes),
        });
        let settings = Settings::load(with_flags.clone()).unwrap();
        assert_eq!((settings.interface.as_str(), settings.lanes), ("mesh7", 4));
        let second: IpNet = "10.2.0.0/16".parse().unwrap();
        assert_eq!(
            settings.cidr_origin(&second).unwrap().to_string(),
            format!("{}:4", file.display())
        );

        let flag: IpNet = "10.9.0.0/16".parse().unwrap();
        with_flags.layer.cidr = vec![Given {
            value: flag,
            origin: Origin::Flag(Key::Cidr),
        }];
        let settings = Settings::load(with_flags).unwrap();
        assert_eq!(settings.cidrs, [flag]);
        assert_eq!(settings.cidr_origin(&flag).unwrap().to_string(), "--cidr");
        assert_eq!(settings.cidr_origin(&second), None);
    }

    #[test]
    fn a_bad_file_at_reload_keeps_the_last_good_settings() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("meshnode.toml");
        fs::write(&file, "lanes = 2\n").unwrap();
        let settings = Settings::load(overrides(&file, true)).unwrap();
        fs::write(&file, "lanes = nan\n").unwrap();
        assert!(settings.reload().is_err());
        assert_eq!(settings.lanes, 2);
        fs::write(&file, "lanes = 3\n").unwrap();
        let next = settings.reload().unwrap();
        assert_eq!(next.lanes, 3);
        assert_eq!(settings.restart_needed(&next), [Key::Lanes]);
    }

    #[test]
    fn a_saved_name_wins_over_the_host_and_loses_to_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("meshnode.toml");
        let saved = value::name("saved").unwrap();
        fs::write(&file, "").unwrap();
        let settings = Settings::load(overrides(&file, true))
            .unwrap()
            .with_saved_name(Some(saved.clone()));
        assert_eq!(settings.name, saved);
        assert_eq!(settings.reload().unwrap().name, saved);
        fs::write(&file, "name = \"filed\"\n").unwrap();
        assert_eq!(settings.reload().unwrap().name.to_string(), "filed");
    }

    #[test]
    fn odd_host_names_become_names() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("hostname");
        fs::write(&file, "GW_1.example.org\n").unwrap();
        assert_eq!(host_name(&file).unwrap().to_string(), "gw-1");
        fs::write(&file, "___\n").unwrap();
        assert!(host_name(&file).is_err());
    }
}
