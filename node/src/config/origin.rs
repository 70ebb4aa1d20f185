//! Where a setting came from.

use std::fmt;
use std::path::PathBuf;

/// Every setting that a flag, a variable or a line of the file can give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    StateDir,
    Socket,
    Interface,
    Listen,
    Advertise,
    Name,
    Cidr,
    Accept,
    Metrics,
    Mtu,
    Lanes,
    Offload,
    Relay,
    RelayLimit,
    Log,
    UapiDir,
}

impl Key {
    /// All of them, in the order of the reference.
    pub const ALL: [Key; 16] = [
        Key::StateDir,
        Key::Socket,
        Key::Interface,
        Key::Listen,
        Key::Advertise,
        Key::Name,
        Key::Cidr,
        Key::Accept,
        Key::Metrics,
        Key::Mtu,
        Key::Lanes,
        Key::Offload,
        Key::Relay,
        Key::RelayLimit,
        Key::Log,
        Key::UapiDir,
    ];

    /// As written in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Key::StateDir => "state_dir",
            Key::Socket => "socket",
            Key::Interface => "interface",
            Key::Listen => "listen",
            Key::Advertise => "advertise",
            Key::Name => "name",
            Key::Cidr => "cidr",
            Key::Accept => "accept",
            Key::Metrics => "metrics",
            Key::Mtu => "mtu",
            Key::Lanes => "lanes",
            Key::Offload => "offload",
            Key::Relay => "relay",
            Key::RelayLimit => "relay_limit",
            Key::Log => "log",
            Key::UapiDir => "uapi_dir",
        }
    }

    /// The key written so, with `-` and `_` meaning the same.
    pub fn parse(text: &str) -> Option<Key> {
        let text = text.replace('-', "_");
        Key::ALL.into_iter().find(|key| key.as_str() == text)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who gave a setting its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A line of the configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// The environment variable of that key.
    Environment(Key),
    /// The command line option of that key.
    Flag(Key),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File { path, line } => write!(f, "{}:{line}", path.display()),
            Origin::Environment(key) => write!(f, "MESHNODE_{}", key.as_str().to_uppercase()),
            Origin::Flag(key) => write!(f, "--{}", key.as_str().replace('_', "-")),
        }
    }
}
