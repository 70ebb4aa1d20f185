//! The test link itself, between two hosts without any mesh.

use std::time::Duration;

use anyhow::{Result, ensure};
use meshnode_tests::link::{Conditions, Direction, Link, Loss};
use meshnode_tests::traffic::{Questions, exchange, transfer};
use meshnode_tests::{Host, eventually, in_world};

use crate::AMPLY;

const RIGHT: [u8; 4] = [192, 0, 2, 2];

#[test]
fn link_carries_delays_loses_and_blocks() -> Result<()> {
    in_world(|world| {
        let (left, right) = (world.host("left")?, world.host("right")?);
        let link = world.link((&left, "wire"), (&right, "wire"))?;
        left.address("wire", "192.0.2.1/24")?;
        right.address("wire", "192.0.2.2/24")?;
        transfer(&left, &right, RIGHT.into(), 2_000_000)?;

        link.set_both(Conditions::delayed(Duration::from_millis(40)));
        let time = left.ping(RIGHT.into(), AMPLY)?;
        ensure!(time >= Duration::from_millis(80), "a round trip took {time:?}");

        link.set_both(Conditions::default());
        loses_its_share(&link, &left, &right)?;

        link.set(Direction::Back, Conditions::black_hole());
        ensure!(left.ping(RIGHT.into(), Duration::from_millis(300)).is_err());
        ensure!(link.counts(Direction::Back).blocked > 0);
        link.set_both(Conditions::default());
        eventually("it heals", AMPLY, || {
            left.ping(RIGHT.into(), Duration::from_millis(300))
        })?;
        Ok(())
    })
}

/// Of 400 datagrams each way lossy by a fifth, 64 % come back: far from all and far from none.
fn loses_its_share(link: &Link, left: &Host, right: &Host) -> Result<()> {
    let lossy = Conditions {
        loss: Loss::Independent(0.2),
        ..Conditions::default()
    };
    link.set_both(lossy);
    let questions = Questions {
        patience: Duration::from_millis(20),
        ..Questions::once(400, 200)
    };
    let answered = exchange(left, right, RIGHT.into(), &questions)?.answered;
    link.set_both(Conditions::default());
    ensure!((120..360).contains(&answered), "{answered} of 400 came back");
    Ok(())
}
