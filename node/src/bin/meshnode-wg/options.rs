//! The command line, and the environment that wg-quick's users know from wireguard-go.

use clap::Parser;

/// A plain WireGuard interface in userspace.
///
/// Makes the interface and goes to the background; from then on `wg` and `ip` configure it. It ends when the interface
/// is deleted, when its control socket is removed, or on SIGTERM.
#[derive(Debug, Parser)]
#[command(name = "meshnode-wg", version)]
pub struct Options {
    /// Stay in the foreground.
    #[arg(short, long)]
    pub foreground: bool,

    /// Name of the interface to make: 1 to 15 bytes.
    pub interface: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_called_as_wireguard_go_is() {
        let parsed = |words: &[&str]| Options::try_parse_from(words).map(|o| (o.foreground, o.interface));
        assert_eq!(parsed(&["wg", "wg0"]).unwrap(), (false, "wg0".into()));
        assert_eq!(parsed(&["wg", "-f", "wg0"]).unwrap(), (true, "wg0".into()));
        assert_eq!(
            parsed(&["wg", "--foreground", "wg0"]).unwrap(),
            (true, "wg0".into())
        );
        assert!(parsed(&["wg"]).is_err());
    }
}
