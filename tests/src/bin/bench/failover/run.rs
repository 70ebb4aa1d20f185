//! One run, and many.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use meshnode_tests::topology::Roles;
use meshnode_tests::traffic::{Arrivals, TestStream};
use meshnode_tests::wait::eventually;
use serde_json::Value;

use super::failure::{Ends, Failure};
use super::report::Row;
use super::scene::{AMPLY, Scene, Watch, is_move};
use crate::step;

/// Datagrams in a row that show that a flow is well.
const STEADY: u64 = 300;
/// Datagrams of a run at least: a failure shows only after a while.
const LEAST: u64 = 1_500;
/// What has not recovered by then does not: the run ends without.
const GIVES_UP: Duration = Duration::from_secs(20);
/// A TCP connection may have waited twice as long as the outage lasted.
const TCP_RESUMES: Duration = Duration::from_secs(60);
/// Runs in a row that did not recover, after which there is no point in more.
const HOPELESS: usize = 3;

/// What one run showed.
pub(crate) struct Outcome {
    /// The longest silence, or with [`Ends::Repaired`] the time until the first packet.
    pub(crate) gap: Duration,
    /// When that silence was over, from the failure on.
    pub(crate) over_at: Duration,
    /// When sz gave the prefix to another gateway, from the failure on, as its own history says.
    pub(crate) moved_at: Option<Duration>,
    /// What sz saw in this run, in words: why a slow one was slow.
    pub(crate) history: Vec<String>,
    pub(crate) lost: u64,
    pub(crate) changes: u64,
    /// The open connection broke.
    pub(crate) reset: bool,
    /// Why it did not recover in time, if it did not.
    pub(crate) failed: Option<String>,
}

/// Runs one failure again and again. Says too whether the scene can be used for the next.
pub(crate) fn many(scene: &Scene<'_>, failure: &'static Failure, runs: usize) -> (Row, bool) {
    let mut row = Row::of(failure);
    let done = match (failure.fault.missing)(scene) {
        Ok(Some(reason)) => {
            row.note = Some(reason);
            return (row, true);
        }
        Ok(None) => repeat(scene, failure, runs, &mut row),
        Err(error) => Err(error),
    };
    if let Err(error) = &done {
        row.note = Some(format!("after {} runs: {error:#}", row.outcomes.len()));
    }
    (row, done.is_ok())
}

fn repeat(scene: &Scene<'_>, failure: &Failure, runs: usize, row: &mut Row) -> Result<()> {
    let mut watch = scene.watch(failure.flow)?;
    let mut in_vain = 0;
    for number in 1..=runs {
        let outcome = one(scene, failure, &mut watch).with_context(|| format!("run {number}"))?;
        in_vain = if outcome.failed.is_some() { in_vain + 1 } else { 0 };
        if let Some(reason) = &outcome.failed {
            step(&format!("    run {number} did not recover: {reason}"));
        }
        row.outcomes.push(outcome);
        if in_vain == HOPELESS && number < runs {
            row.note = Some(format!("given up after {number} runs"));
            break;
        }
    }
    scene.ready().map(drop)
}

fn one(scene: &Scene<'_>, failure: &Failure, watch: &mut Watch) -> Result<Outcome> {
    let roles = scene.ready()?;
    let stream = &watch.stream;
    stream
        .flows_steadily(STEADY, AMPLY)
        .context("before the failure")?;
    watch.talk.goes_on(AMPLY).context("before the failure")?;
    let before = scene.mark()?;
    stream.turn_page();
    let (outcome, changes) = scene.counting_changes(|| break_it(scene, failure, stream, &roles))?;
    let Broken {
        arrivals,
        begin,
        gap,
        failed,
    } = outcome?;
    let seen = scene.since(&before)?;
    let resumed = match failed.is_none() {
        true => watch.talk.goes_on(TCP_RESUMES),
        false => Ok(()),
    };
    if !matches!(failure.ends, Ends::Repaired(_)) {
        (failure.fault.repair)(scene, &roles).context("repairing")?;
    }
    let reset = resumed.and_then(|()| watch.talk.goes_on(TCP_RESUMES)).is_err();
    if reset {
        watch.talk = scene.talk(failure.flow)?;
    }
    Ok(Outcome {
        gap,
        moved_at: seen.iter().find(|(_, event)| is_move(event)).map(|(at, _)| *at),
        history: seen.iter().map(|(at, event)| in_words(*at, event)).collect(),
        over_at: arrivals.longest_at.saturating_sub(begin),
        lost: arrivals.lost(),
        changes,
        reset,
        failed,
    })
}

/// What the stream's account says of a failure.
struct Broken {
    arrivals: Arrivals,
    /// On the clock of the arrivals.
    begin: Duration,
    gap: Duration,
    failed: Option<String>,
}

fn break_it(scene: &Scene<'_>, failure: &Failure, stream: &TestStream, roles: &Roles) -> Result<Broken> {
    let (sent, begin) = (stream.sent(), stream.now());
    (failure.fault.inject)(scene, roles).context("breaking")?;
    let recovered = match failure.ends {
        Ends::Moved => {
            let moved = scene.twins.moves_to(&roles.standby, GIVES_UP);
            moved.and_then(|()| settled(stream, sent))
        }
        Ends::Flows => settled(stream, sent),
        Ends::After(whole) => {
            std::thread::sleep((begin + whole).saturating_sub(stream.now()));
            Ok(())
        }
        Ends::Repaired(after) => return repaired(scene, failure, stream, roles, after),
    };
    let (last, mut arrivals) = (stream.last_received(), stream.turn_page());
    let mut gap = arrivals.longest_own_gap;
    if recovered.is_err() {
        // A silence that lasts has no end to measure yet.
        gap = gap.max(stream.now().saturating_sub(last.unwrap_or(begin)));
        arrivals.end(stream.sent());
    }
    Ok(Broken {
        arrivals,
        begin,
        gap,
        failed: recovered.err().map(|error| in_short(&error)),
    })
}

/// Enough was sent since the failure, and the last of it arrived whole.
fn settled(stream: &TestStream, sent: u64) -> Result<()> {
    eventually("enough is sent", AMPLY, || {
        let since = stream.sent() - sent;
        ensure!(since >= LEAST, "{since} were sent");
        Ok(())
    })?;
    stream.flows_steadily(STEADY, GIVES_UP)
}

/// Nothing may pass while it is broken; from the repair on, time counts until the first packet.
fn repaired(
    scene: &Scene<'_>,
    failure: &Failure,
    stream: &TestStream,
    roles: &Roles,
    after: Duration,
) -> Result<Broken> {
    std::thread::sleep(after);
    let before = stream.last_received();
    let (sent, begin) = (stream.sent(), stream.now());
    (failure.fault.repair)(scene, roles).context("repairing")?;
    let first = eventually("the first packet", GIVES_UP, || {
        let last = stream.last_received();
        ensure!(last > before, "none came");
        last.context("none came")
    });
    let gap = first
        .as_ref()
        .map_or(stream.now(), |at| *at)
        .saturating_sub(begin);
    let failed = first.and_then(|_| settled(stream, sent)).err();
    Ok(Broken {
        arrivals: stream.turn_page(),
        begin,
        gap,
        failed: failed.map(|error| in_short(&error)),
    })
}

/// `+312 ms path hk up > suspect (silent)`.
fn in_words(at: Duration, event: &Value) -> String {
    let word = |key: &str| event[key].as_str().unwrap_or("-");
    format!(
        "+{} ms {} {} {} > {} ({})",
        at.as_millis(),
        word("kind"),
        word("peer"),
        word("from"),
        word("to"),
        word("cause")
    )
}

/// What was awaited, without the whole status that was seen instead.
fn in_short(error: &anyhow::Error) -> String {
    let words = format!("{error:#}");
    let what = words.split("the status is").next().unwrap_or_default();
    what.trim_end_matches([' ', ':']).to_owned()
}
