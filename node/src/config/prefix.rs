//! `[prefix."10.0.0.0/16"]` in the file: how one announced prefix is served.

use std::fmt;
use std::path::Path;

use ipnet::IpNet;
use meshnode_membership::record::serving::{Fallback, PrefixOptions, is_held_in, lies_behind};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::ConfigError;
use super::nearest::nearest;
use super::origin::Origin;
use super::value;

/// A key of such a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PrefixKey {
    Priority,
    Balance,
    Check,
    Fallback,
    VirtualAddress,
}

impl PrefixKey {
    /// All of them, in the order of the reference.
    pub const ALL: [PrefixKey; 5] = [
        PrefixKey::Priority,
        PrefixKey::Balance,
        PrefixKey::Check,
        PrefixKey::Fallback,
        PrefixKey::VirtualAddress,
    ];

    /// As written in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            PrefixKey::Priority => "priority",
            PrefixKey::Balance => "balance",
            PrefixKey::Check => "check",
            PrefixKey::Fallback => "fallback",
            PrefixKey::VirtualAddress => "virtual_address",
        }
    }

    fn parse(text: &str) -> Option<PrefixKey> {
        let text = text.replace('-', "_");
        PrefixKey::ALL.into_iter().find(|key| key.as_str() == text)
    }
}

impl fmt::Display for PrefixKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the file says of one prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrefixTable {
    /// The prefix.
    pub prefix: IpNet,
    /// Where the table begins.
    pub origin: Origin,
    /// Among owners of the prefix the highest wins; and the line that says so.
    pub priority: Option<(u16, Origin)>,
    /// The rest.
    pub options: PrefixOptions,
}

/// The file being read: its name, and the line of each byte.
pub struct Place<'a> {
    pub path: &'a Path,
    pub line: &'a dyn Fn(usize) -> usize,
}

impl Place<'_> {
    fn line_of<T>(&self, spanned: &Spanned<T>) -> usize {
        (self.line)(spanned.span().start)
    }

    fn origin(&self, line: usize) -> Origin {
        Origin::File {
            path: self.path.to_owned(),
            line,
        }
    }

    fn wrong(&self, line: usize, key: PrefixKey, message: String) -> ConfigError {
        ConfigError::Option {
            path: self.path.to_owned(),
            line,
            key,
            message,
        }
    }
}

/// All tables beneath `[prefix]`.
pub fn tables(place: &Place<'_>, tables: &DeTable<'_>) -> Result<Vec<PrefixTable>, ConfigError> {
    let read = |(name, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| table(place, name, value);
    let mut all = tables.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    all.sort_by_key(|table| table.prefix);
    match all.windows(2).find(|pair| pair[0].prefix == pair[1].prefix) {
        Some(pair) => Err(no_prefix(
            place,
            &pair[1].origin,
            format!("{} stands here twice", pair[1].prefix),
        )),
        None => Ok(all),
    }
}

fn no_prefix(place: &Place<'_>, origin: &Origin, message: String) -> ConfigError {
    ConfigError::NoPrefix {
        path: place.path.to_owned(),
        line: match origin {
            Origin::File { line, .. } => *line,
            _ => 1,
        },
        message,
    }
}

fn table(
    place: &Place<'_>,
    name: &Spanned<std::borrow::Cow<'_, str>>,
    value: &Spanned<DeValue<'_>>,
) -> Result<PrefixTable, ConfigError> {
    let origin = place.origin(place.line_of(name));
    let prefix = value::prefix(name.get_ref()).map_err(|why| no_prefix(place, &origin, why))?;
    let DeValue::Table(keys) = value.get_ref() else {
        let why = format!("{prefix} wants a table: write [prefix.\"{prefix}\"]");
        return Err(no_prefix(place, &origin, why));
    };
    let mut table = PrefixTable {
        prefix,
        origin,
        priority: None,
        options: PrefixOptions::default(),
    };
    let mut keys: Vec<_> = keys.iter().collect();
    keys.sort_by_key(|(name, _)| name.span().start);
    let mut seen = Vec::new();
    for (name, value) in keys {
        let at = place.line_of(name);
        let key = known(place, at, name.get_ref())?;
        if seen.contains(&key) {
            return Err(place.wrong(at, key, "stands here twice, with `-` and with `_`".to_owned()));
        }
        seen.push(key);
        let line = place.line_of(value);
        table
            .set(key, value.get_ref(), place.origin(line))
            .map_err(|message| place.wrong(line, key, message))?;
    }
    Ok(table)
}

fn known(place: &Place<'_>, line: usize, name: &str) -> Result<PrefixKey, ConfigError> {
    PrefixKey::parse(name).ok_or_else(|| ConfigError::UnknownOption {
        path: place.path.to_owned(),
        line,
        key: name.chars().take(64).collect(),
        nearest: nearest(
            &name.to_lowercase().replace('-', "_"),
            PrefixKey::ALL.map(PrefixKey::as_str),
        )
        .and_then(PrefixKey::parse),
    })
}

impl PrefixTable {
    fn set(&mut self, key: PrefixKey, value: &DeValue<'_>, origin: Origin) -> Result<(), String> {
        match key {
            PrefixKey::Priority => self.priority = Some((priority(value)?, origin)),
            PrefixKey::Balance => self.options.balance = truth(value)?,
            PrefixKey::Check => self.options.check = Some(self.check(text(value)?)?),
            PrefixKey::Fallback => self.options.fallback = fallback(text(value)?)?,
            PrefixKey::VirtualAddress => {
                self.options.virtual_address = Some(self.virtual_address(text(value)?)?);
            }
        }
        Ok(())
    }

    fn check(&self, text: &str) -> Result<meshnode_membership::record::serving::CheckTarget, String> {
        let target = text
            .parse()
            .map_err(|error| format!("`{text}` cannot be checked: {error}"))?;
        match lies_behind(&target, &self.prefix) {
            true => Ok(target),
            false => Err(format!("{} is not inside {}", target.address(), self.prefix)),
        }
    }

    fn virtual_address(&self, text: &str) -> Result<IpNet, String> {
        let net: IpNet = text.parse().map_err(|_| {
            format!("`{text}` is no address with the length of its LAN: write it like 10.0.0.1/24")
        })?;
        match is_held_in(&net, &self.prefix) {
            true => Ok(net),
            false => Err(format!("{net} is no address for a host inside {}", self.prefix)),
        }
    }
}

fn priority(value: &DeValue<'_>) -> Result<u16, String> {
    let wanted = || "wants a whole number, 0 to 65535".to_owned();
    match value {
        DeValue::Integer(number) if number.radix() == 10 => number.as_str().parse().map_err(|_| wanted()),
        _ => Err(wanted()),
    }
}

fn truth(value: &DeValue<'_>) -> Result<bool, String> {
    match value {
        DeValue::Boolean(truth) => Ok(*truth),
        _ => Err("wants true or false".to_owned()),
    }
}

fn text<'a>(value: &'a DeValue<'_>) -> Result<&'a str, String> {
    match value {
        DeValue::String(text) => Ok(text),
        _ => Err("wants a text".to_owned()),
    }
}

fn fallback(text: &str) -> Result<Fallback, String> {
    match text.replace('_', "-").as_str() {
        "less-specific" => Ok(Fallback::LessSpecific),
        "drop" => Ok(Fallback::Drop),
        _ => Err(format!("`{text}` is neither less-specific nor drop")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::file::parse;
    use super::*;

    fn refusal(text: &str) -> String {
        match parse(Path::new("m.toml"), text) {
            Ok(layer) => format!("accepted: {layer:?}"),
            Err(error) => crate::output::Failure::from(error).to_string(),
        }
    }

    fn in_table(lines: &str) -> String {
        refusal(&format!("[prefix.\"10.0.0.0/16\"]\n{lines}"))
    }

    #[test]
    fn every_option_is_read() {
        let text = "name = 'gz'\n[prefix.\"10.0.0.0/16\"]\npriority = 200\nbalance = true\ncheck = 'tcp://10.0.0.5:443'\n\
                    fallback = 'drop'\nvirtual-address = '10.0.0.1/24'\n[prefix.'fd00::/64']\nbalance = false\n";
        let layer = parse(Path::new("m.toml"), text).unwrap();
        let [v4, v6] = &layer.prefixes[..] else {
            panic!("{layer:?}")
        };
        assert_eq!(
            (v4.origin.to_string(), v6.origin.to_string()),
            ("m.toml:2".into(), "m.toml:8".into())
        );
        let (priority, line) = v4.priority.clone().unwrap();
        assert_eq!((priority, line.to_string()), (200, "m.toml:3".into()));
        let expected = PrefixOptions {
            balance: true,
            fallback: Fallback::Drop,
            check: Some("tcp://10.0.0.5:443".parse().unwrap()),
            virtual_address: Some("10.0.0.1/24".parse().unwrap()),
            ..PrefixOptions::default()
        };
        assert_eq!(v4.options, expected);
        assert_eq!(v6.options, PrefixOptions::default());
    }

    #[test]
    fn unknown_options_name_the_line_and_the_nearest() {
        assert_eq!(
            in_table("balanced = true"),
            "m.toml:2: unknown key `balanced`; did you mean `balance`?"
        );
        assert_eq!(
            in_table("virtual-adress = ''"),
            "m.toml:2: unknown key `virtual-adress`; did you mean `virtual_address`?"
        );
        assert!(in_table("secret = 1").contains("fix: a prefix has the keys priority, balance"));
    }

    #[test]
    fn wrong_values_name_the_line() {
        for (lines, told) in [
            ("priority = 70000", "`priority`: wants a whole number, 0 to 65535"),
            (
                "priority = 'high'",
                "`priority`: wants a whole number, 0 to 65535",
            ),
            ("balance = 1", "`balance`: wants true or false"),
            (
                "check = 'ping'",
                "`check`: `ping` cannot be checked: write it like icmp://10.0.0.5 or tcp://10.0.0.5:443",
            ),
            (
                "check = 'icmp://10.1.0.5'",
                "`check`: 10.1.0.5 is not inside 10.0.0.0/16",
            ),
            (
                "fallback = 'none'",
                "`fallback`: `none` is neither less-specific nor drop",
            ),
            (
                "virtual_address = '10.0.0.0/24'",
                "`virtual_address`: 10.0.0.0/24 is no address for a host inside 10.0.0.0/16",
            ),
        ] {
            assert_eq!(in_table(&format!("\n{lines}")), format!("m.toml:3: {told}"));
        }
        assert!(
            in_table("virtual_address = ''\nvirtual-address = ''")
                .starts_with("m.toml:2: `virtual_address`: ")
        );
    }

    #[test]
    fn what_is_no_prefix_names_the_line() {
        assert_eq!(
            refusal("\n[prefix.\"10.0.0.1/16\"]\n"),
            "m.toml:2: [prefix]: 10.0.0.1/16 has host bits: write 10.0.0.0/16"
        );
        assert!(
            refusal("[prefix]\nbalance = true").starts_with("m.toml:2: [prefix]: `balance` is no prefix")
        );
        assert!(refusal("[prefix]\n\"10.0.0.0/16\" = true").contains("write [prefix.\"10.0.0.0/16\"]"));
        assert!(refusal("[prefix.'fd00::/64']\n[prefix.'fd00:0::/64']").contains("stands here twice"));
    }
}
