//! One peer with many prefixes, and one TCP stream through their midst.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result};
use meshnode_tests::world::{Host, World};

use super::add_configuration;
use crate::contender::Device;
use crate::measure::iperf::{Direction, Tcp};
use crate::pair::Pair;

pub(super) const HEAD: &str = "\
All prefixes belong to the one peer, at both ends; one TCP stream goes by one of them. Memory is the left daemon's.\n\n\
| | prefixes | set in, ms | TCP, Gbit/s | memory, MB |\n|---|---:|---:|---:|---:|\n";

/// What so many prefixes cost.
pub(super) struct Cost {
    set_in: Duration,
    bits_per_second: f64,
    resident: u64,
}

impl Cost {
    pub(super) fn line(&self) -> String {
        format!(
            "{:.1} | {:.2} | {:.1}",
            self.set_in.as_secs_f64() * 1e3,
            self.bits_per_second / 1e9,
            self.resident as f64 / 1e6
        )
    }
}

pub(super) fn measure(device: &Device, count: u32, seconds: u32) -> Result<Cost> {
    let world = World::create()?;
    let pair = device
        .start(&world, Pair::cabled(&world, "s", "scale")?)?
        .connected()?;
    let set_in = add_configuration(&pair.left, &configuration(&pair.left, "10.2.0.0/24", count)?)?;
    add_configuration(&pair.right, &configuration(&pair.right, "10.1.0.0/24", count)?)?;
    let stream = Tcp {
        streams: 1,
        direction: Direction::Forward,
        seconds,
    }
    .run(&pair)?;
    Ok(Cost {
        set_in,
        bits_per_second: stream.bits_per_second,
        resident: pair.daemons.first().context("no daemon")?.resident()?,
    })
}

/// The peer that is there already, with its own prefix and /24s from 20.0.0.0 on.
fn configuration(host: &Host, own: &str, count: u32) -> Result<String> {
    let peer = host.run("wg", &["show", "wg0", "peers"])?;
    let mut text = format!("[Peer]\nPublicKey = {}\nAllowedIPs = {own}\n", peer.trim());
    for number in 0..count.saturating_sub(1) {
        let prefix = Ipv4Addr::from(u32::from(Ipv4Addr::new(20, 0, 0, 0)) + (number << 8));
        text.push_str(&format!("AllowedIPs = {prefix}/24\n"));
    }
    Ok(text)
}
