//! Vital tasks: when one of them ends the node ends, saying which, so that it is never half alive.
//!
//! A part that still runs may hang all the same; [`Health`] holds what the watchdog found when it last
//! asked each part for a sign of life.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::{Id, JoinSet};

/// Why a vital task is no more.
#[derive(Debug, thiserror::Error)]
pub enum Death {
    /// It gave up.
    #[error("{part} failed: {error:#}")]
    Failed {
        /// Which part.
        part: &'static str,
        /// Its reason.
        error: anyhow::Error,
    },
    /// It returned although nobody asked it to.
    #[error("{part} ended by itself, which it never should")]
    Ended {
        /// Which part.
        part: &'static str,
    },
    /// It panicked.
    #[error("{part} panicked: {text}")]
    Panicked {
        /// Which part.
        part: &'static str,
        /// What it said.
        text: String,
    },
}

/// The vital tasks. Dropping it aborts them.
#[derive(Debug, Default)]
pub struct Supervisor {
    tasks: JoinSet<anyhow::Result<()>>,
    names: BTreeMap<Id, &'static str>,
}

impl Supervisor {
    /// Runs `task` until it ends or we do.
    pub fn spawn(
        &mut self,
        part: &'static str,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let handle = self.tasks.spawn(task);
        self.names.insert(handle.id(), part);
    }

    /// Resolves when the first vital task is no more; never while all live.
    pub async fn first_death(&mut self) -> Death {
        match self.tasks.join_next_with_id().await {
            None => std::future::pending().await,
            Some(Ok((id, Ok(())))) => Death::Ended { part: self.name(id) },
            Some(Ok((id, Err(error)))) => Death::Failed {
                part: self.name(id),
                error,
            },
            Some(Err(error)) => Death::Panicked {
                part: self.name(error.id()),
                text: error.to_string(),
            },
        }
    }

    /// Ends them all; when this returns none runs any more.
    pub async fn shutdown(mut self) {
        self.tasks.shutdown().await;
    }

    fn name(&self, id: Id) -> &'static str {
        self.names.get(&id).copied().unwrap_or("a task")
    }
}

/// Which parts answered when last asked.
#[derive(Debug, Clone, Default)]
pub struct Health {
    parts: Arc<Mutex<BTreeMap<&'static str, Sign>>>,
}

/// One part's last sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sign {
    /// It answered.
    Alive,
    /// It did not, or said this.
    Silent(String),
}

impl Health {
    /// What `part` did when asked.
    pub fn note(&self, part: &'static str, sign: Sign) {
        self.lock().insert(part, sign);
    }

    /// True when every part answered.
    pub fn is_well(&self) -> bool {
        self.lock().values().all(|sign| *sign == Sign::Alive)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Sign>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One line a part, as `/healthz` shows it.
impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (part, sign) in self.lock().iter() {
            match sign {
                Sign::Alive => writeln!(f, "{part}: ok")?,
                Sign::Silent(why) => writeln!(f, "{part}: {why}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_dead_task_is_named() {
        let mut supervisor = Supervisor::default();
        supervisor.spawn("gossip", std::future::pending());
        supervisor.spawn("lane", async { anyhow::bail!("no descriptor") });
        assert_eq!(
            supervisor.first_death().await.to_string(),
            "lane failed: no descriptor"
        );
    }

    #[tokio::test]
    async fn an_end_without_a_reason_is_a_death_too() {
        let mut supervisor = Supervisor::default();
        supervisor.spawn("api", async { Ok(()) });
        assert!(matches!(
            supervisor.first_death().await,
            Death::Ended { part: "api" }
        ));
    }

    #[tokio::test]
    async fn a_panic_is_a_death_with_its_part() {
        let mut supervisor = Supervisor::default();
        supervisor.spawn("core", async { panic!("index out of bounds") });
        assert!(matches!(
            supervisor.first_death().await,
            Death::Panicked { part: "core", .. }
        ));
    }

    #[test]
    fn one_silent_part_makes_the_node_unwell_and_is_named() {
        let health = Health::default();
        health.note("lane", Sign::Alive);
        assert!(health.is_well());
        health.note("core", Sign::Silent("no answer within 1 s".into()));
        assert!(!health.is_well());
        assert_eq!(health.to_string(), "core: no answer within 1 s\nlane: ok\n");
    }
}
