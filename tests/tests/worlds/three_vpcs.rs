//! The main job: three VPCs, every host reaches every other by its own address.

use anyhow::Result;
use meshnode_tests::in_world;
use meshnode_tests::topology::{Options, ThreeVpcs};

#[test]
fn everyone_reaches_everyone_in_both_families() -> Result<()> {
    in_world(|world| {
        let mesh = ThreeVpcs::build(world)?.mesh()?;
        mesh.everyone_pings_everyone()
    })
}

#[test]
fn tcp_and_udp_arrive_intact_with_their_sources() -> Result<()> {
    in_world(|world| {
        let mesh = ThreeVpcs::build(world)?.mesh()?;
        mesh.hosts_exchange(2_000_000)
    })
}

#[test]
fn join_through_a_member_that_is_not_the_founder() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::of(world, 4)?;
        let options = Options {
            invite: &["--inviter"],
            ..Options::default()
        };
        let mut mesh = vpcs.mesh_with(&options)?;
        let fr = vpcs.vpc("fr")?;
        // The token is the founder's, the seed is another: admission is forwarded to the issuer.
        let token = vpcs.invite(mesh.node("sz")?, fr, &options)?;
        let node = vpcs.join_with(mesh.node("gz")?, fr, &token, &options)?;
        mesh.add(fr, node);
        mesh.is_complete()?;
        mesh.everyone_pings_everyone()
    })
}

#[test]
fn join_by_ipv6_and_by_several_seeds_of_which_one_answers() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        let options = Options::default();
        let (sz, hk) = (vpcs.vpc("sz")?, vpcs.vpc("hk")?);
        let founder = vpcs.found(&options)?;
        let token = vpcs.invite(&founder, hk, &options)?;
        let node = vpcs.node(hk, &options);
        let nobody = sz.plan.outside4(200).to_string();
        let seed = format!("[{}]:51820", sz.plan.public6());
        let [prefix, prefix6] = hk.plan.cidrs();
        node.join(
            &[&nobody, &seed],
            &token,
            &["--cidr", &prefix, "--cidr", &prefix6],
        )?;
        node.meets(&["sz"])?;
        founder.meets(&["hk"])?;
        Ok(())
    })
}
