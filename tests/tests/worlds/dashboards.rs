//! Rules and dashboards before the real thing: promtool, and a Prometheus that reads three nodes through their mesh.

use std::collections::BTreeSet;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use meshnode_tests::dashboards::{self, Dashboard, Query, list, text};
use meshnode_tests::topology::{Mesh, Options, ThreeVpcs, Vpc};
use meshnode_tests::{Host, World, eventually, http, in_world};
use serde_json::Value;

/// What the variables of dashboards stand for.
const VALUES: [(&str, &str); 5] = [
    ("__rate_interval", "20s"),
    ("__range", "1m"),
    ("job", "meshnode"),
    ("node", "sz"),
    ("peer", "hk"),
];
/// Data must be there after this long: a scrape is made every second, and rates need a few.
const FILLS: Duration = Duration::from_secs(40);

#[test]
fn rules_are_valid_and_fire_when_their_tests_say() -> Result<()> {
    let directory = dashboards::root().join("dashboards/prometheus");
    let tests = dashboards::files("dashboards/prometheus/tests", "yml")?;
    ensure!(!tests.is_empty(), "there are no tests of rules");
    let tests = tests.iter().map(|path| path.to_string_lossy().into_owned());
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    promtool(&directory, words(&["check", "config", "prometheus.yml"]))?;
    promtool(&directory, words(&["test", "rules"]).into_iter().chain(tests))
}

#[test]
fn every_query_of_panels_and_rules_returns_data() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        let mesh = vpcs.mesh_with(&Options {
            settings: &[("METRICS", "0.0.0.0:9586")],
            ..Options::default()
        })?;
        mesh.everyone_pings_everyone()?;
        exports_what_its_source_says(&mesh)?;
        let sz = &vpcs.vpc("sz")?.gateway;
        let far = vpcs.vpc("hk")?.plan.host_addresses()[0].to_string();
        world.start(
            &vpcs.vpc("sz")?.host,
            "traffic",
            "ping",
            &["-q", "-i", "0.2", &far],
        )?;
        start_prometheus(world, sz, &mesh)?;
        let mut waiting = queries()?;
        eventually("every query returns data", FILLS, || {
            drop_a_packet(sz)?;
            let mut still = Vec::new();
            for query in &waiting {
                if ask(sz, &query.expression)?.is_empty() {
                    still.push(query.clone());
                }
            }
            waiting = still;
            ensure!(waiting.is_empty(), "no data: {waiting:#?}");
            Ok(())
        })?;
        eventually("the rules are evaluated and find their series", FILLS, || {
            rules_are_well(sz)
        })
    })
}

fn promtool(directory: &Path, words: impl IntoIterator<Item = String>) -> Result<()> {
    let output = Command::new("promtool")
        .args(words)
        .current_dir(directory)
        .output()
        .context("cannot run promtool: is Debian's prometheus installed? `cargo xtask setup`")?;
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    ensure!(output.status.success(), "{}", said.join("\n"));
    Ok(())
}

/// The source is what the cross-check of names goes by; here the binary confirms it.
fn exports_what_its_source_says(mesh: &Mesh<'_>) -> Result<()> {
    let page = mesh.node("sz")?.metrics()?;
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let names: BTreeSet<String> = types
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect();
    let lacking = dashboards::exceptions("metrics that a healthy mesh lacks")?;
    let exported = dashboards::exported()?;
    let missing: Vec<_> = exported
        .difference(&names)
        .filter(|name| !lacking.contains(*name))
        .collect();
    ensure!(missing.is_empty(), "the page lacks {missing:?}");
    let unknown: Vec<_> = names.difference(&exported).collect();
    ensure!(
        unknown.is_empty(),
        "the source is not read well: it lacks {unknown:?}"
    );
    Ok(())
}

/// With the configuration that is shipped, but every second, and the targets of this mesh.
fn start_prometheus(world: &World, host: &Host, mesh: &Mesh<'_>) -> Result<()> {
    let (from, to) = (
        dashboards::root().join("dashboards/prometheus"),
        host.path("/run/prometheus"),
    );
    fs::create_dir_all(&to)?;
    for file in ["prometheus.yml", "recording.yml", "alerts.yml"] {
        let shipped = fs::read_to_string(from.join(file))?;
        fs::write(to.join(file), shipped.replace("_interval: 15s", "_interval: 1s"))?;
    }
    let target = |vpc: &Vpc| {
        let (address, name) = (vpc.plan.gateway_addresses()[0], vpc.plan.name);
        format!("- {{targets: ['{address}:9586'], labels: {{instance: {name}}}}}\n")
    };
    fs::write(
        to.join("targets.yml"),
        mesh.vpcs().iter().map(target).collect::<String>(),
    )?;
    let arguments = [
        "--config.file=/run/prometheus/prometheus.yml",
        "--storage.tsdb.path=/var/lib/prometheus",
        "--web.listen-address=127.0.0.1:9090",
    ];
    world.start(host, "prometheus", "prometheus", &arguments)?;
    eventually("Prometheus reads every node", FILLS, || {
        let up = ask(host, "up == 1")?.len();
        ensure!(up == mesh.nodes.len(), "{up} answer");
        Ok(())
    })
}

/// All queries of all dashboards, but those that a healthy mesh leaves empty.
fn queries() -> Result<Vec<Query>> {
    let empty = dashboards::exceptions("queries that a healthy mesh leaves empty")?;
    let mut queries = Vec::new();
    for dashboard in Dashboard::all()? {
        let all = dashboard
            .queries()
            .into_iter()
            .chain(dashboard.variable_queries());
        queries.extend(
            all.filter(|query| !empty.contains(&query.panel))
                .map(|query| Query {
                    expression: dashboard.fill(&query.expression, &VALUES),
                    ..query
                }),
        );
    }
    ensure!(queries.len() > 100, "{} queries were found", queries.len());
    Ok(queries)
}

/// Rules are healthy; recorded series are there; so is what alerts look at, since in a healthy mesh they find nothing.
fn rules_are_well(host: &Host) -> Result<()> {
    let lacking = dashboards::exceptions("metrics that a healthy mesh lacks")?;
    let answer = api(host, "/api/v1/rules")?;
    let groups = list(&answer["data"]["groups"]);
    let rules: Vec<&Value> = groups.iter().flat_map(|group| list(&group["rules"])).collect();
    ensure!(rules.len() > 20, "{} rules are loaded", rules.len());
    for rule in rules {
        let name = text(&rule["name"]);
        ensure!(
            rule["health"] == "ok",
            "{name}: {} {}",
            rule["health"],
            rule["lastError"]
        );
        let mut series = dashboards::series_in(text(&rule["query"]));
        if rule["type"] == "recording" {
            series.insert(name.to_owned());
        }
        for series in series.difference(&lacking) {
            ensure!(
                !ask(host, series)?.is_empty(),
                "{name}: there is no series {series}"
            );
        }
    }
    Ok(())
}

/// One that is counted as `garbage`: its first byte is that of no WireGuard message and of no QUIC packet.
fn drop_a_packet(host: &Host) -> Result<()> {
    host.inside(|| {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.send_to(b"\0neither", "127.0.0.1:51820")?;
        Ok(())
    })?
}

/// The result of an instant query.
fn ask(host: &Host, expression: &str) -> Result<Vec<Value>> {
    let encoded: String = expression.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let answer =
        api(host, &format!("/api/v1/query?query={encoded}")).with_context(|| expression.to_owned())?;
    Ok(list(&answer["data"]["result"]).to_vec())
}

fn api(host: &Host, path: &str) -> Result<Value> {
    let prometheus = SocketAddr::from(([127, 0, 0, 1], 9090));
    let answer = host.inside(|| http::get_tcp(prometheus, path))??;
    serde_json::from_str(answer.trim()).with_context(|| answer.clone())
}
