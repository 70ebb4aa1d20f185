//! `meshnode.toml`: read with a bound, parsed with the line of everything.
//!
//! A key is one of [`Key`], written with `_` or `-`; a value is a text or a whole number, and for the keys
//! that may have several, a list of those. Beneath `[prefix]` stand tables ([`super::prefix`]). Everything else is refused
//! with file and line.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::ConfigError;
use super::nearest::nearest;
use super::origin::{Key, Origin};
use super::prefix::{self, Place};
use super::settings::{Given, Layer};
use super::value;

/// Far above any real configuration, far below what would hurt.
const MAX_BYTES: u64 = 1 << 20;

/// The text of `path`; `None` if it is missing and nobody asked for it by name.
pub fn read(path: &Path, explicit: bool) -> Result<Option<String>, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !explicit => return Ok(None),
        other => other.map_err(unreadable)?,
    };
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(ConfigError::TooLarge {
            path: path.to_owned(),
            limit: MAX_BYTES,
        });
    }
    String::from_utf8(bytes).map(Some).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        ConfigError::NotText {
            path: path.to_owned(),
            line: line_of(error.as_bytes(), good),
        }
    })
}

/// The settings in `text`; `path` is only named in messages and origins.
pub fn parse(path: &Path, text: &str) -> Result<Layer, ConfigError> {
    let line = |at: usize| line_of(text.as_bytes(), at);
    let table = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
        path: path.to_owned(),
        line: line(error.span().map_or(0, |span| span.start)),
        message: error.message().replace('\n', ", "),
    })?;
    let mut entries: Vec<_> = table.into_inner().into_iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    let mut layer = Layer::default();
    let mut seen = Vec::new();
    for (name, value) in entries {
        let at = line(name.span().start);
        if let ("prefix", DeValue::Table(tables)) = (&**name.get_ref(), value.get_ref()) {
            layer.prefixes = prefix::tables(&Place { path, line: &line }, tables)?;
            continue;
        }
        let key = known(path, at, name.get_ref())?;
        let wrong = |at: usize, message: String| ConfigError::Value {
            path: path.to_owned(),
            line: at,
            key,
            message,
        };
        if seen.contains(&key) {
            return Err(wrong(at, "stands here twice, with `-` and with `_`".to_owned()));
        }
        seen.push(key);
        let items = texts(&value, key == Key::Relay, &line).map_err(|(at, message)| wrong(at, message))?;
        let items = located(path, items);
        set(&mut layer, key, items).map_err(|(origin, message)| wrong(origin.unwrap_or(at), message))?;
    }
    Ok(layer)
}

fn known(path: &Path, line: usize, name: &str) -> Result<Key, ConfigError> {
    Key::parse(name).ok_or_else(|| ConfigError::UnknownKey {
        path: path.to_owned(),
        line,
        key: name.chars().take(64).collect(),
        nearest: meant(name),
    })
}

/// The key that was probably meant: a slip of the finger, or a common word for the same thing.
fn meant(name: &str) -> Option<Key> {
    let name = name.to_lowercase().replace('-', "_");
    match name.as_str() {
        "prefix" | "prefixes" | "subnet" | "subnets" | "network" | "networks" => Some(Key::Cidr),
        "port" | "address" | "bind" => Some(Key::Listen),
        "endpoint" | "endpoints" | "public_address" => Some(Key::Advertise),
        "hostname" | "node_name" => Some(Key::Name),
        "log_level" | "loglevel" => Some(Key::Log),
        _ => nearest(&name, Key::ALL.map(Key::as_str)).and_then(Key::parse),
    }
}

/// A text and the line it stands on.
type Located = (String, usize);

/// One text or several, whole numbers as their digits; `truth`: or true or false.
fn texts(
    value: &Spanned<DeValue<'_>>,
    truth: bool,
    line: &impl Fn(usize) -> usize,
) -> Result<Vec<Located>, WrongAt> {
    match value.get_ref() {
        DeValue::Boolean(known) if truth => Ok(vec![(known.to_string(), line(value.span().start))]),
        DeValue::Array(items) => items.iter().map(|item| scalar(item, line)).collect(),
        _ => Ok(vec![scalar(value, line)?]),
    }
}

/// A line and what is wrong there.
type WrongAt = (usize, String);

fn scalar(value: &Spanned<DeValue<'_>>, line: &impl Fn(usize) -> usize) -> Result<Located, WrongAt> {
    let at = line(value.span().start);
    let found = match value.get_ref() {
        DeValue::String(text) => return Ok((text.to_string(), at)),
        DeValue::Integer(number) if number.radix() == 10 => return Ok((number.as_str().to_owned(), at)),
        DeValue::Integer(number) => format!("the number {number}"),
        DeValue::Float(number) => format!("the number {}", number.as_str()),
        DeValue::Boolean(truth) => format!("{truth}"),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "a list inside a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    };
    Err((at, format!("wants a text or a whole number, not {found}")))
}

fn located(path: &Path, items: Vec<Located>) -> Vec<Given<String>> {
    items
        .into_iter()
        .map(|(value, line)| Given {
            value,
            origin: Origin::File {
                path: path.to_owned(),
                line,
            },
        })
        .collect()
}

/// A line, if the mistake is not on that of the key, and what is wrong.
type Wrong = (Option<usize>, String);

fn set(layer: &mut Layer, key: Key, items: Vec<Given<String>>) -> Result<(), Wrong> {
    match key {
        Key::StateDir => layer.state_dir = Some(one(items, value::path)?),
        Key::Socket => layer.socket = Some(one(items, value::path)?),
        Key::Interface => layer.interface = Some(one(items, value::interface)?),
        Key::Listen => layer.listen = several_each(items, value::listen)?,
        Key::Advertise => layer.advertise = several(items, value::advertise)?,
        Key::Name => layer.name = Some(one(items, value::name)?),
        Key::Cidr => layer.cidr = several(items, value::prefix)?,
        Key::Accept => layer.accept = several(items, value::prefix)?,
        Key::Metrics => layer.metrics = Some(one(items, value::metrics)?),
        Key::Mtu => layer.mtu = Some(one(items, value::mtu)?),
        Key::Lanes => layer.lanes = Some(one(items, value::lanes)?),
        Key::Offload => layer.offload = Some(one(listed(items), value::offload)?),
        Key::Relay => layer.relay = Some(one(items, value::truth)?),
        Key::RelayLimit => layer.relay_limit = Some(one(items, value::rate)?),
        Key::Log => layer.log = Some(one(items, value::log)?),
        Key::UapiDir => layer.uapi_dir = Some(one(items, value::path)?),
    }
    Ok(())
}

fn one<T>(items: Vec<Given<String>>, parse: fn(&str) -> Result<T, String>) -> Result<Given<T>, Wrong> {
    let count = items.len();
    let mut parsed = several(items, parse)?;
    match (parsed.pop(), count) {
        (Some(only), 1) => Ok(only),
        _ => Err((None, "wants exactly one value".to_owned())),
    }
}

/// A list as the one text with commas that flags and variables give.
fn listed(items: Vec<Given<String>>) -> Vec<Given<String>> {
    let joined = |mut all: Given<String>, item: Given<String>| {
        all.value = format!("{},{}", all.value, item.value);
        all
    };
    items.into_iter().reduce(joined).into_iter().collect()
}

fn several<T>(
    items: Vec<Given<String>>,
    parse: fn(&str) -> Result<T, String>,
) -> Result<Vec<Given<T>>, Wrong> {
    items.into_iter().map(|item| convert(item, parse)).collect()
}

/// Like [`several`], for what becomes several values from one text.
fn several_each<T>(
    items: Vec<Given<String>>,
    parse: fn(&str) -> Result<Vec<T>, String>,
) -> Result<Vec<Given<T>>, Wrong> {
    let mut all = Vec::new();
    for item in several(items, parse)? {
        all.extend(item.value.into_iter().map(|value| Given {
            value,
            origin: item.origin.clone(),
        }));
    }
    match all.is_empty() {
        true => Err((None, "wants at least one address".to_owned())),
        false => Ok(all),
    }
}

fn convert<T>(item: Given<String>, parse: fn(&str) -> Result<T, String>) -> Result<Given<T>, Wrong> {
    let line = match &item.origin {
        Origin::File { line, .. } => Some(*line),
        _ => None,
    };
    let value = parse(&item.value).map_err(|message| (line, message))?;
    Ok(Given {
        value,
        origin: item.origin,
    })
}

/// Counted from 1.
fn line_of(text: &[u8], at: usize) -> usize {
    1 + text[..at.min(text.len())]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
}

#[cfg(test)]
mod tests;
