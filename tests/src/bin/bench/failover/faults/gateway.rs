//! Gateways that freeze, die, are cut off, or no longer forward.

use anyhow::Result;
use meshnode_tests::topology::Roles;
use nix::sys::signal::Signal;

use super::always;
use crate::failover::failure::Fault;
use crate::failover::scene::Scene;

pub(crate) const FROZEN: Fault = Fault {
    missing: always,
    inject: |scene, roles| signal(scene, roles, Signal::SIGSTOP),
    repair: |scene, roles| signal(scene, roles, Signal::SIGCONT),
};

pub(crate) const KILLED: Fault = Fault {
    missing: always,
    inject: |scene, roles| scene.node(&roles.active)?.kill(),
    repair: |scene, roles| scene.node(&roles.active)?.up(&[]),
};

pub(crate) const BLACK_HOLED: Fault = Fault {
    missing: always,
    inject: |scene, roles| {
        let gateway = &roles.active;
        scene.on_the_internet(&format!("iifname {gateway} drop\n oifname {gateway} drop"))
    },
    repair: |scene, _| scene.internet_is_clear(),
};

pub(crate) const NOT_FORWARDING: Fault = Fault {
    missing: |scene| scene.check_gateways().map(|()| None),
    inject: |scene, roles| {
        let rules = "table inet broken {
           chain forward { type filter hook forward priority filter; oifname twin drop; }
         }";
        scene.node(&roles.active)?.host().nft(rules)
    },
    repair: |scene, roles| {
        let host = scene.node(&roles.active)?.host();
        host.nft("delete table inet broken")?;
        scene.passes(&roles.active)
    },
};

pub(crate) const INTERFACE_DOWN: Fault = Fault {
    missing: always,
    inject: |scene, roles| scene.twins.set_port(&roles.active, "down"),
    repair: |scene, roles| scene.twins.set_port(&roles.active, "up"),
};

fn signal(scene: &Scene<'_>, roles: &Roles, signal: Signal) -> Result<()> {
    scene.node(&roles.active)?.process()?.signal(signal);
    Ok(())
}
