//! Networks that block, lose, change and flap.

use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use meshnode_tests::link::{Conditions, Loss};
use meshnode_tests::topology::Roles;

use super::{always, nothing};
use crate::failover::failure::Fault;
use crate::failover::scene::Scene;

/// The flow's own gateway is hk; gz may relay.
pub(crate) const ONE_WAY: Fault = Fault {
    missing: always,
    inject: |scene, _| scene.on_the_internet("iifname sz oifname hk drop"),
    repair: |scene, _| scene.internet_is_clear(),
};

pub(crate) const BOTH_WAYS: Fault = Fault {
    missing: always,
    inject: |scene, _| scene.on_the_internet("iifname sz oifname hk drop\n iifname hk oifname sz drop"),
    repair: |scene, _| scene.internet_is_clear(),
};

pub(crate) const PARTITION: Fault = Fault {
    missing: always,
    inject: |scene, _| scene.on_the_internet("iifname sz drop\n oifname sz drop"),
    repair: |scene, _| scene.internet_is_clear(),
};

/// The next run changes it back.
pub(crate) const ADDRESS_CHANGED: Fault = Fault {
    missing: always,
    inject: change_address,
    repair: nothing,
};

fn change_address(scene: &Scene<'_>, roles: &Roles) -> Result<()> {
    let vpc = scene.twins.vpcs.vpc(&roles.active)?;
    let (gateway, plan) = (&vpc.gateway, &vpc.plan);
    let has = gateway.run("ip", &["-4", "address", "show", "dev", "wan"])?;
    let (old, new) = match has.contains(&plan.public().to_string()) {
        true => (plan.public(), plan.outside4(77)),
        false => (plan.outside4(77), plan.public()),
    };
    gateway.sysctl("ipv4/conf/wan/promote_secondaries", "1")?;
    gateway.address("wan", &format!("{new}/24"))?;
    gateway.ip(&format!("address delete {old}/24 dev wan"))?;
    gateway.ip(&format!("route replace default via {}", plan.outside4(1)))
}

/// Each run has other ports, so what was known of the last ones is of no use.
static REBOUND: AtomicU16 = AtomicU16::new(0);

/// The repair changes the port once more.
pub(crate) const PORT_CHANGED: Fault = Fault {
    missing: always,
    inject: |scene, roles| {
        let round = REBOUND.fetch_add(1, Ordering::Relaxed) % 900 + 1;
        scene.twins.vpcs.rebind(&roles.active, round)
    },
    repair: |scene, roles| scene.twins.vpcs.unbind(&roles.active),
};

/// Three packets in a row on average, as congested links lose them.
pub(crate) const BURSTY_LOSS: Fault = Fault {
    missing: always,
    inject: |scene, _| {
        scene.twins.vpcs.link("sz")?.set_both(Conditions {
            loss: Loss::Bursty {
                mean: 0.02,
                burst: 3.0,
            },
            ..Conditions::default()
        });
        Ok(())
    },
    repair: |scene, _| clear(scene, "sz"),
};

const PHASE: Duration = Duration::from_secs(1);

pub(crate) const FLAPPING: Fault = Fault {
    missing: always,
    inject: |scene, roles| {
        let link = scene.twins.vpcs.link(&roles.active)?;
        for _ in 0..5 {
            link.set_both(Conditions::black_hole());
            thread::sleep(PHASE);
            link.set_both(Conditions::default());
            thread::sleep(PHASE);
        }
        Ok(())
    },
    repair: |scene, roles| clear(scene, &roles.active),
};

fn clear(scene: &Scene<'_>, gateway: &str) -> Result<()> {
    scene.twins.vpcs.link(gateway)?.set_both(Conditions::default());
    Ok(())
}
