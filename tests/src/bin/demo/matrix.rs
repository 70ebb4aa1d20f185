//! The ping matrix: every gateway and host to both addresses of the two other VPCs.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::Result;
use meshnode_tests::Host;
use meshnode_tests::topology::{Mesh, Vpc, reaches};

use crate::screen::{Screen, spinner};

const CELL: usize = 16;

/// Runs the pings of both families and prints the round trips of IPv4.
pub(crate) fn show(screen: &Screen, mesh: &Mesh<'_>) -> Result<()> {
    let machines: Vec<Machine<'_>> = mesh.vpcs().iter().flat_map(machines).collect();
    let table = run(&machines, 0)?;
    screen.heading("Round trips, from each machine to each machine of the other VPCs");
    screen.line(&header(screen, &machines));
    for (machine, row) in machines.iter().zip(&table) {
        screen.line(&line(screen, machine, row));
    }
    let table6 = run(&machines, 1)?;
    println!();
    screen.line(&format!(
        "{} {} pings answered over IPv4",
        screen.green("✓"),
        count(&table)
    ));
    screen.line(&format!(
        "{} {} pings answered over IPv6",
        screen.green("✓"),
        count(&table6)
    ));
    Ok(())
}

struct Machine<'a> {
    vpc: &'a str,
    role: &'static str,
    host: &'a Host,
    addresses: [IpAddr; 2],
}

fn machines(vpc: &Vpc) -> Vec<Machine<'_>> {
    let named = vpc.machines().into_iter().zip(["gateway", "host"]);
    named
        .map(|((host, addresses), role)| Machine {
            vpc: vpc.plan.name,
            role,
            host,
            addresses,
        })
        .collect()
}

fn run(machines: &[Machine<'_>], family: usize) -> Result<Vec<Vec<Option<Duration>>>> {
    let progress = spinner("");
    let row = |from: &Machine<'_>| {
        let cell = |to: &Machine<'_>| {
            progress.set_message(format!(
                "ping {} from {} {}",
                to.addresses[family], from.vpc, from.role
            ));
            (from.vpc != to.vpc)
                .then(|| reaches(from.host, to.addresses[family]))
                .transpose()
        };
        machines.iter().map(cell).collect()
    };
    let table = machines.iter().map(row).collect();
    progress.finish_and_clear();
    table
}

fn count(table: &[Vec<Option<Duration>>]) -> String {
    let asked = table.iter().flatten().flatten().count();
    format!("{asked} of {asked}")
}

fn header(screen: &Screen, machines: &[Machine<'_>]) -> String {
    let cells: String = machines
        .iter()
        .map(|to| format!("{:>CELL$}", to.addresses[0].to_string()))
        .collect();
    screen.dim(format!("{:27}{cells}", ""))
}

fn line(screen: &Screen, from: &Machine<'_>, row: &[Option<Duration>]) -> String {
    let cells: String = row
        .iter()
        .map(|cell| match cell {
            Some(time) => screen.green(format!(
                "{:>CELL$}",
                format!("{:.2} ms", time.as_secs_f64() * 1e3)
            )),
            None => screen.dim(format!("{:>CELL$}", "·")),
        })
        .collect();
    format!(
        "{} {:8}{:16}{cells}",
        from.vpc,
        from.role,
        from.addresses[0].to_string()
    )
}
