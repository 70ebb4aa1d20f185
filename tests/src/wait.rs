//! Waiting for an event that can only be seen by asking for it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Between two questions. Short against every deadline used, long against the cost of asking.
const PAUSE: Duration = Duration::from_millis(20);

/// Asks `probe` until it succeeds, at most for `within`; then its last error is returned, with `what` was awaited.
///
/// # Errors
/// The last error of `probe`.
pub fn eventually<T>(what: &str, within: Duration, mut probe: impl FnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + within;
    loop {
        match probe() {
            Ok(found) => return Ok(found),
            Err(error) if Instant::now() >= deadline => {
                return Err(error).with_context(|| format!("not within {within:?}: {what}"));
            }
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}
