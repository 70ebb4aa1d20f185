//! Underlays that take packets of different sizes: each path's size is found, shown and used.

use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use etherparse::{Icmpv4Header, Icmpv4Type, PacketBuilder, icmpv4};
use meshnode_tests::node::peers;
use meshnode_tests::topology::{Mesh, ThreeVpcs, Vpc};
use meshnode_tests::traffic::{Questions, exchange, transfer};
use meshnode_tests::wait::eventually;
use meshnode_tests::{Host, Node, in_world};
use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto};
use serde_json::Value;

use crate::AMPLY;

/// What an underlay of IPv4 adds to an inner packet.
const OVERHEAD_V4: u16 = 60;
/// The same over IPv6.
const OVERHEAD_V6: u16 = 80;
/// What a path is used for that does not take inner packets of 1,280 bytes.
const BELOW_THE_FLOOR: u16 = 1_200;

/// What the packets of tunnels are marked with, in the words of ip(8).
const MARK: &str = "0x6d77";

/// What tunnels run over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Underlay {
    V4,
    V6,
}

const BOTH: [Underlay; 2] = [Underlay::V4, Underlay::V6];

impl Underlay {
    fn overhead(self) -> u16 {
        match self {
            Underlay::V4 => OVERHEAD_V4,
            Underlay::V6 => OVERHEAD_V6,
        }
    }
}

#[test]
fn each_path_is_used_for_what_it_carries() -> Result<()> {
    for underlay in BOTH {
        // A jumbo link, Ethernet, and a narrow tunnel.
        in_widths(underlay, [9_001, 1_500, 1_400], |_, mesh| {
            let sz = mesh.node("sz")?;
            finds(sz, "hk", 1_500 - underlay.overhead())?;
            finds(sz, "gz", 1_400 - underlay.overhead())?;
            let metric = sz.metric("meshnode_peer_path_mtu_bytes{peer=\"gz\"}")?;
            ensure!(
                metric == f64::from(1_400 - underlay.overhead()),
                "metric: {metric}"
            );
            mesh.hosts_exchange(3_000_000)
        })?;
    }
    Ok(())
}

#[test]
fn jumbo_frames_are_used_end_to_end() -> Result<()> {
    in_widths(Underlay::V4, [9_001; 3], |_, mesh| {
        finds(mesh.node("sz")?, "hk", 9_001 - OVERHEAD_V4)?;
        mesh.hosts_exchange(3_000_000)
    })
}

#[test]
fn path_below_the_floor_still_carries_everything() -> Result<()> {
    for underlay in BOTH {
        in_widths(underlay, [1_500, 1_280, 1_500], |vpcs, mesh| {
            finds(mesh.node("sz")?, "hk", BELOW_THE_FLOOR)?;
            finds(mesh.node("hk")?, "sz", BELOW_THE_FLOOR)?;
            mesh.hosts_exchange(1_000_000)?;
            smallest_packets_of_ipv6_pass(vpcs)
        })?;
    }
    Ok(())
}

#[test]
fn sender_that_forbids_fragments_is_told_the_size() -> Result<()> {
    in_widths(Underlay::V4, [1_500, 1_460, 1_500], |vpcs, mesh| {
        finds(mesh.node("sz")?, "hk", 1_400)?;
        let (sz, hk) = (vpcs.vpc("sz")?, vpcs.vpc("hk")?);
        for target in hk.plan.host_addresses() {
            for from in [&sz.host, &sz.gateway] {
                let whom = format!("{} to {target}", from.name());
                eventually(&format!("{whom}: 1,400 bytes fit"), AMPLY, || {
                    let answer = fits(from, target, 1_400)?;
                    answer.map_or(Ok(()), |answer| bail!("{answer}"))
                })?;
                let answer =
                    fits(from, target, 1_430)?.with_context(|| format!("{whom}: 1,430 bytes fit"))?;
                ensure!(answer.contains("1400"), "{whom} is told: {answer}");
            }
        }
        Ok(())
    })
}

#[test]
fn transfer_survives_a_path_that_shrinks_in_silence() -> Result<()> {
    for underlay in BOTH {
        in_widths(underlay, [9_001; 3], |vpcs, mesh| {
            let sz = mesh.node("sz")?;
            finds(sz, "hk", 9_001 - underlay.overhead())?;
            let (from, to) = (vpcs.vpc("sz")?, vpcs.vpc("hk")?);
            let address = to.plan.host_addresses()[0];
            let (from, to) = (from.host.clone(), to.host.clone());
            let running = thread::spawn(move || transfer(&from, &to, address, 300_000_000));
            carries_more_than(sz, "hk", 10_000_000)?;
            vpcs.internet.nft(
                "table inet silent {
                   chain said {
                     type filter hook output priority 0
                     icmp type destination-unreachable drop
                     icmpv6 type packet-too-big drop
                   }
                 }",
            )?;
            vpcs.internet.ip("link set hk mtu 1280")?;
            ensure!(
                !running.is_finished(),
                "the transfer ended before the path shrank"
            );
            finds(sz, "hk", BELOW_THE_FLOOR)?;
            let finished = running.join();
            let finished = finished.map_err(|_| anyhow::anyhow!("the transfer panicked"))?;
            finished.map(drop)
        })?;
    }
    Ok(())
}

#[test]
fn forged_icmp_changes_nothing() -> Result<()> {
    in_widths(Underlay::V4, [1_500; 3], |vpcs, mesh| {
        let (sz, hk) = (vpcs.vpc("sz")?, vpcs.vpc("hk")?);
        finds(mesh.node("sz")?, "hk", 1_440)?;
        eventually("the kernel believes the forgery", AMPLY, || {
            forge(&vpcs.internet, sz, hk, 600)?;
            let way = ["route", "get", &hk.plan.public().to_string(), "mark", MARK];
            let route = sz.gateway.run("ip", &way)?;
            ensure!(route.contains("mtu 600"), "{route}");
            Ok(())
        })?;
        mesh.hosts_exchange(3_000_000)?;
        ensure!(fits(&sz.host, hk.plan.host_addresses()[0], 1_440)?.is_none());
        finds(mesh.node("sz")?, "hk", 1_440).map(drop)
    })
}

/// A mesh whose VPCs sz, hk and gz have ways to the internet of these MTUs.
fn in_widths(
    underlay: Underlay,
    widths: [u16; 3],
    scenario: impl FnOnce(&ThreeVpcs<'_>, &Mesh<'_>) -> Result<()>,
) -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        for (name, mtu) in ["sz", "hk", "gz"].into_iter().zip(widths) {
            widen(&vpcs, name, mtu)?;
        }
        restrict(&vpcs, underlay)?;
        scenario(&vpcs, &vpcs.mesh()?)
    })
}

/// Lets tunnels pass over one version of IP alone; nodes speak QUIC over either.
fn restrict(vpcs: &ThreeVpcs<'_>, underlay: Underlay) -> Result<()> {
    let other = match underlay {
        Underlay::V4 => "ipv6",
        Underlay::V6 => "ipv4",
    };
    // WireGuard's messages begin with their type.
    vpcs.internet.nft(&format!(
        "table inet tunnels {{
           chain passing {{
             type filter hook forward priority 0
             meta nfproto {other} meta l4proto udp @th,64,8 1-4 drop
           }}
         }}"
    ))
}

/// Sets the MTU of a VPC's way to the internet.
fn widen(vpcs: &ThreeVpcs<'_>, name: &str, mtu: u16) -> Result<()> {
    let vpc: &Vpc = vpcs.vpc(name)?;
    vpcs.internet.ip(&format!("link set {name} mtu {mtu}"))?;
    vpc.gateway.ip(&format!("link set wan mtu {mtu}"))
}

/// Waits until a node shows this MTU of its path to a peer.
fn finds(node: &Node<'_>, peer: &str, mtu: u16) -> Result<Value> {
    let what = format!("the path to {peer} takes {mtu} bytes");
    node.wait_status(&what, AMPLY, |status| {
        peers(status).any(|entry| entry["name"] == peer && entry["mtu"] == mtu)
    })
}

/// Waits until a node has sent a peer so much.
fn carries_more_than(node: &Node<'_>, peer: &str, bytes: u64) -> Result<()> {
    let much = |entry: &Value| entry["tx_bytes"].as_u64().is_some_and(|sent| sent > bytes);
    let what = format!("{bytes} bytes are under way to {peer}");
    node.wait_status(&what, AMPLY, |status| {
        peers(status).any(|entry| entry["name"] == peer && much(entry))
    })
    .map(drop)
}

/// Datagrams that are packets of 1,280 bytes, which no IPv6 sender need make smaller.
fn smallest_packets_of_ipv6_pass(vpcs: &ThreeVpcs<'_>) -> Result<()> {
    let (sz, hk) = (vpcs.vpc("sz")?, vpcs.vpc("hk")?);
    let questions = Questions {
        count: 20,
        size: 1_280 - 48,
        patience: Duration::from_millis(500),
        tries: 10,
    };
    let done = exchange(&sz.host, &hk.host, hk.plan.host_addresses()[1], &questions)?;
    ensure!(done.answered == 20, "{} of 20 datagrams came back", done.answered);
    Ok(())
}

/// Pings with an inner packet of `size` bytes that must not be fragmented; what was said if it does not fit.
fn fits(from: &Host, target: IpAddr, size: u16) -> Result<Option<String>> {
    let headers = if target.is_ipv4() { 28 } else { 48 };
    let (payload, target) = ((size - headers).to_string(), target.to_string());
    let output = from
        .command("ping")
        .args(["-n", "-M", "do", "-c", "3", "-i", "0.2", "-W", "2", "-s"])
        .args([&payload, &target])
        .output()?;
    let said = [output.stdout, output.stderr].concat();
    Ok((!output.status.success()).then(|| String::from_utf8_lossy(&said).into_owned()))
}

/// Says to the gateway of `victim` that its tunnel's way to `peer` takes `mtu` bytes.
fn forge(liar: &Host, victim: &Vpc, peer: &Vpc, mtu: u16) -> Result<()> {
    let (from, to) = (victim.plan.public(), peer.plan.public());
    let mut quote = Vec::new();
    PacketBuilder::ipv4(from.octets(), to.octets(), 64)
        .udp(51_820, 51_820)
        .write(&mut quote, &[4; 32])?;
    let needed = icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: mtu };
    let header = Icmpv4Header::with_checksum(Icmpv4Type::DestinationUnreachable(needed), &quote);
    let message = [header.to_bytes().as_slice(), &quote].concat();
    liar.inside(|| {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::ICMP))?;
        let gateway = std::net::SocketAddr::from((from, 0));
        rustix::net::sendto(&socket, &message, SendFlags::empty(), &gateway)
    })??;
    Ok(())
}
