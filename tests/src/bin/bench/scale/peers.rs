//! One device, many peers, a session with each, and nothing to say.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Result;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use meshnode_tests::world::World;

use super::add_configuration;
use super::crowd::Crowd;
use crate::contender::Device;
use crate::pair::{MTU, OUTER_LEFT, Pair};

pub(super) const HEAD: &str = "\
Each peer has one prefix, and a session with the device; nothing is sent any more. Memory is what is resident.\n\n\
| | peers | configured in, ms | memory before sessions, MB | with sessions, MB |\n|---|---:|---:|---:|---:|\n";

/// What memory allocators and timers take to come to rest.
const SETTLES: Duration = Duration::from_secs(3);

/// What so many peers cost.
pub(super) struct Cost {
    configured_in: Duration,
    configured: u64,
    with_sessions: u64,
}

impl Cost {
    pub(super) fn line(&self) -> String {
        format!(
            "{:.1} | {:.1} | {:.1}",
            self.configured_in.as_secs_f64() * 1e3,
            self.configured as f64 / 1e6,
            self.with_sessions as f64 / 1e6
        )
    }
}

pub(super) fn measure(device: &Device, count: usize) -> Result<Cost> {
    let world = World::create()?;
    let pair = Pair::cabled(&world, "s", "scale")?;
    let (process, public) = device.up(&world, &pair.left)?;
    let words = ["set", "wg0", "listen-port", "51820", "private-key", "/run/key"];
    pair.left.run("wg", &words)?;
    pair.left.ip(&format!("link set wg0 up mtu {MTU}"))?;
    let mut crowd = Crowd::new(count, &BASE64_STANDARD.decode(public)?)?;
    let configured_in = add_configuration(&pair.left, &configuration(&crowd))?;
    std::thread::sleep(SETTLES);
    let configured = process.resident()?;
    let hub: SocketAddr = format!("{OUTER_LEFT}:51820").parse()?;
    pair.right.inside(|| crowd.shake_hands(hub))??;
    std::thread::sleep(SETTLES);
    Ok(Cost {
        configured_in,
        configured,
        with_sessions: process.resident()?,
    })
}

fn configuration(crowd: &Crowd) -> String {
    let peers = crowd.public_keys().enumerate().map(|(number, key)| {
        let prefix = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 128, 0, 0)) + number as u32);
        let key = BASE64_STANDARD.encode(key);
        format!("[Peer]\nPublicKey = {key}\nAllowedIPs = {prefix}/32\n")
    });
    peers.collect()
}
