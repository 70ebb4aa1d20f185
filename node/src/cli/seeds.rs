//! Where to knock: from what a person wrote to addresses.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use futures_util::future::join_all;
use hickory_resolver::TokioResolver;

use crate::config::value::DEFAULT_PORT;
use crate::output::{Console, Failure};

/// More addresses than that behind one name are not tried.
const MAX_ADDRESSES: usize = 16;

/// A host and a port, the host by address or by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seed {
    host: Host,
    port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Address(IpAddr),
    Name(String),
}

impl std::fmt::Display for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.host {
            Host::Address(address) => SocketAddr::new(*address, self.port).fmt(f),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

/// `HOST`, `HOST:PORT`, an address, `[v6]:PORT`.
pub fn parse(text: &str) -> Result<Seed, String> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(Seed {
            host: Host::Address(address.ip()),
            port: usable(address.port(), text)?,
        });
    }
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(Seed {
            host: Host::Address(address),
            port: DEFAULT_PORT,
        });
    }
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) => (name, port.parse().map_err(|_| format!("`{port}` is no port"))?),
        None => (text, DEFAULT_PORT),
    };
    match is_host_name(name) {
        true => Ok(Seed {
            host: Host::Name(name.to_owned()),
            port: usable(port, text)?,
        }),
        false if text.starts_with("mesh1_") => Err("that is a token: give it with --token".to_owned()),
        false => Err(format!(
            "`{text}` is no address or name: write it like gw.example.org, 203.0.113.7:51820 or [2001:db8::7]:51820"
        )),
    }
}

/// All addresses of all seeds, each once, in the order given. A name that does not resolve is said and
/// skipped; none left is a failure.
pub async fn resolve(seeds: &[Seed], console: &Console) -> Result<Vec<SocketAddr>, Failure> {
    let answers = join_all(seeds.iter().map(addresses)).await;
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    let mut seen = BTreeSet::new();
    for (seed, answer) in seeds.iter().zip(answers) {
        match answer {
            Ok(addresses) => found.extend(addresses.into_iter().filter(|address| seen.insert(*address))),
            Err(why) => problems.push(format!("{seed}: {why}")),
        }
    }
    if found.is_empty() {
        let failure = problems
            .iter()
            .fold(Failure::new("no seed has an address"), |failure, why| {
                failure.because(why)
            });
        return Err(failure.fix("give the address of a member, like 203.0.113.7:51820"));
    }
    for problem in problems {
        console.warn(format_args!("seed {problem}"));
    }
    Ok(found)
}

async fn addresses(seed: &Seed) -> Result<Vec<SocketAddr>, String> {
    let name = match &seed.host {
        Host::Address(address) => return Ok(vec![SocketAddr::new(*address, seed.port)]),
        Host::Name(name) => name,
    };
    let resolver = TokioResolver::builder_tokio()
        .and_then(|builder| builder.build())
        .map_err(|error| format!("the resolver's configuration cannot be used: {error}"))?;
    let answer =
        resolver
            .lookup_ip(name.as_str())
            .await
            .map_err(|error| match error.is_no_records_found() {
                true => "the name has no address".to_owned(),
                false => format!("the name cannot be looked up: {error}"),
            })?;
    let addresses: Vec<SocketAddr> = answer
        .iter()
        .take(MAX_ADDRESSES)
        .map(|address| SocketAddr::new(address, seed.port))
        .collect();
    match addresses.is_empty() {
        true => Err("the name has no address".to_owned()),
        false => Ok(addresses),
    }
}

fn usable(port: u16, text: &str) -> Result<u16, String> {
    match port {
        0 => Err(format!("`{text}` has port 0, on which nobody listens")),
        port => Ok(port),
    }
}

/// Letters, digits, `-`, `_` and `.`, and not only digits and dots (that would be a mistyped address).
fn is_host_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !name.is_empty()
        && name.len() <= 253
        && name.chars().all(fits)
        && name.chars().any(|c| c.is_ascii_alphabetic())
        && !name.starts_with(['-', '.'])
        && !name.starts_with("mesh1_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        parse(text).map_or_else(|error| error, |seed| seed.to_string())
    }

    #[test]
    fn seeds_as_people_write_them() {
        assert_eq!(shown("gw.example.org"), "gw.example.org:51820");
        assert_eq!(shown("gw.example.org:7"), "gw.example.org:7");
        assert_eq!(shown("203.0.113.7"), "203.0.113.7:51820");
        assert_eq!(shown("203.0.113.7:7"), "203.0.113.7:7");
        assert_eq!(shown("2001:db8::7"), "[2001:db8::7]:51820");
        assert_eq!(shown("[2001:db8::7]"), "[2001:db8::7]:51820");
        assert_eq!(shown("[2001:db8::7]:7"), "[2001:db8::7]:7");
    }

    #[test]
    fn what_is_no_seed_is_refused() {
        for wrong in [
            "",
            "203.0.113",
            "203.0.113.700",
            "gw:port",
            "gw:0",
            "a b",
            "-x",
            "http://gw",
            "mesh1_abc",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert!(parse("mesh1_abc").unwrap_err().contains("--token"));
    }

    #[tokio::test]
    async fn addresses_resolve_without_asking_anybody_and_each_counts_once() {
        let seeds = [
            parse("203.0.113.7").unwrap(),
            parse("203.0.113.7:51820").unwrap(),
            parse("::1").unwrap(),
        ];
        let found = resolve(&seeds, &Console::of_process()).await.unwrap();
        assert_eq!(
            found,
            [
                "203.0.113.7:51820".parse().unwrap(),
                "[::1]:51820".parse().unwrap()
            ]
        );
    }
}
