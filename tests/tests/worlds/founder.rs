//! The founder is a node like any other: the mesh goes on, grows and renews without it.

use anyhow::Result;
use meshnode_tests::in_world;
use meshnode_tests::topology::{Options, ThreeVpcs};

#[test]
fn others_invite_and_admit_after_the_founder_is_gone_for_good() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::of(world, 4)?;
        let options = Options {
            invite: &["--inviter"],
            ..Options::default()
        };
        let mut mesh = vpcs.mesh_with(&options)?;
        mesh.node("sz")?.kill()?;
        vpcs.vpc("sz")?.gateway.ip("link set wan down")?;
        mesh.remove("sz");
        let fr = vpcs.vpc("fr")?;
        let node = vpcs.join(mesh.node("hk")?, fr, &options)?;
        mesh.add(fr, node);
        mesh.is_complete()?;
        mesh.everyone_pings_everyone()?;
        mesh.hosts_exchange(200_000)
    })
}
