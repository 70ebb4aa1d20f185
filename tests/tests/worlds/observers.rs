//! What others see of a node: `wg show`, Prometheus, health checks.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use meshnode_tests::topology::ThreeVpcs;
use meshnode_tests::{Host, eventually, http, in_world};

use crate::AMPLY;

#[test]
fn wg_show_lists_peers_endpoints_handshakes_and_transfer() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        let mesh = vpcs.mesh()?;
        mesh.everyone_pings_everyone()?;
        let dump = vpcs.vpc("sz")?.gateway.run("wg", &["show", "mesh0", "dump"])?;
        let (device, peers) = dump.trim().split_once('\n').context("no peer")?;
        let device: Vec<&str> = device.split('\t').collect();
        ensure!(device[0] == "(none)", "the private key is shown");
        ensure!(device[2] == "51820", "the port is {}", device[2]);
        let peers: Vec<Vec<&str>> = peers.lines().map(|line| line.split('\t').collect()).collect();
        ensure!(peers.len() == 2, "{dump}");
        for peer in peers {
            ensure!(peer[2].parse::<SocketAddr>().is_ok(), "endpoint {}", peer[2]);
            ensure!(peer[3].contains("/16"), "allowed prefixes {}", peer[3]);
            for (what, column) in [("handshake", 4), ("received", 5), ("sent", 6)] {
                ensure!(peer[column].parse::<u64>()? > 0, "{what} is {}", peer[column]);
            }
        }
        Ok(())
    })
}

#[test]
fn prometheus_scrapes_every_node() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        let mesh = vpcs.mesh()?;
        let sz = &vpcs.vpc("sz")?.gateway;
        let page = mesh.node("sz")?.metrics()?;
        std::fs::write(sz.path("/run/page"), page)?;
        sz.run("sh", &["-c", "promtool check metrics < /run/page"])
            .context("promtool objects to the page")?;
        std::fs::write(
            sz.path("/run/prometheus.yml"),
            "global: {scrape_interval: 500ms}\n\
             scrape_configs: [{job_name: meshnode, static_configs: [{targets: ['127.0.0.1:9586']}]}]\n",
        )?;
        let prometheus = [
            "--config.file=/run/prometheus.yml",
            "--storage.tsdb.path=/var/lib/prometheus",
            "--web.listen-address=127.0.0.1:9090",
        ];
        world.start(sz, "prometheus", "prometheus", &prometheus)?;
        eventually("both peers are up in Prometheus", Duration::from_secs(20), || {
            let up = query(sz, "sum(meshnode_peer_up)")?;
            ensure!(up == "2", "{up} are up");
            Ok(())
        })?;
        eventually("round trips are measured in Prometheus", AMPLY, || {
            let measured = query(sz, "count(meshnode_peer_rtt_seconds_count%20%3E%200)")?;
            ensure!(measured == "2", "{measured} are measured");
            Ok(())
        })
    })
}

/// The value of an instant query with one result.
fn query(host: &Host, expression: &str) -> Result<String> {
    let path = format!("/api/v1/query?query={expression}");
    let answer = host.inside(|| http::get_tcp(SocketAddr::from(([127, 0, 0, 1], 9090)), &path))??;
    let answer: serde_json::Value = serde_json::from_str(answer.trim()).with_context(|| answer.clone())?;
    let value = answer["data"]["result"][0]["value"][1].as_str();
    Ok(value.with_context(|| format!("no value in {answer}"))?.to_owned())
}

#[test]
fn health_pages_answer() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        let _mesh = vpcs.mesh()?;
        let sz = &vpcs.vpc("sz")?.gateway;
        for page in ["/healthz", "/readyz", "/"] {
            sz.inside(|| http::get_tcp(SocketAddr::from(([127, 0, 0, 1], 9586)), page))??;
        }
        Ok(())
    })
}
