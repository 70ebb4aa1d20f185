//! Gateways that go away on purpose.

use anyhow::{Result, ensure};
use meshnode_tests::topology::{Roles, SHARED};

use super::always;
use crate::failover::failure::Fault;
use crate::failover::scene::{AMPLY, Scene};

pub(crate) const DRAIN: Fault = Fault {
    missing: |scene| {
        let said = scene.node("sz")?.cli(&["drain", "--help"])?;
        Ok((said.code != Some(0)).then(|| "there is no `meshnode drain` yet".to_owned()))
    },
    inject: |scene, roles| scene.node(&roles.active)?.ok(&["drain"]).map(drop),
    repair: |scene, roles| scene.node(&roles.active)?.ok(&["undrain"]).map(drop),
};

pub(crate) const SIGTERM: Fault = Fault {
    missing: always,
    inject: |scene, roles| {
        let status = scene.node(&roles.active)?.terminate()?;
        ensure!(status.success(), "SIGTERM ended it with {status}");
        Ok(())
    },
    repair: |scene, roles| scene.node(&roles.active)?.up(&[]),
};

pub(crate) const LEAVE: Fault = Fault {
    missing: always,
    inject: |scene, roles| {
        let node = scene.node(&roles.active)?;
        node.ok(&["leave"])?;
        node.process()?.wait(AMPLY)?;
        Ok(())
    },
    repair: join_again,
};

fn join_again(scene: &Scene<'_>, roles: &Roles) -> Result<()> {
    let (founder, node) = (scene.node("sz")?, scene.node(&roles.active)?);
    let [prefix, prefix6] = scene.twins.vpcs.vpc(&roles.active)?.plan.cidrs();
    let cidrs = ["--cidr", &prefix, "--cidr", &prefix6, "--cidr", SHARED];
    let token = founder.invite(&cidrs)?;
    let seed = scene.twins.vpcs.vpc("sz")?.plan.public().to_string();
    node.join(&[&seed], &token, &cidrs)
}
