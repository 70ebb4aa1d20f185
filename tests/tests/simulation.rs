//! Many members in virtual time: whatever happens to them, in whatever order, who should be reached is reached.

use meshnode_tests::sim::script::{Script, Step};

/// Seeds that once failed.
const ONCE_FAILED: [u64; 0] = [];

/// Members of a world.
const MEMBERS: usize = 7;

fn run(seed: u64, steps: usize) -> Result<Script, String> {
    let mut script = Script::new(MEMBERS, seed);
    let lived = (0..steps)
        .try_for_each(|_| script.happen_at_random())
        .and_then(|()| script.come_to_rest());
    lived.map_err(|what| format!("seed {seed}: {what}; it happened: {:?}", script.steps))?;
    Ok(script)
}

#[test]
fn whatever_happens_who_should_be_reached_is_reached() -> Result<(), String> {
    let mut seeds = (0..4).chain(ONCE_FAILED);
    seeds.try_for_each(|seed| run(seed, 12).map(drop))
}

#[test]
#[ignore = "minutes: `cargo xtask test --long` runs it"]
fn whatever_happens_in_many_worlds_who_should_be_reached_is_reached() -> Result<(), String> {
    (4..100).try_for_each(|seed| run(seed, 16).map(drop))
}

#[test]
fn the_same_seed_gives_the_same_run() -> Result<(), String> {
    let (first, second) = (run(7, 3)?, run(7, 3)?);
    assert_eq!(first.steps, second.steps);
    assert_eq!(first.arrivals, second.arrivals);
    Ok(())
}

#[test]
fn a_dead_gateway_is_left_and_taken_again() -> Result<(), String> {
    let mut script = Script::new(MEMBERS, 1);
    let steps = [Step::Crash(0), Step::Start(0), Step::Freeze(1), Step::Thaw(1)];
    steps.into_iter().try_for_each(|step| script.happen(step))?;
    script.come_to_rest()
}
