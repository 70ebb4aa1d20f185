//! The history of this run, where the core writes and the API reads and waits.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use meshnode_crypto::UnixMillis;
use tokio::sync::{Semaphore, watch};

use super::node::wall_now;
use crate::api::refuse::Refuse;
use crate::api::types::{Events, EventsQuery};
use crate::history::{CAPACITY, Happening, History, sources};

/// Requests that may wait for events at one time.
const WAITERS: usize = 32;

/// Longest that one request waits: below the patience of the command's end.
const LONGEST: Duration = Duration::from_secs(20);

/// The history, shared.
#[derive(Debug)]
pub struct Journal {
    run: UnixMillis,
    history: Mutex<History>,
    last: watch::Sender<u64>,
    places: Semaphore,
}

impl Journal {
    /// Begins with the start of this program.
    pub fn open(version: &str) -> Journal {
        let journal = Journal {
            run: wall_now(),
            history: Mutex::default(),
            last: watch::Sender::new(0),
            places: Semaphore::new(WAITERS),
        };
        journal.note([sources::started(version)]);
        journal
    }

    /// Adds what happened just now.
    pub fn note(&self, happenings: impl IntoIterator<Item = Happening>) {
        let at = wall_now();
        let mut history = self.history();
        for happening in happenings {
            history.note(at, happening);
        }
        self.last.send_replace(history.last());
    }

    /// What a request asks for; waits for something new if it says so.
    pub async fn read(&self, query: &EventsQuery) -> Result<Events, Refuse> {
        let patience = Duration::from_millis(query.wait_ms).min(LONGEST);
        if let Some(after) = query.after.filter(|_| !patience.is_zero()) {
            let _place = self.places.try_acquire().map_err(|_| {
                Refuse::conflict(format!("{WAITERS} requests wait for events already"))
                    .fix("end some of the `meshnode events --follow` that run")
            })?;
            let mut last = self.last.subscribe();
            // A number of an earlier run is not waited for: the asker must learn of the restart.
            let news = last.wait_for(|last| *last != after);
            if let Ok(Err(closed)) = tokio::time::timeout(patience, news).await {
                tracing::debug!(%closed, "nothing more will happen");
            }
        }
        Ok(self.answer(query))
    }

    fn answer(&self, query: &EventsQuery) -> Events {
        let limit = query.limit.unwrap_or(CAPACITY);
        let history = self.history();
        Events {
            run_ms: self.run.0,
            last: history.last(),
            gone: history.gone_after(query.after.unwrap_or(0)),
            events: match query.after {
                Some(after) => history.after(after, limit),
                None => history.newest(limit),
            },
        }
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Kind;

    fn stall() -> Happening {
        Happening::new(Kind::Stall)
    }

    fn waiting(after: u64) -> EventsQuery {
        EventsQuery {
            after: Some(after),
            limit: None,
            wait_ms: 60_000,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiting_request_is_answered_by_the_next_event() {
        let journal = std::sync::Arc::new(Journal::open("test"));
        let asked = {
            let journal = std::sync::Arc::clone(&journal);
            tokio::spawn(async move { journal.read(&waiting(1)).await })
        };
        tokio::task::yield_now().await;
        journal.note([stall(), stall()]);
        let answer = asked.await.unwrap().unwrap();
        assert_eq!((answer.last, answer.events.len(), answer.gone), (3, 2, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_does_not_wait_for_ever_nor_for_an_earlier_run() {
        let journal = Journal::open("test");
        let begun = tokio::time::Instant::now();
        assert!(journal.read(&waiting(1)).await.unwrap().events.is_empty());
        assert_eq!(begun.elapsed(), LONGEST);
        assert!(journal.read(&waiting(500)).await.unwrap().events.is_empty());
        assert_eq!(begun.elapsed(), LONGEST);
    }

    #[tokio::test(start_paused = true)]
    async fn more_waiting_requests_than_there_are_places_are_refused() {
        let journal = std::sync::Arc::new(Journal::open("test"));
        for _ in 0..WAITERS {
            let journal = std::sync::Arc::clone(&journal);
            tokio::spawn(async move { journal.read(&waiting(1)).await });
        }
        tokio::task::yield_now().await;
        assert!(journal.read(&waiting(1)).await.is_err());
        let at_once = EventsQuery {
            wait_ms: 0,
            ..waiting(0)
        };
        assert_eq!(journal.read(&at_once).await.unwrap().events.len(), 1);
    }
}
