//! Gateways behind 1:1 NAT that know nothing of their public addresses, with endpoints inside served prefixes.

use anyhow::Result;
use meshnode_tests::in_world;
use meshnode_tests::topology::{Options, behind_nat};

#[test]
fn gateways_behind_nat_find_each_other_without_advertise() -> Result<()> {
    in_world(|world| {
        let vpcs = behind_nat(world)?;
        let mesh = vpcs.mesh_with(&Options {
            only_ipv4: true,
            ..Options::default()
        })?;
        mesh.everyone_pings_everyone()?;
        mesh.hosts_exchange(500_000)
    })
}
