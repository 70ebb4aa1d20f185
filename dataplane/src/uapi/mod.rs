//! The WireGuard cross-platform configuration protocol, text to types and back (<https://www.wireguard.com/xplatform/>).
//!
//! `wg` asks on a Unix socket, with `key=value` lines up to an empty one: `get=1` for what is, `set=1` for changes. Whoever
//! serves the socket reads up to the empty line, parses, and writes what is rendered.
//!
//! | file | is |
//! |---|---|
//! | `view` | what `get=1` answers |
//! | `change` | what `set=1` asks for; a request with one bad line asks for nothing |
//! | `device` | a plain WireGuard device: takes changes, becomes a table |

mod change;
mod device;
mod view;

pub use change::{Change, PeerChange, Sign, parse_set};
pub use device::DeviceConfig;
pub use view::{DeviceView, PeerView, render_errno, render_get};

/// `EINVAL`, as the answer to what is no request. Numbers are negative, as the kernel's own answers to `wg` are.
const EINVAL: i32 = -22;

/// `ENOSPC`, as the answer to more than the device takes.
const ENOSPC: i32 = -28;

/// `EPROTO`, as the answer to a version that is not 1.
const EPROTO: i32 = -71;

/// `EOPNOTSUPP`, as the answer to `set=1` where what should be comes from elsewhere.
pub const EOPNOTSUPP: i32 = -95;

/// `EADDRINUSE`, as the answer to a port that is taken.
pub const EADDRINUSE: i32 = -98;

/// What a client of the socket asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// `get=1`: answer with [`render_get`].
    Get,
    /// `set=1`: [`parse_set`] says what for.
    Set,
}

/// Text that is no request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UapiError {
    /// The first line is neither `get=1` nor `set=1`.
    #[error("not a request of the WireGuard configuration protocol: it begins with get=1 or set=1")]
    NotARequest,
    /// A version other than 1.
    #[error("only version 1 of the WireGuard configuration protocol is spoken (get=1)")]
    Version,
    /// `get=1` with more behind it.
    #[error("get=1 takes no further lines")]
    Trailing,
    /// A line without `=`.
    #[error("line {line} is not of the form key=value")]
    NotALine {
        /// Counted from `set=1`, which is 1.
        line: usize,
    },
    /// A key that does not exist, or not there.
    #[error("line {line}: there is no key `{key}` here")]
    UnknownKey {
        /// Counted from `set=1`, which is 1.
        line: usize,
        /// The key.
        key: String,
    },
    /// A value that its key does not take. It is not repeated: it may be a secret.
    #[error("line {line}: `{key}` takes {takes}")]
    BadValue {
        /// Counted from `set=1`, which is 1.
        line: usize,
        /// The key.
        key: String,
        /// What it takes.
        takes: &'static str,
    },
    /// More peers or prefixes than a device has room for.
    #[error("a device takes at most {peers} peers and {prefixes} allowed prefixes")]
    TooMany {
        /// Most peers.
        peers: usize,
        /// Most prefixes.
        prefixes: usize,
    },
}

impl UapiError {
    /// The number to answer with.
    pub const fn errno(&self) -> i32 {
        match self {
            UapiError::Version | UapiError::NotALine { .. } => EPROTO,
            UapiError::TooMany { .. } => ENOSPC,
            _ => EINVAL,
        }
    }
}

/// Parses one request: the lines before the empty line that ends it, or all of `text`.
pub fn parse_request(text: &str) -> Result<Request, UapiError> {
    let mut lines = text.split('\n').take_while(|line| !line.is_empty());
    match lines.next().unwrap_or_default().split_once('=') {
        Some(("get", "1")) if lines.next().is_some() => Err(UapiError::Trailing),
        Some(("get", "1")) => Ok(Request::Get),
        Some(("set", "1")) => Ok(Request::Set),
        Some(("get" | "set", _)) => Err(UapiError::Version),
        _ => Err(UapiError::NotARequest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn requests_are_told_apart() {
        assert_eq!(parse_request("get=1\n\n"), Ok(Request::Get));
        assert_eq!(parse_request("get=1"), Ok(Request::Get));
        assert_eq!(parse_request("set=1\nlisten_port=1\n\n"), Ok(Request::Set));
        assert_eq!(parse_request("get=2\n\n"), Err(UapiError::Version));
        assert_eq!(parse_request("get=1\nx=y\n\n"), Err(UapiError::Trailing));
        for text in ["", "\n", "hello", "GET / HTTP/1.1\r\n\r\n"] {
            assert_eq!(parse_request(text), Err(UapiError::NotARequest), "{text:?}");
        }
        assert_eq!(UapiError::Version.errno(), -71);
    }

    proptest! {
        #[test]
        fn any_text_is_a_request_or_an_error(text in ".{0,200}") {
            let _ = parse_request(&text);
        }
    }
}
