//! The settings of a node: flags over environment (`MESHNODE_<NAME>`) over `meshnode.toml` over defaults.
//!
//! Flags and environment are read once, by clap ([`options`]); the file ([`file`]) is read again at every
//! reload. Each setting remembers where it came from ([`origin`]), so that a message can point at the line
//! to change.

pub mod error;
pub mod file;
pub mod nearest;
pub mod options;
pub mod origin;
pub mod prefix;
pub mod settings;
pub mod value;

pub use error::ConfigError;
pub use options::{CommonOptions, NodeOptions, Overrides};
pub use origin::Key;
pub use prefix::PrefixTable;
pub use settings::Settings;
pub use value::Advertise;
